"""The learning rate as a function of the update count.

A schedule is a function (count, xp) -> learning rate. `count`, the updates made so far, is a 0-d floating array (or a
Python number with `xp=numpy`, to draw the curve), so that a captured or compiled step sees it change.
"""

import math
from collections.abc import Callable
from typing import Any

Array = Any
Schedule = Callable[[Array, Any], Array]


def constant(initial: float) -> Schedule:
    """rate = initial."""
    return lambda count, xp: count * 0.0 + initial


def step(initial: float, every: int, factor: float = 0.1) -> Schedule:
    """rate = initial factor^floor(count / every), `every` in updates."""
    return lambda count, xp: initial * factor ** xp.floor(count / every)


def exponential(initial: float, factor: float, every: int = 1) -> Schedule:
    """rate = initial factor^(count / every), `every` in updates."""
    return lambda count, xp: initial * factor ** (count / every)


def inverse_scaling(initial: float, power: float = 0.5) -> Schedule:
    """rate = initial / (count + 1)^power, scikit-learn's "invscaling"."""
    return lambda count, xp: initial / (count + 1.0) ** power


def cosine(initial: float, total: int, final: float = 0.0) -> Schedule:
    """rate = final + (initial - final) (1 + cos(pi count / total)) / 2, then `final` (Loshchilov and Hutter 2017).

    Parameters
    ----------
    initial, final : float
    total : int
        Updates over which the rate falls.
    """
    return lambda count, xp: _anneal(initial, final, xp.minimum(count / total, count * 0.0 + 1.0), xp)


def warmup_cosine(peak: float, warmup: int, total: int, initial: float = 0.0, final: float = 0.0) -> Schedule:
    """A straight line from `initial` to `peak` over `warmup` updates, then a cosine to `final` at `total` updates."""

    def rate(count: Array, xp: Any) -> Array:
        rising = initial + (peak - initial) * count / max(warmup, 1)
        done = xp.minimum((count - warmup) / max(total - warmup, 1), count * 0.0 + 1.0)
        return xp.where(count < warmup, rising, _anneal(peak, final, done, xp))

    return rate


def one_cycle(
    peak: float, total: int, warmup_fraction: float = 0.3, initial_divisor: float = 25.0, final_divisor: float = 1e4
) -> Schedule:
    """A cosine up from peak / initial_divisor, one down to that over final_divisor (Smith and Topin 2018)."""
    initial, warmup = peak / initial_divisor, max(int(warmup_fraction * total), 1)

    def rate(count: Array, xp: Any) -> Array:
        done = xp.minimum((count - warmup) / max(total - warmup, 1), count * 0.0 + 1.0)
        falling = _anneal(peak, initial / final_divisor, done, xp)
        return xp.where(count < warmup, _anneal(initial, peak, count / warmup, xp), falling)

    return rate


# By name, from the rate and the number of updates: what else a schedule needs is told from how long training is.
PLANNED: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda rate, total: constant(rate),
    "step": lambda rate, total: step(rate, max(total // 3, 1), 0.1),
    "exponential": lambda rate, total: exponential(rate, 0.01, total),
    "inverse_scaling": lambda rate, total: inverse_scaling(rate),
    "cosine": cosine,
    "warmup_cosine": lambda rate, total: warmup_cosine(rate, total // 20, total),
    "one_cycle": one_cycle,
}


def _anneal(start: float, end: float, done: Array, xp: Any) -> Array:
    """Half a cosine from `start` to `end` as `done` goes from 0 to 1."""
    return end + (start - end) * 0.5 * (1.0 + xp.cos(math.pi * done))
