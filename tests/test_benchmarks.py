"""The benchmarks' harness: it sees who is slower, refuses who is wrong, shows who is missing, and times in turns."""

import importlib.util
import itertools
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from controls import MISSING, SLOWED, WRONG, control

from backprop_xp import loops, training_run
from backprop_xp.engines.memory import Sparing
from benchmarks import bench_growth, bench_loops, bench_peers, conftest, contest, jobs, machine
from benchmarks.contenders import (
    BARE,
    COMPILED,
    ENGINE_JAX,
    ENGINE_LOOPS,
    ENGINES,
    INTERPRETED,
    ON_JAX,
    ON_NUMPY,
    ON_TORCH,
    S1,
    S2,
    fitting,
    growing,
    ours,
    stepping,
)
from benchmarks.contest import CHECKED_STEPS, Harness, Plan, distance
from benchmarks.problems import Problem
from benchmarks.worker import Worker

ROOT = Path(__file__).parent.parent
SMALL = Problem((3, 5, 4), 6, n_batches=4)
# what pytest-xdist sets for its own processes would switch pytest-benchmark off in those started here
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
QUICK = Plan(3, 0.002, 1.0)
AND = Problem((2, 1), 8, 1, "sgd", "sigmoid", "half_squared_error", "float64", "and")


@pytest.fixture
def harness():
    with Harness(threads=1) as harness:
        yield harness


def named(name, device="cpu"):
    (contender,) = (contender for contender in stepping(device) if contender.name == name)
    return contender


FITS = [contender for contender in stepping("cpu") if contender.role == "fit"]


def made(contender, problem):
    if contender.needs is not None:
        pytest.importorskip(contender.needs)
    module, _, name = contender.make.partition(":")
    return getattr(importlib.import_module(module), name)(problem, **contender.options)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler, by itself
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("contender", [*stepping("cpu"), ON_JAX, ON_TORCH], ids=lambda c: c.name)
def test_contenders_take_the_same_steps(contender, optimizer):
    problem = replace(SMALL, optimizer=optimizer)
    taking_part = made(contender, problem)
    taking_part.run(7)  # more than an epoch
    if contender.make.endswith((":Products", ":Fit")):  # it trains nothing; it shuffles
        assert taking_part.params() is None
    else:
        assert distance(problem, taking_part.params(), 7) < problem.tolerance / 10


@pytest.mark.parametrize("contender", [ENGINE_LOOPS, ENGINE_JAX], ids=lambda c: c.name)
def test_an_engine_takes_whole_epochs_and_a_shorter_one_and_compiles_before_it_is_timed(contender, monkeypatch):
    for compiled in ("jax._COMPILED", "jax._RECORDED", "loops._compiled"):  # another test may have compiled this step
        monkeypatch.setattr(f"backprop_xp.engines.{compiled}", {})
    taking_part = made(contender, SMALL)
    assert taking_part.compiling > 0
    for n_steps in (CHECKED_STEPS, 4, 7):
        taking_part.run(n_steps)
    seen, run = [], taking_part.engine.run
    n_compiled = taking_part.engine.n_compiled

    def noting(step, params, state, X, Y, batches):
        seen.append((X is taking_part.X, Y is taking_part.Y, batches))
        return run(step, params, state, X, Y, batches)

    taking_part.engine.run = noting
    taking_part.run(11)
    assert seen == [(True, True, (None, n_samples, 6)) for n_samples in (24, 24, 18)]
    assert taking_part.engine.n_compiled == n_compiled
    assert taking_part.engine.name == contender.options["engine"]


def test_long_runs_are_what_is_timed_of_small_networks(monkeypatch):
    monkeypatch.setattr(ours, "LONG", 9)
    asked = []
    monkeypatch.setattr(Sparing, "run", _counting(asked))
    made(ON_NUMPY, SMALL)
    assert sum(asked) >= 9
    asked.clear()
    monkeypatch.setattr(ours, "SMALL", 3)
    made(ON_NUMPY, SMALL)
    assert sum(asked) == 2


