"""Growth: time and memory of a step against hidden size, batch and depth, of an epoch against rows; the matrix rate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, growing
from benchmarks.contest import Outcome, Plan
from benchmarks.problems import Problem, batches_within

SUITE, UNIT = "growth", "step"  # of the axis rows: an epoch
SIZES = {
    "short": {"rate": (1024,), "hidden": (8, 64, 512), "batch": (4, 64, 1024), "depth": (1, 8), "rows": (1024, 16384)},
    "full": {
        "rate": (256, 512, 1024, 2048, 4096),
        "hidden": tuple(2**k for k in range(1, 13)),
        "batch": tuple(2**k for k in range(15)),
        "depth": (1, 2, 4, 8, 16, 32, 64),
        "rows": tuple(4**k for k in range(5, 11)),
    },
}
PLANS = {"short": Plan(3, 0.01, 1.0, fresh="case"), "full": Plan(9, 0.05, 10.0, fresh="case")}
EPOCH_BATCH = 128


def cases(scale: str) -> list[dict[str, Any]]:
    return [
        _case(axis, size, device)
        for device in ("cpu", "cuda")
        for axis, sizes in SIZES[scale].items()
        for size in sizes
    ]


def _case(axis: str, size: int, device: str) -> dict[str, Any]:
    problem = _problem(axis, size)
    shape = "-".join(map(str, problem.widths)) if axis != "depth" else f"128-{size}x128-10"
    return {"axis": axis, "size": size, "shape": shape, "batch": problem.batch, "device": device}


def _problem(axis: str, size: int) -> Problem:
    if axis == "rate":
        return Problem((size, size), size)
    if axis == "rows":
        return Problem((64, 128, 10), EPOCH_BATCH, max(1, size // EPOCH_BATCH))
    widths, batch = {
        "hidden": ((64, size, size, 10), 256),
        "batch": ((784, 128, 10), size),
        "depth": ((128, *(128,) * size, 10), 128),
    }[axis]
    return Problem(widths, batch, batches_within(2**18, widths, batch))


def contenders(case: dict[str, Any]) -> list[Contender]:
    return growing(case["axis"], case["device"])


def task(case: dict[str, Any], folder: Path) -> Problem:
    return _problem(case["axis"], case["size"])


def plan(case: dict[str, Any], task: Problem, scale: str) -> Plan:
    return PLANS[scale]


def facts(case: dict[str, Any], task: Problem, outcome: Outcome) -> dict[str, Any]:
    memory = outcome.facts[-1]["memory"]
    flops = 2 * case["size"] ** 3 if case["axis"] == "rate" else task.flops
    if case["axis"] == "rows":
        return {"flops": flops * task.n_batches, "unit": "epoch", "memory": _memory(memory)}
    return {"flops": flops, "memory": _memory(memory)}


def _memory(memory: dict[str, int]) -> dict[str, int]:
    return {"peak": memory["peak"], "added": memory["beyond_libraries"]}


def test_step(measure: Callable[[], Outcome]) -> None:
    assert measure().seconds
