"""The page in a real browser: slider, play, clicks, keys, widths, colours; its numbers; nothing is loaded."""

from dataclasses import replace

import numpy as np
import pytest

from backprop_xp import cli
from backprop_xp.explanation.page import contents, written
from backprop_xp.explanation.recording import record
from backprop_xp.explanation.systems import SYSTEMS
from backprop_xp.recorder import chosen_steps

RATES = (0.1, 2.0)


@pytest.fixture(scope="module")
def recordings():
    return [record(SYSTEMS["xor"](), 1000, rate, n_kept=40) for rate in RATES]


@pytest.fixture(scope="module")
def file(recordings, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "xor.html"
    path.write_text(written("xor </script>", recordings), encoding="utf-8")
    return path


@pytest.fixture
def opened(opens, file):
    """A function that opens the page."""
    return lambda width=1200, dark=False, path=file: opens(path, width, dark)


def numbers(page, what):
    return page.eval_on_selector_all(
        f'#chain [data-what="{what}"]',
        "all => all.map(each => each.dataset.value === undefined ? null : Number(each.dataset.value))",
    )


def to_frame(page, k):
    page.eval_on_selector(
        "#slider", "(slider, k) => { slider.value = k; slider.dispatchEvent(new Event('input')); }", k
    )


def choose(page, kind, layer, unit, source=""):
    page.dispatch_event(f'#network [data-key="{kind} {layer} {unit} {source}"]', "click")


def test_the_numbers_are_the_explanations(opened, recordings):
    page = opened()
    for k, (layer, unit, source) in [(0, (1, 1, 1)), (7, (1, 2, None)), (20, (2, 1, 2)), (30, (2, 1, None))]:
        to_frame(page, k)
        choose(page, "edge", layer, unit, "null" if source is None else source)
        weight = recordings[0].explanations[k].weight(layer, unit, source)
        for what in ("first", "second", "third"):
            assert numbers(page, what) == getattr(weight, what).tolist()
        assert numbers(page, "product") == weight.products.tolist()
        for what, expected in [
            ("gradient", weight.gradient), ("matrix", weight.matrix), ("loop", weight.loop),
            ("difference", weight.difference), ("w", weight.update.before["w"]), ("after", weight.update.after["w"]),
        ]:  # fmt: skip
            assert numbers(page, what) == [expected], what
        texts = page.eval_on_selector_all('#chain [data-what="product"]', "all => all.map(each => each.textContent)")
        assert texts == [
            f"{product:.6g}".replace("-0", "0") if product == 0 else f"{product:.6g}" for product in weight.products
        ]
        assert f"Step {recordings[0].steps[k]:,}" == page.text_content("#steplabel")


def test_a_click_on_a_unit_opens_its_sum(opened, recordings):
    page = opened()
    to_frame(page, 12)
    page.locator('#network [data-key="unit 1 2 "]').click()
    unit = recordings[0].explanations[12].unit(1, 2)
    assert page.text_content("#what") == "layer 1, unit 2"
    assert numbers(page, "delta") == unit.delta.tolist()
    page.select_option("#row", "2")
    assert numbers(page, "onward delta") == unit.deltas_onward[2].tolist()
    assert numbers(page, "onward weight") == unit.weights_onward.tolist()
    assert numbers(page, "sum") == [unit.first[2]]


def test_a_click_on_a_weight_opens_its_chain_rule(opened):
    page = opened()
    page.locator('#network [data-key="edge 1 2 1"] .hit').click()
    assert page.text_content("#what") == "layer 1, unit 2, from 1"
    assert page.get_attribute('#network [data-key="edge 1 2 1"]', "aria-pressed") == "true"


def test_play_runs_to_the_end_and_pauses(opened, recordings):
    page = opened()
    to_frame(page, len(recordings[0].steps) - 3)
    page.click("#play")
    page.wait_for_function(f"document.getElementById('slider').value == {len(recordings[0].steps) - 1}")
    page.wait_for_function("document.getElementById('play').getAttribute('aria-pressed') == 'false'")
    page.click("#play")  # from the beginning again
    page.wait_for_function(
        "document.getElementById('slider').value > 1 && document.getElementById('slider').value < 10"
    )
    page.click("#play")
    stopped = page.input_value("#slider")
    page.wait_for_timeout(400)
    assert page.input_value("#slider") == stopped


def test_the_keyboard_alone_will_do(opened):
    page = opened()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#slider") == "1"
    page.keyboard.press("Space")
    page.wait_for_function("document.getElementById('slider').value > 1")
    page.keyboard.press("Space")
    assert page.get_attribute("#play", "aria-pressed") == "false"
    for _ in range(60):
        page.keyboard.press("Tab")
        key = page.evaluate("document.activeElement.dataset.key")
        if key == "unit 1 1 ":
            break
    page.keyboard.press("Enter")
    assert page.text_content("#what") == "layer 1, unit 1"
    assert page.evaluate("document.activeElement.dataset.key") == "unit 1 1 "


def test_forward_and_backward_one_after_the_other(opened):
    page = opened()
    told = []
    for _ in range(6):
        page.click("#onward")
        told.append(page.text_content("#stagetext").split(":")[0].split(",")[0])
    assert told[:3] == ["Forward", "Forward", "The loss compares the outputs with the targets"]
    assert told[3:5] == ["Backward", "Backward"]
    assert told[5].startswith("The update")
    assert page.is_disabled("#onward")
    page.click("#whole")
    for _ in range(2):
        page.click("#onward")
    assert page.locator("#network text", has_text="δ").count() == 0
    page.click("#onward")
    page.click("#onward")
    assert page.locator("#network text", has_text="δ").count() == 1


def test_another_learning_rate_is_another_run(opened, recordings):
    page = opened()
    page.check('input[name="run"][value="1"]')
    to_frame(page, 25)
    choose(page, "edge", 2, 1, 1)
    weight = recordings[1].explanations[25].weight(2, 1, 1)
    assert numbers(page, "rate") == [RATES[1]]
    assert numbers(page, "after") == [weight.update.after["w"]]
    assert page.locator("#rates tbody tr").count() == len(RATES)
    assert page.locator("#loss polyline").count() == len(RATES)


def test_a_click_on_the_loss_goes_there(opened, recordings):
    page = opened()
    box = page.locator("#loss").bounding_box()
    page.locator("#loss").click(position={"x": 0.5 * box["width"], "y": 0.5 * box["height"]})
    step = recordings[0].steps[int(page.input_value("#slider"))]
    assert 350 <= step <= 600


def test_the_surface_is_the_networks_answer(opened, recordings):
    page = opened()
    to_frame(page, 35)
    shown = page.evaluate("[...atob(data.runs[0].frames[35].surface)].map(c => c.charCodeAt(0))")
    corners = np.asarray(shown).reshape(28, 28)
    it = recordings[0].explanations[35]
    from backprop_xp import forward

    low, high = -0.25, 1.25
    expected = forward(it.network, it.params, np.array([[low, low], [high, low], [low, high], [high, high]]))[-1][:, 0]
    actual = np.array([corners[0, 0], corners[0, -1], corners[-1, 0], corners[-1, -1]]) / 255
    np.testing.assert_allclose(actual, expected, atol=0.5 / 255 + 1e-9)
    assert page.is_visible("#surface")


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_widths_and_colours(opened, width, dark):
    page = opened(width, dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, ground[4:-1].split(",")))
    assert (brightness < 200) == dark
    assert all(page.is_visible(f"#{each}") for each in ("network", "chain", "loss", "slider", "findings"))
    small = page.eval_on_selector_all(
        "button", "all => all.filter(each => each.getBoundingClientRect().height < 20).length"
    )
    assert small == 0