def test_the_first_epochs_of_a_fit_are_not_among_its_steps(monkeypatch):
    asked = []
    monkeypatch.setattr(Sparing, "run", _counting(asked))
    monkeypatch.setattr(training_run, "_BRIEF", 0)
    for long, n_before in ((1, 2), (50, 13)):
        monkeypatch.setattr(ours, "LONG", long)
        fit = made(named("backprop_xp, Trainer.fit"), SMALL)
        asked.clear()
        # The fit begins at 0; the first epoch takes 8 seconds and each later one 1.
        clock = SimpleNamespace(perf_counter=itertools.chain([0], itertools.count(8)).__next__)
        with monkeypatch.context() as patched:
            patched.setattr(ours, "time", clock)
            assert fit.run(8) == 2  # epochs
        assert asked == [4] * (n_before + 2)
        assert fit.facts()["once"] == 7


@pytest.mark.parametrize(
    ("at_once", "calls"), [(3, [12, 4]), (4, [16, 16, 16]), (100, [16, 32, 64, 128, 256, 400, 112])]
)
def test_the_seconds_of_brief_epochs_are_those_between_the_calls_that_make_several(monkeypatch, at_once, calls):
    asked = []
    fit = made(named("backprop_xp, Trainer.fit"), SMALL)
    fit.beginning = 2
    monkeypatch.setattr(Sparing, "run", _counting(asked))
    monkeypatch.setattr(training_run.Run, "_at_once", lambda self: at_once)
    monkeypatch.setattr(ours, "time", SimpleNamespace(perf_counter=lambda: 5.0 * fit.trainer.kept_epoch))
    assert fit.run(8) == 10.0  # two epochs of 4 steps, 5 seconds each
    assert asked == calls


def test_a_contender_may_tell_the_seconds_itself():
    worker = Worker()
    worker.contender = SimpleNamespace(run=lambda n: 5.0 * n)
    assert worker.steps(3) == {"seconds": 15.0}
    assert worker.pace < 1.0  # of the clock: how long to warm up is decided by it


def _counting(asked):
    run = Sparing.run

    def counting(self, step, params, state, X, Y, batches, **options):
        asked.append(batches.n_batches)
        return run(self, step, params, state, X, Y, batches, **options)

    return counting


def test_what_cannot_run_a_case_is_left_out_with_the_reason(harness):
    misplaced = replace(ENGINE_LOOPS, options={"engine": "loops", "backend": "torch"}, needs=None)
    outcome = harness.hold(SMALL, [misplaced], QUICK)[misplaced.name]
    assert outcome.gap == "unfit"
    assert outcome.reason.startswith("engine 'loops' runs on numpy, not on 'torch'")


def test_what_comes_before_the_first_step_is_told_of_engines_alone(harness):
    outcomes = harness.hold(SMALL, [ON_NUMPY, named("backprop_xp, engine jax"), S_BY_HAND, *FITS[:1]], QUICK)
    starts = {name: outcome.start for name, outcome in outcomes.items() if outcome.gap is None}
    assert (starts[S_BY_HAND.name], starts[FITS[0].name]) == (None, None)
    assert starts[ON_NUMPY.name] >= 0
    if "backprop_xp, engine jax" in starts:
        assert starts["backprop_xp, engine jax"] > starts[ON_NUMPY.name]  # JAX is imported, and a step compiled
        facts = outcomes["backprop_xp, engine jax"].facts[-1]
        assert min(facts["importing"], facts["compiling"]) > 0.01


def test_who_takes_part_on_which_device():
    bare = {name for names in BARE.values() for name in names}
    everybody = {contender.name: contender for device in ("cpu", "cuda") for contender in stepping(device)}
    assert {name for name, contender in everybody.items() if contender.role == "fit"} == set(BARE)
    assert bare <= {name for name, contender in everybody.items() if contender.role == "ours"}
    for name, engine in {**ENGINES["numpy"], **ENGINES["cupy"]}.items():
        assert everybody[name].options.get("engine", "eager") == engine
    assert all(contender.options["device"] == "cuda" for contender in stepping("cuda"))
    largest = {case["device"]: case for case in bench_peers.cases("full")}
    assert largest["cuda"]["batch"] == 65536
    assert (largest["cpu"]["shape"], largest["cpu"]["batch"]) == ("1024-2048-2048-10", 4096)


