"""pytest's side of the benchmarks: one test a contender and case, the contests held in turns, results as JSON.

A benchmark file says
    SUITE, UNIT             its name, and what a figure is the time of
    cases(scale)            the cases as JSON values
    contenders(case)        who takes part in a case
    task(case, folder)      the Problem or Job of a case
    plan(case, scale)       rounds, seconds, budget
    facts(case, task, outcome)      what the results shall say beside the times; may be absent
"""

import json
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from backprop_xp.errors import InputError
from benchmarks import machine
from benchmarks.contenders import Contender
from benchmarks.contest import Harness, Outcome

GAPS = pytest.StashKey[list[dict[str, Any]]]()
FIXED = pytest.StashKey[Sequence[float]]()
UNQUIET = 1.2


class Entry(NamedTuple):
    """A contender in a case."""

    module: ModuleType
    case: dict[str, Any]
    contender: Contender

    @property
    def key(self) -> str:
        """What the contenders of one case share."""
        return f"{self.module.SUITE} {json.dumps(self.case)}"

    @property
    def title(self) -> str:
        """The case in words."""
        words = (str(v) if isinstance(v, str) else f"{k} {v:,}" for k, v in self.case.items())
        return f"{self.module.SUITE}: {', '.join(words)}"

    def about(self) -> dict[str, Any]:
        """Return what a result says of its contender and case."""
        contender = self.contender
        return {
            "suite": self.module.SUITE,
            "case": self.case,
            "contender": contender.name,
            "role": contender.role,
            "unit": self.module.UNIT,
        }


class Replay:
    """Takes the place of pytest-benchmark's clock: it shows the times that were measured in turns, round by round."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def load(self, durations: list[float]) -> None:
        """Let the next rounds take these seconds."""
        self._readings = iter([reading for seconds in durations for reading in (0.0, seconds)])

    def __call__(self) -> float:
        """Return the next reading."""
        return next(self._readings)


REPLAY = Replay()


class Contests:
    """Holds each case's contest once, at its first test, for all contenders whose tests were selected."""

    def __init__(self, session: pytest.Session, harness: Harness, folder: Path) -> None:
        self.harness, self.folder, self.scale = harness, folder, session.config.option.scale
        self.outcomes: dict[str, dict[str, Outcome]] = {}
        self.tasks: dict[str, Any] = {}
        self.selected: dict[str, list[Contender]] = {}
        for item in session.items:
            entry = getattr(item, "callspec", None) and item.callspec.params.get("entry")  # type: ignore[attr-defined]
            if isinstance(entry, Entry):
                self.selected.setdefault(entry.key, []).append(entry.contender)

    def outcome(self, entry: Entry) -> Outcome:
        """Return what came of the contender."""
        if entry.key not in self.outcomes:
            self.outcomes[entry.key] = self._held(entry)
        return self.outcomes[entry.key][entry.contender.name]

    def _held(self, entry: Entry) -> dict[str, Outcome]:
        module, case, contenders = entry.module, entry.case, self.selected[entry.key]
        try:
            task = self.tasks[entry.key] = module.task(case, self.folder)
        except InputError as error:  # the data are not on this machine
            return {contender.name: Outcome("missing", str(error)) for contender in contenders}
        return self.harness.hold(task, contenders, module.plan(case, task, self.scale))


@pytest.fixture(scope="session")
def contests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contests]:
    with Harness(request.config.option.threads) as harness:
        request.config.stash[FIXED] = harness.fixed
        yield Contests(request.session, harness, tmp_path_factory.mktemp("data"))


@pytest.fixture
def entry(request: pytest.FixtureRequest) -> Entry:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def measure(request: pytest.FixtureRequest, entry: Entry, contests: Contests) -> Callable[[], Outcome]:
    """Return a function that gives the contender's times to pytest-benchmark, or skips or fails if there are none."""

    def measure() -> Outcome:
        outcome = contests.outcome(entry)
        if outcome.gap is not None:
            request.config.stash[GAPS].append({**entry.about(), "kind": outcome.gap, "reason": outcome.reason})
            end = pytest.fail if outcome.gap in ("refused", "failed") else pytest.skip
            end(f"{outcome.gap}: {outcome.reason}")
        benchmark = request.getfixturevalue("benchmark")  # no sooner: unused, it would warn
        benchmark.group, benchmark.name = entry.title, entry.contender.name
        benchmark.extra_info.update(entry.about())
        if hasattr(entry.module, "facts"):
            benchmark.extra_info.update(entry.module.facts(entry.case, contests.tasks[entry.key], outcome))
        REPLAY.load([seconds * outcome.steps for seconds in outcome.seconds])
        benchmark.pedantic(int, rounds=len(outcome.seconds), iterations=outcome.steps)
        return outcome

    return measure


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("backprop_xp's benchmarks")
    group.addoption("--scale", choices=("short", "full"), default="short", help="how many cases and rounds: short")
    group.addoption("--threads", type=int, default=machine.cores(), help="processors for every contender: all")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("the benchmarks need pytest-benchmark: pip install '.[bench]'")
    if not hasattr(signal, "SIGSTOP"):
        raise pytest.UsageError("the benchmarks stop processes whose turn it is not: they need Linux or macOS")
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("the benchmarks take turns, so they cannot run beside each other: leave -n out")
    if not 1 <= config.option.threads <= machine.cores():
        raise pytest.UsageError(f"--threads must be 1 to {machine.cores()} here, not {config.option.threads}")
    config.stash[GAPS], config.stash[FIXED] = [], []
    config.option.benchmark_columns = ["median", "iqr", "rounds", "iterations"]


def pytest_sessionstart() -> None:
    # That no contender has a figure is said by every test, and is no fault. pytest-benchmark warns of it when the
    # session ends, where only the filters of the whole session hold.
    warnings.filterwarnings("ignore", message="Not saving anything")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "measure" not in metafunc.fixturenames:
        return
    module = metafunc.module
    entries = [
        Entry(module, case, contender)
        for case in module.cases(metafunc.config.option.scale)
        for contender in module.contenders(case)
    ]
    metafunc.parametrize("entry", [_parameter(entry) for entry in entries], indirect=True)


def _parameter(entry: Entry) -> Any:
    on_gpu = entry.contender.options.get("device") == "cuda"
    case = "-".join(str(value) for value in entry.case.values())
    marks = [pytest.mark.benchmark(timer=REPLAY), *([pytest.mark.gpu] if on_gpu else [])]
    return pytest.param(entry, id=f"{case}: {entry.contender.name}", marks=marks)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    return {**machine.record(config.option.threads), "options": {"scale": config.option.scale}}


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the gaps, and keep what can be read later: no options, no names of hosts, four digits of each time."""
    output_json["gaps"] = config.stash[GAPS]
    output_json["machine_info"]["unrest"] = _rounded(machine.unrest(config.stash[FIXED]))
    for result in output_json["benchmarks"]:
        for name in ("options", "params", "param"):
            result.pop(name, None)
        result["stats"] = {name: _rounded(value) for name, value in result["stats"].items()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so where the machine was not quiet."""
    unrest = machine.unrest(config.stash[FIXED])
    if unrest is not None and unrest > UNQUIET:
        terminalreporter.write_line(
            f"The machine was not quiet: a fixed loop took {unrest:.2f} times as long in slow rounds as in quick ones. "
            "Differences that are smaller may be the machine's; measure again."
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
