"""One step beside what a user would pick instead, beside one written by hand, and beside its matrix products alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, stepping
from benchmarks.contest import Outcome, Plan
from benchmarks.problems import Problem, batches_within

SUITE, UNIT = "peers", "step"
SHAPES = [
    ((2, 4, 2), 4),
    ((64, 64, 10), 32),
    ((784, 128, 10), 128),
    ((784, 512, 512, 10), 256),
    ((1024, 1024, 1024, 10), 1024),
    ((784, 2048, 2048, 10), 512),
    ((1024, 4096, 4096, 10), 1024),
    ((1024, 2048, 2048, 10), 4096),
]
ON_CUDA = [*SHAPES, ((1024, 2048, 2048, 10), 65536)]
PLANS = {"short": Plan(5, 0.01, 2.0), "full": Plan(21, 0.2, 20.0)}


def cases(scale: str) -> list[dict[str, Any]]:
    n_shapes, optimizers = (2, ("sgd",)) if scale == "short" else (None, ("sgd", "adam"))
    return [
        {"shape": "-".join(map(str, widths)), "batch": batch, "optimizer": optimizer, "device": device}
        for device, shapes in (("cpu", SHAPES), ("cuda", ON_CUDA))
        for optimizer in optimizers
        for widths, batch in shapes[:n_shapes]
    ]


def contenders(case: dict[str, Any]) -> list[Contender]:
    return stepping(case["device"])


def task(case: dict[str, Any], folder: Path) -> Problem:
    widths, batch = tuple(map(int, case["shape"].split("-"))), case["batch"]
    # Of an epoch's inputs there are 16 MiB at most; at the large networks, it has eight steps.
    n_batches = min(batches_within(2**22, widths, batch), 2**34 // Problem(widths, batch).flops)
    return Problem(widths, batch, max(8, n_batches), case["optimizer"])


def plan(case: dict[str, Any], task: Problem, scale: str) -> Plan:
    return replace(PLANS[scale], steps=task.n_batches)


def facts(case: dict[str, Any], task: Problem, outcome: Outcome) -> dict[str, Any]:
    once = outcome.facts[-1].get("once")  # of a fit
    return {"flops": task.flops, "start": outcome.start} | ({} if once is None else {"once": once})


def test_step(measure: Callable[[], Outcome]) -> None:
    assert measure().seconds
