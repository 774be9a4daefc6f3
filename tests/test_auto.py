"""The rule of engine "auto": held to the committed measurements, and to what is installed; and how it is fitted."""

import math
from itertools import pairwise
from pathlib import Path

import pytest

from backprop_xp.engines import auto, choose
from backprop_xp.engines.auto import Cost, Work
from backprop_xp.errors import InputError
from benchmarks import auto as fitting
from benchmarks.auto import Sample
from benchmarks.report import results

COMMITTED = Path(__file__).parent.parent / "benchmarks" / "results" / "amd-epyc-2-cores"
COSTS = {
    "eager": Cost(start=0.0, step=1e-5, layer=1e-6, product=0.005, unit=0.001, weight=0.0005),
    "jax": Cost(start=1.0, step=1e-6, layer=5e-7, product=0.004, unit=0.001, weight=0.002),
    "loops": Cost(start=3.0, step=0.0, layer=1e-7, product=0.02, unit=0.005, weight=0.001),
}
TINY = Work((2, 4, 2), 4, 10**7, "float32", "numpy")
LARGE = Work((1024, 1024, 10), 1024, 10**6, "float32", "numpy")


@pytest.fixture
def costs(monkeypatch):
    """Costs that are made up, of libraries that are there."""
    monkeypatch.setattr(auto, "COSTS", {("numpy", "float32"): COSTS})
    monkeypatch.setattr(auto, "_LIBRARIES", dict.fromkeys(auto._LIBRARIES, "math"))
    return COSTS


@pytest.fixture(scope="module")
def measured():
    return fitting.samples(results.load(COMMITTED))


def times_of_the_best(samples):
    return {
        name: seconds.get(choose("auto", work).engine, math.inf) / min(seconds.values())
        for name, work, seconds in samples
    }


def test_the_rule_is_within_a_twentieth_of_the_best_engine_at_the_peers_shapes_but_two(measured, monkeypatch):
    """The goal is all of them: it misses by 10 and 13 % where eager overtakes jax, at the largest two with Adam."""
    monkeypatch.setattr(auto, "_LIBRARIES", dict.fromkeys(auto._LIBRARIES, "math"))
    times = times_of_the_best(sample for sample in measured if "hidden" not in sample.name)
    assert len(times) == 16
    over = {name: times[name] for name in times if times[name] > fitting.ALLOWED}
    assert set(over) == {"1024-4096-4096-10, batch 1024, adam", "1024-2048-2048-10, batch 4096, adam"}
    assert max(over.values()) < 1.13


def test_over_the_loops_suites_grid_the_rule_is_within_a_twentieth_at_58_of_67(measured, monkeypatch):
    """The goal is all of them. What it misses by is up to 58 %, at 8,192 rows, in a run on a machine not quiet."""
    monkeypatch.setattr(auto, "_LIBRARIES", dict.fromkeys(auto._LIBRARIES, "math"))
    times = times_of_the_best(sample for sample in measured if "hidden" in sample.name)
    assert len(times) == 67
    assert sum(over > fitting.ALLOWED for over in times.values()) == 9
    assert max(times.values()) < 1.59


def test_beyond_what_an_engine_was_the_fastest_at_it_is_not_chosen(costs, monkeypatch):
    assert choose("auto", TINY).engine == "loops"
    limited = {**COSTS, "loops": COSTS["loops"]._replace(most=1e-5)}
    monkeypatch.setattr(auto, "COSTS", {("numpy", "float32"): limited})
    assert choose("auto", TINY).engine != "loops"


def test_the_limit_is_the_largest_work_at_which_an_engine_is_the_best():
    found = fitting.costs(made_up(), {})
    best = [each.work for each in made_up() if min(each.seconds, key=each.seconds.get) == "loops"]
    largest = max(w.batch_size * sum(a * b for a, b in pairwise(w.widths)) for w in best) / 1e6
    assert largest <= found["loops"].most <= 1.2 * largest
    assert found["eager"].most == math.inf


def test_what_ends_first_is_chosen_and_why(costs):
    tiny, large = choose("auto", TINY), choose("auto", LARGE)
    assert (tiny.engine, large.engine) == ("loops", "jax")
    expected, of_eager = costs["jax"].of(LARGE), costs["eager"].of(LARGE)
    assert large.reason == f"{expected:.2g} s expected, {of_eager:.2g} s of eager"


@pytest.mark.parametrize("work", [TINY, LARGE])
def test_an_engine_that_cannot_be_started_is_never_chosen(costs, monkeypatch, work):
    before = choose("auto", work).engine
    monkeypatch.setitem(auto._LIBRARIES, before, "no_such_library")
    assert choose("auto", work).engine != before
    for engine in auto._LIBRARIES:
        monkeypatch.setitem(auto._LIBRARIES, engine, "no_such_library")
    assert choose("auto", work) == ("eager", "no other is expected to end sooner, at float32")


def test_few_steps_are_taken_at_once(costs):
    chosen = [choose("auto", TINY._replace(n_steps=n)).engine for n in (1, 10**4, 10**6, 10**7)]
    assert chosen == ["eager", "eager", "jax", "loops"]


@pytest.mark.parametrize(("field", "value"), [("backend", "array_api_strict"), ("dtype", "float64")])
def test_what_was_not_measured_is_eager(costs, field, value):
    work = LARGE._replace(**{field: value})
    assert choose("auto", work) == ("eager", f"no other was measured on {work.backend}, at {work.dtype}")


