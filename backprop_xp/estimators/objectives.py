"""What scikit-learn minimises and reports, as heads of the core: (z, Y, weight, xp) -> (loss, delta).

`z` (n_samples, n_outputs) is the output before its activation; `weight` (n_samples,) or None. The loss is a mean by
weight over samples, reported as scikit-learn does: probabilities are clipped by the data type's epsilon before their
logarithm, and the squared error of several outputs is averaged over them while its gradient is not.
"""

from typing import Any

from backprop_xp.activations import softmax
from backprop_xp.losses import LOSSES, TINY
from backprop_xp.network import Network
from backprop_xp.step import Head, divisor, loss_head

Array = Any


def _clipped(P: Array, epsilon: float, xp: Any) -> Array:
    return xp.minimum(xp.maximum(P, epsilon), 1.0 - epsilon)


def _xlogy(Y: Array, P: Array, xp: Any) -> Array:
    """Y log P, by SciPy's function where the namespace has it."""
    return xp.xlogy(Y, P) if hasattr(xp, "xlogy") else Y * xp.log(P)


def _softmax_log_loss(z: Array, Y: Array, epsilon: float, network: Network, xp: Any) -> tuple[Array, Array]:
    P = softmax(z, xp)
    return -_xlogy(Y, _clipped(P, epsilon, xp), xp), P - Y


def _log_loss_of_the_class(z: Array, Y: Array, epsilon: float, network: Network, xp: Any) -> tuple[Array, Array]:
    P = softmax(z, xp)
    of_class = xp.vecdot(P, Y)[..., None]  # a row of Y is one-hot
    return -xp.log(_clipped(of_class, epsilon, xp)), P - Y


def _logistic_log_loss(z: Array, Y: Array, epsilon: float, network: Network, xp: Any) -> tuple[Array, Array]:
    P = network.activations[-1].value(z, xp)
    clipped = _clipped(P, epsilon, xp)
    return -(_xlogy(Y, clipped, xp) + _xlogy(1 - Y, 1 - clipped, xp)), P - Y


def _squared_error(z: Array, Y: Array, epsilon: float, network: Network, xp: Any) -> tuple[Array, Array]:
    error = z - Y
    return 0.5 * (error * error), error


def _poisson(z: Array, Y: Array, epsilon: float, network: Network, xp: Any) -> tuple[Array, Array]:
    P = xp.exp(z)
    return _xlogy(Y, xp.maximum(Y / P, TINY), xp) - Y + P, P - Y


# By scikit-learn's name of the loss, and the output's activation.
OBJECTIVES: dict[tuple[str, str], Any] = {
    ("log_loss", "softmax"): _softmax_log_loss,
    ("log_loss", "sigmoid"): _logistic_log_loss,
    ("squared_error", "identity"): _squared_error,
    ("poisson", "exp"): _poisson,
}


def head(loss: str, network: Network, epsilon: float, *, divided: bool) -> Head:
    """Return the head of a loss.

    Parameters
    ----------
    loss : str
        scikit-learn's name, or one of the core's losses.
    network : Network
    epsilon : float
        Of the data type.
    divided : bool
        Whether delta is divided by the sum of weights, as a step needs it. If not, the gradient is to be: that is
        scikit-learn's order of roundings.
    """
    if (loss, network.output) not in OBJECTIVES:
        return _of_core(loss, network, divided)
    pointwise = OBJECTIVES[loss, network.output]
    if divided and pointwise is _softmax_log_loss:
        pointwise = _log_loss_of_the_class  # the same value, another order of roundings
    n_averaged = network.widths[-1] if loss == "squared_error" else 1

    def evaluated(z: Array, Y: Array, weight: Array | None, xp: Any) -> tuple[Array, Array]:
        value, delta = pointwise(z, Y, epsilon, network, xp)
        total = z.shape[-2]
        if weight is not None:
            value, total = value * weight[:, None], divisor(xp.sum(weight, axis=0), xp)
            delta = xp.astype(delta * weight[:, None], delta.dtype)
        if divided:
            return xp.sum(value, axis=(-2, -1)) / (total * n_averaged), delta / total
        return xp.sum(xp.sum(value, axis=-2) / total, axis=-1) / n_averaged, delta

    return evaluated


def _of_core(loss: str, network: Network, divided: bool) -> Head:
    core = loss_head(network, LOSSES[loss])
    if divided:
        return core

    def multiplied(z: Array, Y: Array, weight: Array | None, xp: Any) -> tuple[Array, Array]:
        value, delta = core(z, Y, weight, xp)
        return value, delta * (z.shape[-2] if weight is None else xp.sum(weight, axis=0))

    return multiplied