@pytest.mark.parametrize("contender", [INTERPRETED, COMPILED], ids=lambda c: c.name)
def test_loops_take_the_same_steps(contender):
    taking_part = made(contender, SMALL)
    taking_part.run(7)
    assert distance(SMALL, taking_part.params(), 7) < SMALL.tolerance / 10


@pytest.mark.parametrize("contender", [S1, S2, ON_NUMPY], ids=lambda c: c.name)
def test_the_tutorials_pair_takes_the_same_steps(contender):
    taking_part = made(contender, AND)
    taking_part.run(5)
    assert distance(AND, taking_part.params(), 5) < 1e-12


def test_what_is_expected_is_what_the_scalar_loops_say():
    X, labels, _, params = SMALL.inputs()
    params = loops.to_lists(params)
    for k in range(5):
        X_k, y_k = X[k % 4].tolist(), labels[k % 4].tolist()
        params, _ = loops.step(SMALL.network, params, X_k, y_k, "cross_entropy", SMALL.learning_rate)
    for leaf, expected in zip((leaf for layer in params for leaf in layer), SMALL.expected(5), strict=True):
        np.testing.assert_allclose(np.reshape(leaf, expected.shape), expected, rtol=1e-12)


def test_floor_multiplies_what_the_step_multiplies():
    floor = made(stepping("cpu")[0], SMALL)
    floor.run(4)
    for triples in floor.triples:
        assert sum(2 * A.shape[0] * A.shape[1] * B.shape[1] for A, B, _ in triples) == SMALL.flops
        for A, B, product in triples:
            np.testing.assert_allclose(product, A @ B, rtol=1e-5, atol=1e-6)


def test_distance_sees_a_rate_that_is_off_and_nan_but_not_rounding():
    expected = SMALL.expected(CHECKED_STEPS)
    first = [leaf for layer in SMALL.params() for leaf in layer]
    off = [start + 1.01 * (end - start) for start, end in zip(first, expected, strict=True)]
    assert 0.009 < distance(SMALL, off, CHECKED_STEPS) < 0.011
    assert distance(SMALL, [end.astype(np.float32) for end in expected], CHECKED_STEPS) == 0.0
    assert not distance(SMALL, [np.full_like(end, np.nan) for end in expected], CHECKED_STEPS) <= SMALL.tolerance


PROBLEMS = [
    *(bench_peers.task(case, None) for case in bench_peers.cases("full")[:5]),
    *(bench_growth.task({"axis": "depth", "size": size}, None) for size in (1, 8, 64)),
    *(bench_loops.task({"hidden": hidden, "batch": batch}, None) for hidden, batch in ((2, 1), (2, 8192), (4096, 1))),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"{problem.widths[:4]}, {problem.batch}")
def test_a_rate_that_is_off_is_seen_in_float32_at_every_kind_of_shape(problem):
    first = [leaf for layer in problem.params() for leaf in layer]
    expected = problem.expected(CHECKED_STEPS)
    off = [(start + 1.01 * (end - start)).astype("float32") for start, end in zip(first, expected, strict=True)]
    assert distance(problem, off, CHECKED_STEPS) > 4 * problem.tolerance


@pytest.fixture(scope="module")
def controlled(tmp_path_factory):
    """The controls, run as the benchmarks are, and what pytest said."""
    pytest.importorskip("pytest_benchmark")
    folder = tmp_path_factory.mktemp("results")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "benchmarks.conftest", "tests/controlled.py", "-q"),
            *("-p", "no:cacheprovider", "--threads", "1", f"--benchmark-json={folder / 'peers.json'}"),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    return folder, ran


