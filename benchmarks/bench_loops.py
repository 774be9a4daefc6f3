"""Loops against matrices: one step of a 64-hidden-10 network, at growing hidden sizes and batch sizes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import (
    COMPILED,
    ENGINE_JAX,
    ENGINE_LOOPS,
    INTERPRETED,
    ON_CUPY,
    ON_JAX,
    ON_NUMPY,
    ON_TORCH,
    Contender,
)
from benchmarks.contest import Outcome, Plan
from benchmarks.problems import Problem, batches_within

SUITE, UNIT = "loops", "step"
HIDDEN, BATCH = 64, 32  # what is fixed while the other grows
GRIDS = {
    "short": ((2, 512), (1, 512)),
    "full": ((2, 4, 16, 64, 256, 1024, 4096), (1, 2, 8, 32, 128, 512, 2048, 8192)),
}
AXES = {
    "short": ((), ()),
    "full": (tuple(2**k for k in range(1, 13)), tuple(2**k for k in range(14))),
}
PLANS = {"short": Plan(5, 0.01, 1.0, 1.0), "full": Plan(15, 0.02, 4.0, 4.0)}


def cases(scale: str) -> list[dict[str, Any]]:
    (grid_hidden, grid_batch), (hidden, batch) = GRIDS[scale], AXES[scale]
    pairs = {(h, n) for h in grid_hidden for n in grid_batch}
    pairs |= {(h, BATCH) for h in hidden} | {(HIDDEN, n) for n in batch}
    # by their work, so that what a large case will take is told from one that is nearly as large
    return [{"hidden": h, "batch": n} for h, n in sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair))]


def contenders(case: dict[str, Any]) -> list[Contender]:
    return [INTERPRETED, COMPILED, ENGINE_LOOPS, ENGINE_JAX, ON_NUMPY, ON_JAX, ON_TORCH, ON_CUPY]


def task(case: dict[str, Any], folder: Path) -> Problem:
    widths, batch = (64, case["hidden"], 10), case["batch"]
    return Problem(widths, batch, batches_within(2**18, widths, batch))


def plan(case: dict[str, Any], task: Problem, scale: str) -> Plan:
    return PLANS[scale]


def facts(case: dict[str, Any], task: Problem, outcome: Outcome) -> dict[str, Any]:
    return {"start": outcome.start}


def test_step(measure: Callable[[], Outcome]) -> None:
    assert measure().seconds
