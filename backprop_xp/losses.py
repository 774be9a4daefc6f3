"""Loss functions: each one's value, and beside it the gradient; canonical pairs with an output activation folded.

`P` is the network's output and `z` that output before its activation, (..., n_samples, n_outputs); `Y` are the targets.
A loss is a weighted mean over samples (a weighted sum for `half_squared_error`) of what `value` gives for each element.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import device

Array = Any
Pointwise = Callable[[Array, Array, Any], Array]
Head = Callable[[Array, Array, Any], tuple[Array, Array]]


class Loss(NamedTuple):
    """A loss: value and gradient of each element, and how elements are put together.

    Parameters
    ----------
    name : str
    value : function (P, Y, xp) -> array of P's shape, one figure an element; None if there is `head` alone
    gradient : function (P, Y, xp) -> d value / dP; None with `value`
    over_samples, over_outputs : "mean" or "sum"
    canonical : str or None
        The output activation with which `head` computes both from `z`: exact where P itself would round or overflow.
    head : function (z, Y, xp) -> (value, dvalue/dz), for the canonical pair
    outputs : tuple of str or None
        The output activations whose range the loss is defined on; None for any.
    parameter : float or None
        What `huber` and `pinball` are set by.
    """

    name: str
    value: Pointwise | None
    gradient: Pointwise | None
    over_samples: str = "mean"
    over_outputs: str = "mean"
    canonical: str | None = None
    head: Head | None = None
    outputs: tuple[str, ...] | None = None
    parameter: float | None = None


TINY = 1.1754943508222875e-38  # the smallest normal float32: log() of it is finite in every precision


def _square_value(P: Array, Y: Array, xp: Any) -> Array:
    error = P - Y
    error *= error
    return error


def _square_gradient(P: Array, Y: Array, xp: Any) -> Array:
    return 2.0 * (P - Y)


def _half_square_value(P: Array, Y: Array, xp: Any) -> Array:
    return 0.5 * _square_value(P, Y, xp)


def _half_square_gradient(P: Array, Y: Array, xp: Any) -> Array:
    return P - Y


def _absolute_value(P: Array, Y: Array, xp: Any) -> Array:
    return xp.abs(P - Y)


def _absolute_gradient(P: Array, Y: Array, xp: Any) -> Array:
    return xp.sign(P - Y)


def softmax_cross_entropy(z: Array, Y: Array, xp: Any) -> tuple[Array, Array]:
    """-Y_j log softmax(z)_j and the gradient of its sum over j, softmax(z) - Y for rows of Y that sum to 1."""
    z = z - xp.max(z, axis=-1, keepdims=True)
    delta = xp.exp(z)
    total = xp.sum(delta, axis=-1, keepdims=True)
    delta /= total
    delta -= Y
    value = xp.log(total) - z
    value *= Y
    return value, delta


def sigmoid_binary_cross_entropy(z: Array, Y: Array, xp: Any) -> tuple[Array, Array]:
    """log(1 + exp(z)) - Y z and its gradient sigmoid(z) - Y, both from exp(-|z|), which never overflows."""
    small = xp.exp(-xp.abs(z))
    value = xp.maximum(z, 0.0) - Y * z + xp.log1p(small)
    delta = xp.where(z < 0.0, small, xp.ones_like(small)) / (1.0 + small) - Y
    return value, delta


def _poisson_value(P: Array, Y: Array, xp: Any) -> Array:
    return P - Y * xp.log(xp.maximum(P, TINY))


def _poisson_gradient(P: Array, Y: Array, xp: Any) -> Array:
    return 1.0 - Y / xp.maximum(P, TINY)


def exp_poisson(z: Array, Y: Array, xp: Any) -> tuple[Array, Array]:
    """exp(z) - Y z and its gradient exp(z) - Y: the Poisson deviance without its constant, logarithmic link."""
    rate = xp.exp(z)
    return rate - Y * z, rate - Y


def huber(delta: float = 1.0) -> Loss:
    """Huber's loss: e^2/2 for |e| <= delta, else delta (|e| - delta/2), with e = P - Y (Huber 1964).

    Parameters
    ----------
    delta : float, in the units of Y
        Where the square turns into a line.

    Raises
    ------
    ValueError
        If `delta` is not positive.
    """
    if not delta > 0:
        raise ValueError(f"huber's delta must be positive, not {delta!r}")
    delta = float(delta)

    def value(P: Array, Y: Array, xp: Any) -> Array:
        size = xp.abs(P - Y)
        inside = xp.minimum(size, delta)
        return inside * (size - 0.5 * inside)

    def gradient(P: Array, Y: Array, xp: Any) -> Array:
        return xp.minimum(xp.maximum(P - Y, -delta), delta)

    return Loss("huber", value, gradient, parameter=delta)


def pinball(quantile: float = 0.5) -> Loss:
    """The pinball loss, least at the quantile: max(q (Y - P), (q - 1) (Y - P)) (Koenker and Bassett 1978).

    Parameters
    ----------
    quantile : float in (0, 1)

    Raises
    ------
    ValueError
        If `quantile` lies outside (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"pinball's quantile must lie between 0 and 1, not {quantile!r}")
    quantile = float(quantile)

    def value(P: Array, Y: Array, xp: Any) -> Array:
        error = Y - P
        return xp.maximum(quantile * error, (quantile - 1.0) * error)

    def gradient(P: Array, Y: Array, xp: Any) -> Array:
        return 0.5 * xp.sign(P - Y) + (0.5 - quantile)

    return Loss("pinball", value, gradient, parameter=quantile)