def test_a_slowed_contender_is_reported_as_slower(controlled):
    from benchmarks.report import results

    rows = {row.contender: row for row in results.load(controlled[0]).rows}
    assert results.ratio(rows["Slowed"], rows["Clocked"]) == pytest.approx(5)


def test_a_wrong_contender_is_refused_before_timing(controlled):
    folder, ran = controlled
    saved = json.loads((folder / "peers.json").read_text())
    assert "Wrong" not in [result["extra_info"]["contender"] for result in saved["benchmarks"]]
    (gap,) = (gap for gap in saved["gaps"] if gap["contender"] == "Wrong")
    assert gap["kind"] == "refused"
    assert re.search(r"differs from the others' by (0\.9\d|1) %", gap["reason"])
    assert ran.returncode == 1
    assert "1 failed, 2 passed, 1 skipped" in ran.stdout


def test_a_missing_library_leaves_a_visible_gap_and_no_failure(controlled):
    folder, ran = controlled
    (gap,) = (gap for gap in json.loads((folder / "peers.json").read_text())["gaps"] if gap["contender"] == "Missing")
    assert gap["kind"] == "missing"
    assert gap["reason"] == "no_such_library is not installed: pip install no-such-library"
    assert "SKIPPED [1]" in ran.stdout


def test_turns_are_taken_round_by_round_and_each_round_begins_with_another(harness, monkeypatch):
    asked = []
    ask = contest.Process.ask

    def noting(process, do, **arguments):
        asked.append((process, do))
        return ask(process, do, **arguments)

    monkeypatch.setattr(contest.Process, "ask", noting)
    outcomes = harness.hold(SMALL, [ON_NUMPY, S_BY_HAND, SLOWED], QUICK)
    steps = [harness.processes[c] for c in (ON_NUMPY, S_BY_HAND, SLOWED)]
    turns = [steps.index(process) for process, do in asked if do == "steps"][-9:]
    assert turns == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert [len(outcome.seconds) for outcome in outcomes.values()] == [3, 3, 3]
    assert len(harness.fixed) == 3


S_BY_HAND = named("NumPy by hand, in place")


def test_no_turn_is_chosen_or_taken_with_a_compilation_in_it(harness, monkeypatch):
    """Who compiles for each number of steps has taken as many before it is timed with them."""
    asked = []
    ask = contest.Process.ask

    def slow_at_first(process, do, **arguments):
        answer = ask(process, do, **arguments)
        if do == "steps":
            first = arguments["n"] not in asked
            asked.append(arguments["n"])
            answer["seconds"] = 10.0 if first else 1e-4 * arguments["n"]
        return answer

    monkeypatch.setattr(contest.Process, "ask", slow_at_first)
    (outcome,) = harness.hold(SMALL, [named(ON_NUMPY.name)], Plan(3, 0.02, 9.0)).values()
    assert outcome.steps >= 100
    assert outcome.seconds == [1e-4] * 3


def test_every_turn_that_is_brief_is_warmed_up_alike(monkeypatch):
    taken = []
    clock = SimpleNamespace(perf_counter=lambda: 0.001 * sum(taken))
    monkeypatch.setattr("benchmarks.worker.time", clock)

    def take(n):
        taken.append(n)

    worker = Worker()
    worker.contender = SimpleNamespace(run=take)
    worker.pace = 0.01
    worker.steps(1, warm=40)  # of 0.4 s, expected
    assert taken == [40, 40, 1]
    taken.clear()
    worker.pace = 0.02
    assert worker.steps(1, warm=40) == {"seconds": pytest.approx(0.001)}
    assert taken == [1]


