"""The page in a real browser: slider, play, clicks, keys, widths, colours; its numbers; nothing is loaded."""

import re
from dataclasses import replace

import numpy as np
import pytest

from backprop_xp import Network, Recorder, Trainer, cli, load_run, sgd
from backprop_xp.explanation.page import contents, n_frames, written
from backprop_xp.explanation.recording import explained_frame, record
from backprop_xp.explanation.systems import SYSTEMS
from backprop_xp.optimizers import OPTIMIZERS
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


def test_a_negative_loss_stays_in_its_picture(opened, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    network = Network((2, 4, 1), activation="tanh", output="exp")
    trainer = Trainer(network, "poisson", epochs=40, batch_size=60, callbacks=[Recorder(tmp_path / "a.run")])
    history = trainer.fit(X, rng.poisson(20.0, 60))
    assert history["loss"].max() < 0
    assert cli.run(["explain", str(tmp_path / "a.run"), "--html", str(tmp_path / "a.html")]) == 0
    page = opened(path=tmp_path / "a.html")
    points = page.eval_on_selector("#loss polyline", "line => line.getAttribute('points')")
    high = float(page.eval_on_selector("#loss", "svg => svg.viewBox.baseVal.height"))
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert all(0 < y < high for y in heights)
    assert heights[0] < heights[-1]  # the loss goes down
    assert history["loss"].min() == pytest.approx(float(page.text_content("#loss text:nth-of-type(2)")), rel=0.05)


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
        "button", "all => all.filter(each => each.offsetParent && each.getBoundingClientRect().height < 20).length"
    )
    assert small == 0


def test_a_run_of_ten_thousand_steps_makes_a_small_page_that_opens_at_once(browser, opened, tmp_path):
    assert cli.run(["explain", "xor", "--html", str(tmp_path / "xor.html")]) == 0
    assert (tmp_path / "xor.html").stat().st_size < 2 * 2**20
    page = opened(path=tmp_path / "xor.html")
    assert page.evaluate("data.runs[0].losses.at(-1)[0]") == 10_000
    assert page.locator("#network .unit").count() == 5
    assert page.locator("#rates tbody tr").count() == 3


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_page(hidden, *arguments):
    """Train on digits with --record, and write the page of its steps; return the run."""
    assert cli.run(["train", "digits", "--hidden", hidden, "--record", "a.run", *map(str, arguments)]) == 0
    assert cli.run(["explain", "a.run", "--html", "a.html"]) == 0
    return load_run("a.run")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizers_update_is_the_recorded_runs(opened, place, optimizer):
    run = run_page(
        "6", "--epochs", 3, "--optimizer", optimizer, "--l2", 0.01, "--clip-norm", 0.05, "--dtype", "float64"
    )
    page = opened(path=place / "a.html")
    assert page.input_value("#slider") == "0"
    to_frame(page, 2)
    it = explained_frame(run, run.frames[2])
    for layer, unit, source in [(1, 3, 20), (2, 4, 1), (2, 1, None)]:
        choose_by_form(page, layer, unit, "bias" if source is None else source)
        assert page.text_content("#what") == it.name(layer, unit, source)
        weight = it.weight(layer, unit, source)
        for what, values in [("w", weight.update.before), ("dE", weight.update.before), ("lr", weight.update.before)]:
            assert set(numbers(page, what)) <= {values[what]}, what
        assert numbers(page, "gradient") == [weight.gradient]
        assert numbers(page, "loop") == ([] if weight.loop is None else [weight.loop])
        assert numbers(page, "after") == [weight.update.after["w"]]
        for moment in ("g", "m", "v"):
            told = set(numbers(page, f"{moment} after"))
            assert told == ({weight.update.after[moment]} if moment in weight.update.after else set()), moment
        words = [line.split(" ← ")[0] for line in page.locator(".statement").all_text_contents()]
        assert words == [name for name, _ in weight.update.statements]
        if source is not None:
            assert "clip" in page.text_content("#update")


def choose_by_form(page, layer, unit, source=""):
    page.select_option("#chosenlayer", str(layer))
    page.fill("#chosenunit", str(unit))
    page.fill("#chosensource", str(source))
    page.press("#chosensource", "Enter")