_POSITIVE = ("exp", "softplus", "softmax", "sigmoid")

LOSSES: dict[str, Loss] = {
    "half_squared_error": Loss(
        "half_squared_error", _half_square_value, _half_square_gradient, over_samples="sum", over_outputs="sum"
    ),
    "squared_error": Loss("squared_error", _square_value, _square_gradient),
    "cross_entropy": Loss(
        "cross_entropy",
        None,
        None,
        over_outputs="sum",
        canonical="softmax",
        head=softmax_cross_entropy,
        outputs=("softmax",),
    ),
    "binary_cross_entropy": Loss(
        "binary_cross_entropy",
        None,
        None,
        over_outputs="sum",
        canonical="sigmoid",
        head=sigmoid_binary_cross_entropy,
        outputs=("sigmoid",),
    ),
    "absolute_error": Loss("absolute_error", _absolute_value, _absolute_gradient),
    "huber": huber(),
    "poisson": Loss("poisson", _poisson_value, _poisson_gradient, canonical="exp", head=exp_poisson, outputs=_POSITIVE),
    "pinball": pinball(),
}


def with_setting(name: str, parameter: float | None = None) -> Loss:
    """Return the loss by name, huber or pinball by its parameter.

    Raises
    ------
    ValueError
        If it takes no parameter, or not this one.
    """
    if parameter is None:
        return LOSSES[name]
    if LOSSES[name].parameter is None:
        raise ValueError(f"{name} takes no setting; huber:DELTA and pinball:QUANTILE do")
    return huber(parameter) if name == "huber" else pinball(parameter)


def targets(loss: Loss, Y: Array, z: Array, xp: Any) -> Array:
    """Return `Y` in the shape and data type of the output `z`: integer labels one-hot, a flat target as a column.

    Parameters
    ----------
    Y : array
        (..., n_samples, n_outputs); (n_samples,) for one output; for `cross_entropy` also integer labels
        (..., n_samples).
    z : array (..., n_samples, n_outputs)

    Raises
    ------
    ValueError
        If `Y` does not fit: it would be broadcast to something that nobody meant.
    """
    given = tuple(Y.shape)
    if loss.name == "cross_entropy" and xp.isdtype(Y.dtype, "integral") and given in (z.shape[:-1], z.shape[-2:-1]):
        classes = xp.arange(z.shape[-1], dtype=Y.dtype, device=device(z))
        return xp.astype(Y[..., None] == classes, z.dtype)
    if len(given) == 1:
        Y = Y[:, None]
    if Y.shape[-2:] != z.shape[-2:]:
        raise ValueError(f"Y must be {tuple(z.shape)}, or labels without the last axis for cross_entropy; not {given}")
    return Y if Y.dtype == z.dtype else xp.astype(Y, z.dtype)