def test_no_contender_is_bidden_which_kernels_to_take(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    process = contest.Process(threads=1)
    environment = Path(f"/proc/{process.process.pid}/environ")
    try:
        held = environment.read_bytes() if environment.exists() else pytest.skip("no /proc")
    finally:
        process.close()
    assert b"OMP_NUM_THREADS=1" in held
    assert b"OPENBLAS_CORETYPE" not in held


def test_engine_torch_compiles_before_it_is_timed(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("backprop_xp.engines.torch._COMPILED", {})  # another test may have compiled this step
    steps = ours.Steps(SMALL, "torch")
    n_compiled = steps.engine.n_compiled
    steps.run(3 * SMALL.n_batches)
    assert steps.engine.n_compiled == n_compiled == 1


def test_a_case_predicted_to_take_too_long_is_left_out(harness):
    plan = replace(QUICK, budget=60.0)
    assert harness.hold(SMALL, [ON_NUMPY], plan)[ON_NUMPY.name].gap is None
    larger = replace(SMALL, batch=6 * 10**9)
    outcome = harness.hold(larger, [ON_NUMPY], plan)[ON_NUMPY.name]
    assert outcome.gap == "over budget"
    assert outcome.reason.startswith("predicted")
    assert not outcome.seconds
    assert harness.hold(SMALL, [ON_NUMPY], plan)[ON_NUMPY.name].gap is None


def test_a_slow_contender_has_three_turns_and_no_more(harness):
    outcome = harness.hold(SMALL, [ON_NUMPY], Plan(9, 0.002, longest=0.0))[ON_NUMPY.name]
    assert len(outcome.seconds) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "ValueError: a step too far"),
        ("Dies", "its process ended: last words"),
        ("Hangs", "no answer in 1 s"),
    ],
)
def test_a_contender_that_fails_does_not_disturb_the_others(harness, monkeypatch, name, reason):
    monkeypatch.setattr(contest, "PATIENCE", 60.0 if name != "Hangs" else 1.0)
    outcomes = harness.hold(SMALL, [control(name)], QUICK) | harness.hold(SMALL, [ON_NUMPY], QUICK)
    assert outcomes[name].gap == "failed"
    assert reason in outcomes[name].reason
    assert len(outcomes[ON_NUMPY.name].seconds) == 3


def test_what_a_contender_prints_is_no_answer(harness):
    assert harness.hold(SMALL, [control("Chatty")], QUICK)["Chatty"].gap is None


def test_a_missing_library_is_looked_for_once(harness, monkeypatch):
    assert harness.hold(SMALL, [MISSING], QUICK)["Missing"].gap == "missing"
    monkeypatch.setattr(contest, "Process", None)
    assert harness.hold(SMALL, [MISSING], QUICK)["Missing"].gap == "missing"


def test_a_wrong_contender_has_no_turn(harness):
    outcome = harness.hold(SMALL, [WRONG], QUICK)["Wrong"]
    assert (outcome.gap, outcome.seconds) == ("refused", [])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be set back on Linux only")
def test_memory_is_what_was_held_at_most(harness):
    plan = replace(QUICK, fresh="case")
    outcomes = harness.hold(SMALL, [ON_NUMPY, control("Hoarder")], plan)
    beyond = {name: outcome.facts[-1]["memory"]["beyond_libraries"] for name, outcome in outcomes.items()}
    assert beyond["Hoarder"] - beyond[ON_NUMPY.name] > 60 * 2**20
    assert harness.processes == {}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # all epochs are run, as the others do
@pytest.mark.parametrize("contender", fitting("cpu"), ids=lambda c: c.name)
def test_whole_jobs_learn_and_tell_how_well(contender, tmp_path):
    path = jobs.prepare("digits", tmp_path)
    taking_part = made(contender, jobs.Job(str(path), (32,), 10, 32, 15))
    taking_part.run(1)
    facts = taking_part.facts()
    assert facts["accuracy"] > 0.93
    assert len(facts["curve"]["seconds"]) == len(facts["curve"]["accuracy"]) == 15
    assert facts["curve"]["seconds"] == sorted(facts["curve"]["seconds"])
    assert facts["curve"]["accuracy"][0] < facts["curve"]["accuracy"][-1]
    assert abs(facts["curve"]["accuracy"][-1] - facts["accuracy"]) < 0.03


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # all epochs are run, as the others do
@pytest.mark.parametrize("contender", fitting("cpu"), ids=lambda c: c.name)
def test_whole_jobs_of_one_output(contender, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4)).astype(np.float32)
    y = (X[:, :1] * X[:, 1:2] > 0).astype(np.float32)
    np.savez(tmp_path / "a.npz", X=X[:500], y=y[:500], X_val=X[500:], y_val=y[500:])
    taking_part = made(contender, jobs.Job(str(tmp_path / "a.npz"), (32,), 1, 16, 60))
    taking_part.run(1)
    assert taking_part.accuracy() > 0.9