def test_short_epochs_are_not_worth_compiled_ones(costs):
    assert choose("auto", LARGE._replace(widths=(2, 2), batch_size=4, n_steps=10**6, n_epochs=10**6)).engine == "eager"
    assert choose("auto", TINY._replace(n_epochs=TINY.n_steps // 1000)).engine == "loops"


def test_steps_that_a_callback_hears_of_are_eager(costs):
    assert choose("auto", LARGE._replace(every_step=True)) == ("eager", "a callback hears of every step")


def test_a_precision_brings_an_engine_that_has_it(costs):
    assert choose("auto", LARGE._replace(backend="cupy", precision="tf32")).engine == "cuda_graph"
    assert choose("auto", LARGE._replace(backend="torch", precision="bfloat16")).engine == "torch"
    with pytest.raises(InputError, match="numpy multiplies in float32 or float64, not in tf32"):
        choose("auto", LARGE._replace(precision="tf32"))


def test_a_named_engine_is_taken(costs):
    assert choose("torch", TINY) == ("torch", "as asked for")


# Fitting


def made_up(engines=tuple(COSTS)):
    works = [
        Work(widths, batch, fitting.MANY, "float32", "numpy")
        for widths in ((2, 4, 2), (64, 64, 10), (784, 128, 10), (784, 512, 512, 10), (64, 8, 10), (1024, 2048, 10))
        for batch in (4, 32, 256)
    ]
    return [
        Sample(str((w.widths, w.batch_size)), w, {name: COSTS[name].of(w) / w.n_steps for name in engines})
        for w in works
    ]


def test_the_costs_that_times_were_made_from_are_found_again():
    found = fitting.costs(made_up(), {name: cost.start for name, cost in COSTS.items()})
    for name, cost in COSTS.items():
        works = [work for _, work, _ in made_up() if found[name].of(work) < math.inf]
        assert len(works) >= 5
        assert [found[name].of(work) for work in works] == pytest.approx([cost.of(work) for work in works], rel=0.02)
    assert max(choice.times for choice in fitting.chosen(made_up(), found)) == 1.0


def test_costs_are_moved_to_where_less_time_is_lost(monkeypatch):
    disturbed = [
        each._replace(seconds={**each.seconds, "jax": each.seconds["jax"] * (1.5 if k % 3 else 0.6)})
        for k, each in enumerate(made_up())
    ]

    def lost():
        return sum(math.log(choice.times) for choice in fitting.chosen(disturbed, fitting.costs(disturbed, {})))

    moved = lost()
    monkeypatch.setattr(fitting, "_to_choose", lambda found, of: of)
    assert moved < 0.9 * lost()


def test_an_engine_that_was_left_out_is_no_sample_and_a_choice_that_fails():
    samples = made_up()
    best = next(sample for sample in samples if min(sample.seconds, key=sample.seconds.get) == "jax")
    left_out = best._replace(seconds={**best.seconds, "jax": math.inf})
    found = fitting.costs([left_out if sample is best else sample for sample in samples], {})
    assert found["jax"].product == pytest.approx(COSTS["jax"].product, rel=0.02)
    (choice,) = fitting.chosen([left_out], found)
    assert (choice.engine, choice.times) == ("jax", math.inf)


def row(contender, case, seconds, **extra):
    return results.Row(
        "peers", case, contender, "ours", "step", results.Spread(seconds, seconds, seconds), (), {**extra}
    )


@pytest.fixture
def some():
    """Results of two networks and two engines, one of which was left out at the larger; and of jax on CUDA."""
    rows, gaps = [], []
    for shape, batch, eager, loops in (("2-4-2", 4, 2e-5, 2e-7), ("784-128-10", 128, 4e-4, None)):
        case = {"shape": shape, "batch": batch, "optimizer": "sgd", "device": "cpu"}
        rows.append(row("backprop_xp on NumPy", case, eager, start=0.001))
        if loops:
            rows.append(row("backprop_xp, engine loops", case, loops, start=3.0))
        else:
            gaps.append(results.Gap("peers", case, "backprop_xp, engine loops", "ours", "unfit", "too large"))
        rows.append(row("backprop_xp, engine jax", case, 2 * eager, start=1.0 + batch))
        rows.append(row("backprop_xp, engine jax", {**case, "device": "cuda"}, 1e-9, start=99.0))
    return results.Results((), tuple(rows), tuple(gaps))


def test_results_become_samples_and_starts(some):
    small, large = fitting.samples(some)
    assert small.work == TINY._replace(n_steps=fitting.MANY)
    assert small.seconds == {"eager": 2e-5, "loops": 2e-7, "jax": 4e-5}
    assert large.seconds == {"eager": 4e-4, "loops": math.inf, "jax": 8e-4}
    assert fitting.starts(some) == {"eager": 0.001, "loops": 3.0, "jax": 67.0}
    assert fitting.samples(some, "cupy") == []


def test_what_is_printed_can_be_pasted(some):
    text = fitting.text(some)
    literal = text[text.index("= {") + 2 : text.index("\n}\n") + 2]
    pasted = eval(literal, {"Cost": Cost})
    found = fitting.costs(fitting.samples(some), fitting.starts(some))
    assert pasted == {("numpy", "float32"): found}
    assert "2-4-2, batch 4, sgd" in text
    assert "at worst" in text


def test_results_without_engines_are_refused():
    with pytest.raises(InputError, match="no times of several engines: python -m benchmarks run peers loops"):
        fitting.text(results.Results((), (), ()))