def test_a_run_of_ten_thousand_steps_makes_a_small_page_that_opens_at_once(browser, opened, tmp_path):
    assert cli.run(["explain", "xor", "--html", str(tmp_path / "xor.html")]) == 0
    assert (tmp_path / "xor.html").stat().st_size < 2 * 2**20
    page = opened(path=tmp_path / "xor.html")
    assert page.evaluate("data.runs[0].losses.at(-1)[0]") == 10_000
    assert page.locator("#network .unit").count() == 5
    assert page.locator("#rates tbody tr").count() == 3


def test_a_larger_network_is_shown_around_the_chosen_unit(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "digits", "--epochs", "1", "--hidden", "32"]) == 0
    assert cli.run(["explain", "model.safetensors", "--data", "digits", "--row", "3", "--html", "model.html"]) == 0
    page = opened(path=tmp_path / "model.html")
    assert page.locator("#network .unit").count() == 12 + 12 + 10
    choose(page, "unit", 1, 12)
    assert page.locator('#network [data-key="unit 1 15 "]').count() == 1


def test_a_title_cannot_end_or_hide_the_script(opened, recordings, tmp_path):
    path = tmp_path / "p.html"
    path.write_text(written("<!--<script></script>", recordings[:1]), encoding="utf-8")
    page = opened(path=path)
    assert page.title() == "<!--<script></script>"
    assert page.locator("#network .unit").count() == 5


def test_what_is_not_trained_and_what_has_no_surface_is_told():
    shared = contents("x", [record(SYSTEMS["shared-bias"](), 2)])
    assert [place[2] is None for place in shared["places"]] == shared["fixed"]
    xor = SYSTEMS["xor"]()
    assert contents("x", [record(xor, 2)])["bounds"] == [[-0.25, -0.25], [1.25, 1.25]]
    regression = contents("x", [record(xor._replace(network=replace(xor.network, output="identity")), 2)])
    assert regression["bounds"] is None
    assert "surface" not in regression["runs"][0]["frames"][0]


def test_the_page_ends_no_script_early_and_keeps_its_title(file):
    text = file.read_text(encoding="utf-8")
    assert "<title>xor &lt;/script&gt;</title>" in text
    assert text.count("</script>") == 2
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_what_is_kept_of_a_run():
    assert chosen_steps(0, 10) == {0}
    chosen = chosen_steps(10_000, 120)
    assert {0, 1, 2, 10_000} <= chosen
    assert len(chosen) <= 122
    recording = record(SYSTEMS["two-by-two"](), 100, 0.1)
    assert recording.losses[100] == pytest.approx(0.1335106073, abs=5e-11)
    assert recording.losses[0] == pytest.approx(0.24251985735, abs=5e-12)
    assert contents("x", [recording])["runs"][0]["losses"][-1] == [100, recording.losses[100]]


@pytest.mark.parametrize(("given", "message"), [
    (["xor", "--html", "page.txt"], "--html 'page.txt' must end in .html or .htm"),
    (["xor", "--html", "p.html", "--row", "2"], "the page of a small system shows every row"),
    (["xor", "--html", "p.html", "--json"], "leave out --weight, --unit and --json"),
    (["xor", "--learning-rate", "0.1,0.5"], "several learning rates are for the page of a small system"),
    (["xor", "--html", "p.html", "--learning-rate", "0.1,x"], "--learning-rate must be a number, or several"),
])  # fmt: skip
def test_what_it_refuses(given, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["explain", *given]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