def test_an_epoch_is_fitted(monkeypatch):
    monkeypatch.setattr(training_run, "_BRIEF", 0)
    taking_part = made(growing("rows", "cpu")[0], SMALL)
    taking_part.run(2)
    assert (taking_part.trainer.n_samples, len(taking_part.trainer.history["epoch"])) == (24, taking_part.beginning + 2)
    by_steps = made(named("backprop_xp, Trainer.fit"), SMALL)
    n_before = by_steps.beginning
    by_steps.run(8)
    assert (by_steps.trainer.n_samples, len(by_steps.trainer.history["epoch"])) == (24, n_before + 2)
    by_steps.run(1)
    assert len(by_steps.trainer.history["epoch"]) == n_before + 1


def test_the_machines_record_names_no_host():
    record = machine.record(threads=2)
    assert record["processor"]
    assert record["libraries"]["numpy"] == np.__version__
    assert platform.node() not in json.dumps(record)
    assert machine.name("AMD EPYC 9554 64-Core Processor", None) == f"amd-epyc-9554-{machine.cores()}-cores"
    assert machine.name("anything", {"name": "NVIDIA H200"}) == "nvidia-h200"


@pytest.mark.parametrize(
    ("paces", "unrest"),
    [
        ([1.0] * 9, None),
        ([2.0] * 30, 1),
        ([1.0] * 28 + [9.0] * 2, 1),
        ([0.1] * 2 + [1.0] * 28, 1),
        ([1.0, 1.5] * 5, 1.5),
    ],
)
def test_the_machines_unrest_is_that_of_most_rounds(paces, unrest):
    assert machine.unrest(paces) == unrest


@pytest.mark.parametrize(("slow", "said"), [(1.1, False), (1.3, True)])
def test_a_machine_that_was_not_quiet_is_told_of(slow, said):
    lines = []
    config = SimpleNamespace(stash={conftest.FIXED: [1.0, slow] * 5})
    conftest.pytest_terminal_summary(SimpleNamespace(write_line=lines.append), config)
    assert bool(lines) == said
    assert not said or "1.30 times as long in slow rounds" in lines[0]


def run(*arguments, **variables):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | variables, capture_output=True, text=True)


def test_run_report_and_compare_on_the_command_line(tmp_path):
    pytest.importorskip("pytest_benchmark")

    ran = run("run", "tutorial", "--quick", "--output", str(tmp_path / "a"), OPENBLAS_CORETYPE="Prescott")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.match("OPENBLAS_CORETYPE.* left out: every library takes the kernels of its own choice", ran.stdout)
    saved = json.loads((tmp_path / "a" / "tutorial.json").read_text())
    assert "OPENBLAS_CORETYPE" not in saved["machine_info"]["blas"]
    assert saved["machine_info"]["options"] == {"scale": "short"}
    assert saved["machine_info"]["unrest"] >= 1
    assert {result["extra_info"]["contender"] for result in saved["benchmarks"]} == {S1.name, S2.name, ON_NUMPY.name}
    reported = run("report", str(tmp_path / "a"))
    assert reported.returncode == 0, reported.stdout + reported.stderr
    assert (tmp_path / "a" / "report.html").exists()
    compared = run("compare", str(tmp_path / "a"), str(tmp_path / "a"))
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "within noise" in compared.stdout
    refused = run("report", str(tmp_path / "nothing"))
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_keeps_what_it_has_and_does_not_go_on(tmp_path, times):
    pytest.importorskip("pytest_benchmark")
    command = [sys.executable, "-m", "benchmarks", "run", "tutorial", "growth", "--quick", "--output", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        for line in process.stdout:
            if "S2" in line and "PASSED" in line:
                break
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1)
        said = process.stdout.read()
    assert process.returncode == 130
    assert "results in" in said
    assert "bench_growth" not in said
    if times > 1:  # it may come while the file is being written
        return
    saved = json.loads((tmp_path / "tutorial.json").read_text())
    assert len(saved["benchmarks"]) >= 2
    assert [path.name for path in tmp_path.iterdir()] == ["tutorial.json"]


