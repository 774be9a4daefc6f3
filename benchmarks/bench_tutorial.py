"""The tutorial's own pair: an AND gate, its gradient by loops (S1) and by matrices (S2), at four rows and at more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import ON_NUMPY, S1, S2, Contender
from benchmarks.contest import Outcome, Plan
from benchmarks.problems import Problem, batches_within

SUITE, UNIT = "tutorial", "step"
ROWS = {"short": (4, 256), "full": (4, 16, 64, 256, 1024, 4096, 16384)}
PLANS = {"short": Plan(5, 0.01, 1.0), "full": Plan(15, 0.05, 10.0)}


def cases(scale: str) -> list[dict[str, Any]]:
    return [{"rows": n} for n in ROWS[scale]]


def contenders(case: dict[str, Any]) -> list[Contender]:
    return [S1, S2, ON_NUMPY]


def task(case: dict[str, Any], folder: Path) -> Problem:
    rate = 0.01 * 4 / case["rows"]  # the loss is summed over the rows
    return Problem(
        (2, 1),
        case["rows"],
        batches_within(2**18, (2, 1), case["rows"]),
        "sgd",
        "sigmoid",
        "half_squared_error",
        "float64",
        "and",
        rate,
    )


def plan(case: dict[str, Any], task: Problem, scale: str) -> Plan:
    return PLANS[scale]


def test_step(measure: Callable[[], Outcome]) -> None:
    assert measure().seconds