def test_a_network_of_a_hundred_units_is_drawn_whole(opened, place):
    run = run_page("32", "--epochs", 4)  # more than 2,000 weights: the page's numbers are float32
    page = opened(path=place / "a.html", width=360)
    assert page.locator("#network .unit").count() == 64 + 32 + 10
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = page.eval_on_selector_all(
        "#network .unit circle:first-of-type", "all => all.map(each => [each.cx.baseVal.value, each.cy.baseVal.value])"
    )
    assert len({tuple(box) for box in boxes}) == 106  # none hides another
    to_frame(page, 3)
    choose(page, "unit", 1, 9)
    it = explained_frame(run, run.frames[3])
    np.testing.assert_allclose(numbers(page, "delta"), it.unit(1, 9).delta, rtol=1e-6)
    listed = page.locator(".links button")
    sizes = np.abs(np.append(it.gradient[0][0][:, 8], it.gradient[0][1][0, 8]))
    assert listed.count() == 10
    assert f"from {sizes.argmax() + 1}:" in listed.first.text_content()
    listed.first.click()
    weight = it.weight(1, 9, int(sizes.argmax()) + 1)
    assert page.text_content("#what") == weight.name
    np.testing.assert_allclose(numbers(page, "product"), weight.products, rtol=1e-6)
    choose(page, "unit", 2, 3)
    page.press('#network [data-key="unit 2 3 "]', "ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert page.text_content("#what") == "layer 1, unit 4"
    assert page.evaluate("document.activeElement.dataset.key") == "unit 1 4 "
    page.select_option("#row", "28")
    seen = page.eval_on_selector(
        ".long",
        """box => { const now = box.querySelector('.now').getBoundingClientRect();
        const around = box.getBoundingClientRect(); return now.top > around.top && now.bottom < around.bottom; }""",
    )
    assert seen
    choose(page, "unit", 2, 3)
    page.dispatch_event('#network [data-key="edge 2 3 9"]', "click")
    assert page.text_content("#what") == "layer 2, unit 3, from 9"
    choose_by_form(page, 2, 11)
    assert page.text_content("#chosentext") == "Layer 2: 10 units, each with weights from 1 to 32 and a bias."
    assert page.text_content("#what") == "layer 2, unit 3, from 9"
    assert "4 epochs of 45 steps of adam, each on 32 of 1,438 rows. Shown are 32 training rows" in page.text_content(
        "#lead"
    )
    assert page.locator("#loss polyline").count() == 2  # training and validation
    assert page.is_hidden("#rates")
    choose_by_form(page, 2, 5, 3)
    assert "hidden unit 3 → output 5 (4)" in page.text_content("#chain")  # the class by its name
    choose_by_form(page, 1, 5, 12)
    assert "input 12 (pixel_1_3) → hidden unit 5" in page.text_content("#chain")
    assert "(epoch 3)" in page.text_content("#steplabel")


def test_a_larger_network_is_shown_around_the_chosen_unit(opened, place):
    run = run_page("512", "--epochs", 2)
    page = opened(path=place / "a.html")
    assert page.locator("#network .unit").count() == 12 + 12 + 10
    choose_by_form(page, 1, 12)
    assert page.locator('#network [data-key="unit 1 15 "]').count() == 1
    choose_by_form(page, 1, 500, 40)
    it = explained_frame(run, run.frames[0])  # in float32, as it was trained
    np.testing.assert_allclose(numbers(page, "gradient"), [it.weight(1, 500, 40).gradient], rtol=1e-6)
    assert page.locator('#network [data-key="edge 1 500 40"]').count() == 1
    assert numbers(page, "difference") == [None]


def test_a_model_file_has_a_page(opened, place):
    assert cli.run(["train", "iris", "--epochs", "1", "--hidden", "4"]) == 0
    assert cli.run(["explain", "model.safetensors", "--data", "iris", "--row", "3", "--html", "m.html"]) == 0
    page = opened(path=place / "m.html")
    assert page.locator("#network .unit").count() == 4 + 4 + 3
    assert page.is_disabled("#play")
    assert page.text_content("#row").startswith("3: ")


def test_a_run_of_all_rows_at_once_makes_the_steps_that_are_shown(opened, place):
    """XOR by the trainer: the page's next weight is the run's."""
    assert cli.run(["train", "xor", "--hidden", "2", "--epochs", "50", "--record", "x.run", "--dtype", "float64",
                    "--activation", "sigmoid", "--loss", "binary_cross_entropy"]) == 0  # fmt: skip
    assert cli.run(["explain", "x.run", "--html", "x.html"]) == 0
    page = opened(path=place / "x.html")
    run = load_run("x.run")
    assert "on all rows at once" in page.text_content("#lead")
    to_frame(page, 30)
    choose(page, "edge", 1, 2, 1)
    assert numbers(page, "after") == pytest.approx([run.frames[31].params[0][0][0, 1]], rel=1e-12)
    assert page.is_visible("#surface")


@pytest.mark.parametrize(("given", "message"), [
    (["--data", "iris"], "a recorded run has its own rows: leave out --data and --target"),
    (["--learning-rate", "0.1"], "a recorded run has its own learning rate"),
    (["--html", "a.html", "--row", "2"], "the page of a run shows every recorded row and step"),
    (["--row", "33"], "--row must be one of 1 to 32, the rows that were recorded, not 33"),
])  # fmt: skip
def test_what_a_run_refuses(capsys, place, given, message):
    assert cli.run(["train", "iris", "--epochs", "1", "--record", "a.run"]) == 0
    capsys.readouterr()
    assert cli.run(["explain", "a.run", *given]) == 2
    assert message in capsys.readouterr().err


def test_dropout_is_told_of(opened, capsys, place):
    assert cli.run(["train", "xor", "--dropout", "0.5", "--epochs", "2", "--record", "a.run"]) == 0
    assert cli.run(["explain", "a.run", "--html", "a.html"]) == 0
    assert "Dropout is left out." in opened(path=place / "a.html").text_content("#lead")
    capsys.readouterr()
    assert cli.run(["explain", "a.run"]) == 0
    assert "without dropout" in " ".join(capsys.readouterr().out.split())


def test_a_small_move_is_not_lost_beside_its_weight(opened, place):
    run = run_page("40", "--epochs", 2, "--optimizer", "sgd", "--learning-rate", "1e-7")
    page = opened(path=place / "a.html")
    choose_by_form(page, 2, 3, 5)
    g = explained_frame(run, run.frames[0]).weight(2, 3, 5).gradient
    told = re.search(r" by (\S+), ", page.text_content("#update"))[1]
    assert float(told) == pytest.approx(1e-7 * abs(g), rel=1e-5)


@pytest.mark.parametrize("content", [b"nothing of the kind", b""])
def test_other_files_are_told_for_what_they_are(capsys, place, content):
    (place / "x").write_bytes(content)
    assert cli.run(["explain", "x", "--data", "iris"]) == 2
    assert "it is truncated or no safetensors file" in capsys.readouterr().err


def test_a_run_in_the_terminal(capsys, place):
    assert cli.run(["train", "iris", "--epochs", "5", "--hidden", "4", "--record", "a.run"]) == 0
    capsys.readouterr()
    assert cli.run(["explain", "a.run", "--step", "9", "--weight", "layer 2, unit 1, from 1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    run = load_run("a.run")
    assert lines[0] == "after step 8, the end of epoch 2; on 32 training rows, evenly chosen"
    weight = explained_frame(run, run.frames[2]).weight(2, 1, 1)
    assert f"sum {weight.gradient:.6g}; Xᵀδ {weight.matrix:.6g}" in "\n".join(lines)
    assert f"= {weight.update.after['v']:.6g}" in "\n".join(lines)


def test_a_run_of_the_users_own_optimizer_has_no_page(capsys, place):
    X = np.eye(4)
    trainer = Trainer(Network((4, 2)), optimizer=sgd(0.1)._replace(name=""), epochs=1, callbacks=[Recorder("a.run")])
    trainer.fit(X, X[:, :2])
    assert cli.run(["explain", "a.run"]) == 2
    assert "trained by an optimizer that is not the package's" in capsys.readouterr().err


def test_a_title_cannot_end_or_hide_the_script(opened, recordings, tmp_path):
    path = tmp_path / "p.html"
    path.write_text(written("<!--<script></script>", recordings[:1]), encoding="utf-8")
    page = opened(path=path)
    assert page.title() == "<!--<script></script>"
    assert page.locator("#network .unit").count() == 5


def test_what_is_not_trained_and_what_has_no_surface_is_told():
    shared = contents("x", [record(SYSTEMS["shared-bias"](), 2)])
    assert shared["fixed"] == [[False, True], [False, True]]
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


def test_a_page_holds_fewer_steps_of_larger_networks():
    assert n_frames(17, 0) == n_frames(1_000, 0) == 121
    assert 10 < n_frames(9_610, 2) < n_frames(4_810, 2) < 121
    assert n_frames(250_000, 2) >= 3


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