@pytest.mark.parametrize("suite", ["tutorial", "jobs"])
def test_where_nothing_runs_on_a_gpu_that_is_said_and_old_results_stay(tmp_path, suite):
    pytest.importorskip("pytest_benchmark")
    if machine.device() is not None:
        pytest.skip("there is a GPU here")
    (tmp_path / f"{suite}.json").write_text("old")
    ran = run("run", suite, "--gpu", "--quick", "--output", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"nothing was measured of {suite}" in ran.stdout
    assert (tmp_path / f"{suite}.json").read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "tutorial", "--output", "{here}/file"), "File exists"),
        (("run", "tutorial", "--threads", "0"), "threads"),
        (("run", "tutorial", "--threads", "999"), "threads"),
        (("run", "nosuch"), "nosuch"),
        (("report", "{here}/file"), "is a file"),
        (("auto", "{here}/short"), "no times of several engines"),
        (("report", "{here}/short", "--readme"), "full runs only"),
        (("compare", "{here}/short", "{here}/broken"), "cannot be read as JSON"),
        (("compare", "{here}/short", "{here}/odd"), "what is no record"),
    ],
)
def test_bad_input_is_refused_in_a_line(tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    texts = {
        "short": '{"benchmarks": [], "machine_info": {"options": {"scale": "short"}}}',
        "broken": '{"benchmarks": [',
        "odd": '{"benchmarks": [], "machine_info": "none"}',
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "peers.json").write_text(text)
    ran = run(*(argument.format(here=tmp_path) for argument in arguments))
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_contenders_of_one_name_on_two_devices_are_not_mixed_up(harness):
    on_cuda = replace(stepping("cuda")[0], needs="no_such_library")
    on_cpu = stepping("cpu")[0]
    assert on_cuda.name == on_cpu.name
    by_name = {contender.name: contender for contender in stepping("cuda")}
    assert by_name["PyTorch eager"] not in stepping("cpu")  # alike but for the device
    assert harness.hold(SMALL, [on_cuda], QUICK)[on_cuda.name].gap == "missing"
    assert harness.hold(SMALL, [on_cpu], QUICK)[on_cpu.name].gap is None


@pytest.mark.parametrize("fit", FITS, ids=lambda contender: contender.name)
def test_fit_is_compared_in_order_and_timed_shuffled(fit):
    taking_part = made(fit, SMALL)
    taking_part.check(2)
    assert distance(SMALL, taking_part.params(), 2) < SMALL.tolerance / 10
    assert taking_part.trainer.shuffle
    wrong = replace(SMALL, learning_rate=SMALL.learning_rate * 1.01)
    assert distance(wrong, taking_part.params(), 2) > SMALL.tolerance


def test_each_round_of_a_job_draws_anew():
    job = jobs.Job("none", (3,), 2, 8, 1)
    assert [job.of_round(k).seed for k in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("options", [("-n", "2"), ("--threads", "0")])
def test_what_would_spoil_the_turns_is_refused(options):
    pytest.importorskip("pytest_benchmark")
    if options[0] == "-n":
        pytest.importorskip("xdist")
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_tutorial.py", "-p", "no:cacheprovider", *options]
    ran = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 4
    assert "ERROR: " in ran.stderr
