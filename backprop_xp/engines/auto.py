"""Which engine "auto" is: by a rule fitted to measurements, and never one that was not measured to be faster."""

import importlib.util
import math
from itertools import pairwise
from typing import NamedTuple

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
    """Seconds, as measured on this project's machine.

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

    def of(self, work: Work) -> float:
        """Return the seconds that all steps take; inf for larger ones than it was ever the fastest at."""
        weights = sum(n_in * n_out for n_in, n_out in pairwise(work.widths))
        if work.batch_size * weights > self.most * 1e6:
            return math.inf
        units = work.batch_size * sum(work.widths[1:])
        a_step = self.step + self.layer * (len(work.widths) - 1)
        a_step += (self.product * 3 * work.batch_size * weights / 1e3 + self.unit * units + self.weight * weights) / 1e6
        return self.start + work.n_steps * a_step


# Fitted by `python -m benchmarks auto` to its committed results; by backend and data type. What is not here was not
# measured, or was not faster than eager anywhere.
COSTS: dict[tuple[str, str], dict[str, Cost]] = {
    ("numpy", "float32"): {
        "eager": Cost(start=0.000196, step=2.06e-05, layer=0.0, product=0.00481, unit=0.00186, weight=0.000236),
        "jax": Cost(start=0.662, step=3.18e-06, layer=0.0, product=0.00438, unit=0.00275, weight=0.00021),
        "loops": Cost(start=1.51, step=1.72e-07, layer=0.0, product=0.0, unit=0.00857, weight=8.46e-05, most=0.606208),
    },
}

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
    known = COSTS.get((work.backend, work.dtype), {})
    seconds = {
        name: cost.of(work) + work.n_epochs * _EPOCH.get(name, 0.0) for name, cost in known.items() if _installed(name)
    }
    best = min(seconds, key=lambda name: seconds[name], default="eager")
    if best == "eager":
        why = "no other is expected to end sooner" if seconds else f"no other was measured on {work.backend}"
        return Choice("eager", f"{why}, at {work.dtype}")
    return Choice(best, f"{seconds[best]:.2g} s expected, {seconds['eager']:.2g} s of eager")


def rule() -> str:
    """Return what "auto" means on this machine, in a line."""
    parts = []
    for (backend, dtype), costs in COSTS.items():
        here = [name for name in costs if _installed(name)]
        absent = [f"{name}, which needs {_LIBRARIES[name]}" for name in costs if not _installed(name)]
        but = f" (and {' and '.join(absent)})" if absent else ""
        parts.append(
            f"on {backend} in {dtype} what is expected to end first, by sizes and steps, of {', '.join(here)}{but}"
        )
    return "; ".join([*parts, "elsewhere eager: no other was measured"])


def _installed(engine: str) -> bool:
    return engine == "eager" or importlib.util.find_spec(_LIBRARIES[engine]) is not None
