"""Which engine "auto" is: by a rule fitted to measurements, and never one that was not measured to be faster."""

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise, starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backprop_xp.errors import InputError


class Work(NamedTuple):
    """What there is to do.

    Parameters
    ----------
    widths : tuple of int
        The network's.
    batch_size : int
    n_steps : int
        In all.
    dtype : "float32" or "float64"
    backend : str
        Whose arrays hold the data.
    precision : "float32", "tf32" or "bfloat16"
        Of the products of float32 arrays.
    n_epochs : int
        Among which the steps are divided.
    every_step : bool
        Whether a callback is to hear of every step, so that a compiled engine would take them one by one.
    """

    widths: tuple[int, ...]
    batch_size: int
    n_steps: int
    dtype: str
    backend: str
    precision: str = "float32"
    n_epochs: int = 0
    every_step: bool = False


class Choice(NamedTuple):
    """An engine, and why it was taken."""

    engine: str
    reason: str


class Cost(NamedTuple):
    """Seconds by sizes: a law, fitted to measurements.

    Parameters
    ----------
    start : float
        Before the first step: importing the library and compiling.
    step, layer : float
        A step, and each of its layers.
    product : float
        A thousand million multiplications.
    unit : float
        A million units of all rows of the batch.
    weight : float
        A million weights.
    most : float
        The most multiplications of a forward pass, in millions, at which it was measured to be the fastest.
    """

    start: float
    step: float
    layer: float
    product: float
    unit: float
    weight: float
    most: float = math.inf

    def of_a_step(self, work: Work) -> float:
        """Return the seconds of one step."""
        weights, units = _sizes(work)
        seconds = self.step + self.layer * (len(work.widths) - 1)
        per_million = self.product * 3 * work.batch_size * weights / 1e3 + self.unit * units + self.weight * weights
        return seconds + per_million / 1e6


class Measured(NamedTuple):
    """What a step was measured to take.

    Parameters
    ----------
    work : Work
    seconds : mapping of engine to float
    """

    work: Work
    seconds: Mapping[str, float]


class Rule:
    """What each engine is expected to take: by its law, bent to what was measured near, whatever the optimizer.

    Parameters
    ----------
    costs : mapping of engine to Cost
    measured : iterable of Measured
    """

    def __init__(self, costs: Mapping[str, Cost], measured: Iterable[Measured]) -> None:
        self.costs, self.measured = dict(costs), tuple(measured)
        self._known = {engine: self._errors(engine, cost) for engine, cost in costs.items()}

    def seconds(self, engine: str, work: Work) -> float:
        """Return the seconds that all steps take; inf for larger ones than the engine was ever the fastest at.

        What the law is wrong by is the mean of its errors at the measured steps, each in inverse proportion to the
        fourth power of the distance in the logarithms of rows, weights and units (Shepard 1968). So that far from all
        of them the law holds, no error at all counts like one at a distance of `_FAR`.
        """
        cost = self.costs[engine]
        weights, _ = _sizes(work)
        if work.batch_size * weights > cost.most * 1e6:
            return math.inf
        places, errors = self._known[engine]
        near = 1.0 / (np.sum((places - _place(work)) ** 2, axis=1) + _SAME**2) ** 2
        error = near @ errors / (near.sum() + _FAR**-4)
        return cost.start + work.n_steps * cost.of_a_step(work) * math.exp(error)

    def _errors(self, engine: str, cost: Cost) -> tuple[Any, Any]:
        """Return where the engine was measured, and the logarithm of what it took of what its law says."""
        there = [each for each in self.measured if engine in each.seconds]
        errors = [math.log(each.seconds[engine] / cost.of_a_step(each.work)) for each in there]
        return np.asarray([_place(each.work) for each in there]).reshape(-1, 3), np.asarray(errors)


def _sizes(work: Work) -> tuple[int, int]:
    """Return the numbers of weights, and of units of all rows of a batch."""
    return sum(n_in * n_out for n_in, n_out in pairwise(work.widths)), work.batch_size * sum(work.widths[1:])


def _place(work: Work) -> Any:
    weights, units = _sizes(work)
    return np.log([work.batch_size, weights, units])


# Distances: that by which the error at a measured step is smoothed, and that beyond which the law decides.
_SAME, _FAR = 0.17, 2.0

# By `python -m benchmarks auto --write`, from its committed results. What is not there was not measured, or was not the
# fastest anywhere.
FILE = Path(__file__).with_name("auto.json")


@cache
def rules() -> dict[tuple[str, str], Rule]:
    """Return the rules by backend and data type."""
    found = {}
    for known in json.loads(FILE.read_text(encoding="utf-8")):
        backend, dtype = known["backend"], known["dtype"]
        costs = {engine: Cost(**cost) for engine, cost in known["costs"].items()}
        measured = ((Work(tuple(widths), rows, 1, dtype, backend), times) for widths, rows, times in known["measured"])
        found[backend, dtype] = Rule(costs, starmap(Measured, measured))
    return found


# Seconds that an epoch takes beside its steps, for what goes in and out of compiled code: measured at 2-4-2 with epochs
# of one step and of a thousand.
_EPOCH = {"eager": 9e-6, "jax": 66e-6, "loops": 18e-6}

_WITH_PRECISION = {"jax": "jax", "torch": "torch", "cupy": "cuda_graph"}  # by backend
_LIBRARIES = {"jax": "jax", "loops": "numba", "torch": "torch", "cuda_graph": "cupy"}


def choose(engine: str, work: Work) -> Choice:
    """Return the engine to take, for "auto" the one that is expected to end first.

    Parameters
    ----------
    engine : str
        As the user names it.
    work : Work

    Raises
    ------
    InputError
        If no engine that runs on the backend has the precision.
    """
    if engine != "auto":
        return Choice(engine, "as asked for")
    if work.precision != "float32":
        if work.backend not in _WITH_PRECISION:
            raise InputError(
                f"{work.backend} multiplies in float32 or float64, not in {work.precision}: use --device cuda, or "
                "backend or engine jax or torch"
            )
        return Choice(_WITH_PRECISION[work.backend], f"it multiplies in {work.precision}")
    if work.every_step:
        return Choice("eager", "a callback hears of every step")
    known = rules().get((work.backend, work.dtype), Rule({}, ()))
    seconds = {
        name: known.seconds(name, work) + work.n_epochs * _EPOCH.get(name, 0.0)
        for name in known.costs
        if _installed(name)
    }
    best = min(seconds, key=lambda name: seconds[name], default="eager")
    if best == "eager":
        why = "no other is expected to end sooner" if seconds else f"no other was measured on {work.backend}"
        return Choice("eager", f"{why}, at {work.dtype}")
    return Choice(best, f"{seconds[best]:.2g} s expected, {seconds['eager']:.2g} s of eager")


def rule() -> str:
    """Return what "auto" means on this machine, in a line."""
    parts = []
    for (backend, dtype), known in rules().items():
        here = [name for name in known.costs if _installed(name)]
        absent = [f"{name}, which needs {_LIBRARIES[name]}" for name in known.costs if not _installed(name)]
        but = f" (and {' and '.join(absent)})" if absent else ""
        parts.append(
            f"on {backend} in {dtype} what is expected to end first, by sizes and steps, of {', '.join(here)}{but}"
        )
    return "; ".join([*parts, "elsewhere eager: no other was measured"])


def _installed(engine: str) -> bool:
    return engine == "eager" or importlib.util.find_spec(_LIBRARIES[engine]) is not None
