"""Metrics: figures of merit by name, on the array API, so that they stay on the device until the epoch is read.

`P` is the network's output (n_samples, n_outputs); `Y` the targets: integer labels (n_samples,),
or (n_samples, n_outputs).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any


class Metric(NamedTuple):
    """A figure of merit: the function (P, Y, xp) -> 0-d array, and whether more of it is better."""

    function: Callable[[Array, Array, Any], Array]
    higher_is_better: bool


def accuracy(P: Array, Y: Array, xp: Any) -> Array:
    """Share of samples predicted `right`."""
    return xp.mean(xp.astype(right(P, Y, xp), P.dtype))


def right(P: Array, Y: Array, xp: Any) -> Array:
    """Tell of each sample, (n_samples,), whether the largest output is the label's, or every one on its side of 1/2."""
    if Y.ndim == 1:
        return xp.astype(xp.argmax(P, axis=-1), Y.dtype) == Y
    return xp.all((P > 0.5) == (Y > 0.5), axis=-1)


def mse(P: Array, Y: Array, xp: Any) -> Array:
    """Mean squared error over samples and outputs."""
    error = P - Y
    return xp.mean(error * error)


def rmse(P: Array, Y: Array, xp: Any) -> Array:
    """Square root of the mean squared error, in the units of the target."""
    return xp.sqrt(mse(P, Y, xp))


def mae(P: Array, Y: Array, xp: Any) -> Array:
    """Mean absolute error over samples and outputs, in the units of the target."""
    return xp.mean(xp.abs(P - Y))


def r2(P: Array, Y: Array, xp: Any, weight: Array | None = None) -> Array:
    """Coefficient of determination, 1 - residual / total sum of squares, averaged over outputs as in scikit-learn.

    With `weight` (n_samples,) a sample counts by its weight.
    """
    w = xp.ones_like(P[:, :1]) if weight is None else weight[:, None]
    residual = xp.sum(w * (Y - P) ** 2, axis=0)
    total = xp.sum(w * (Y - xp.sum(w * Y, axis=0) / xp.sum(w, axis=0)) ** 2, axis=0)
    # Of a constant nothing can be explained: 1 if it is met exactly, else 0. `total` may be a mean's rounding.
    constant = xp.max(Y, axis=0) == xp.min(Y, axis=0)
    explained = 1.0 - residual / xp.where(constant, xp.ones_like(total), total)
    return xp.mean(xp.where(constant, xp.astype(residual == 0.0, P.dtype), explained))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, True),
    "mse": Metric(mse, False),
    "rmse": Metric(rmse, False),
    "mae": Metric(mae, False),
    "r2": Metric(r2, True),
}


def higher_is_better(name: str) -> bool:
    """Tell from a recorded figure's name whether more of it is better.

    Losses and errors are better low. A metric of the user's own follows scikit-learn's naming: `..._loss`, `..._error`
    and `..._deviance` are better low, anything else high.
    """
    name = name.removeprefix("val_")
    if name in METRICS:
        return METRICS[name].higher_is_better
    return not (name == "loss" or name.endswith(("_loss", "_error", "_deviance")))
