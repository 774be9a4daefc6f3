"""Activation functions: each one's value, and beside it the derivative from the unit's own output.

`z` is the array before the activation, `a` the one after it, both (..., n_samples, n_units); `xp` is their namespace.
Three functions are not monotone, so no derivative can be had from their output: gelu, silu and mish take it from `z`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any
Elementwise = Callable[[Array, Any], Array]


class Activation(NamedTuple):
    """An activation: its value, its derivative, and where each may stand.

    Parameters
    ----------
    value : function (z, xp) -> a
    derivative : function (a, xp) -> da/dz, or of z where `from_input`; None for a constant 1
    from_input : bool
        True if the derivative is a function of `z`, not of `a`.
    output_only : bool
        True if it may only stand at the output.
    times_derivative : function (delta, a, xp) -> delta da/dz, optional
        In place of `derivative`, where the product is to be rounded in an order of its own; `delta` may be changed.
    """

    value: Elementwise
    derivative: Elementwise | None
    from_input: bool = False
    output_only: bool = False
    times_derivative: Callable[[Array, Array, Any], Array] | None = None


def identity(z: Array, xp: Any) -> Array:
    """a = z."""
    return z


# exp(88) is the last whole power that float32 holds. Past it the sigmoid is 0 to every digit that is added to anything.
_EXP_MAX = 88.0


def sigmoid(z: Array, xp: Any) -> Array:
    """a = 1 / (1 + exp(-z)), without overflow: for z < -88 it stays at 6e-39."""
    a = xp.exp(xp.minimum(-z, _EXP_MAX))
    a += 1.0
    return xp.reciprocal(a)


def sigmoid_derivative(a: Array, xp: Any) -> Array:
    """da/dz = a (1 - a)."""
    derivative = 1.0 - a
    derivative *= a
    return derivative


def tanh(z: Array, xp: Any) -> Array:
    """a = tanh(z)."""
    return xp.tanh(z)


def tanh_derivative(a: Array, xp: Any) -> Array:
    """da/dz = 1 - a^2."""
    return 1.0 - a * a


def relu(z: Array, xp: Any) -> Array:
    """a = max(z, 0)."""
    return xp.maximum(z, 0.0)


def relu_derivative(a: Array, xp: Any) -> Array:
    """da/dz = 1 where a > 0, else 0."""
    return xp.astype(a > 0.0, a.dtype)


_LEAK = 0.01


def leaky_relu(z: Array, xp: Any) -> Array:
    """a = max(z, 0.01 z) (Maas, Hannun and Ng 2013)."""
    return xp.maximum(z, z * _LEAK)


def leaky_relu_derivative(a: Array, xp: Any) -> Array:
    """da/dz = 1 where a > 0, else 0.01."""
    return xp.astype(a > 0.0, a.dtype) * (1.0 - _LEAK) + _LEAK


def elu(z: Array, xp: Any) -> Array:
    """a = z where z > 0, else exp(z) - 1 (Clevert, Unterthiner and Hochreiter 2016)."""
    return xp.maximum(z, 0.0) + xp.expm1(xp.minimum(z, 0.0))


def elu_derivative(a: Array, xp: Any) -> Array:
    """da/dz = 1 where a > 0, else a + 1."""
    return xp.minimum(a, 0.0) + 1.0


# Fixed points of the mean and variance maps, Klambauer et al. 2017, equation 14.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def selu(z: Array, xp: Any) -> Array:
    """a = scale (z where z > 0, else alpha (exp(z) - 1)) (Klambauer et al. 2017)."""
    return _SELU_SCALE * (xp.maximum(z, 0.0) + _SELU_ALPHA * xp.expm1(xp.minimum(z, 0.0)))


def selu_derivative(a: Array, xp: Any) -> Array:
    """da/dz = scale where a > 0, else a + scale alpha."""
    return xp.where(a > 0.0, xp.full_like(a, _SELU_SCALE), a + _SELU_SCALE * _SELU_ALPHA)


def softplus(z: Array, xp: Any) -> Array:
    """a = log(1 + exp(z)), as max(z, 0) + log(1 + exp(-|z|))."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def softplus_derivative(a: Array, xp: Any) -> Array:
    """da/dz = 1 - exp(-a)."""
    return -xp.expm1(-a)


_GELU_SCALE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def gelu(z: Array, xp: Any) -> Array:
    """a = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2 (Hendrycks and Gimpel 2016, section 2).

    The array API has no error function, so this is their tanh form; it differs from the exact one by at most 5e-4.
    """
    return 0.5 * z * (1.0 + xp.tanh(_GELU_SCALE * z * (1.0 + _GELU_CUBIC * z * z)))


def gelu_derivative(z: Array, xp: Any) -> Array:
    """da/dz = (1 + t)/2 + z (1 - t^2) u'/2, with u the tanh's argument and t = tanh(u)."""
    square = z * z
    t = xp.tanh(_GELU_SCALE * z * (1.0 + _GELU_CUBIC * square))
    return 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBIC * square)


def silu(z: Array, xp: Any) -> Array:
    """a = z sigmoid(z) (Elfwing, Uchibe and Doya 2018)."""
    return z * sigmoid(z, xp)


def silu_derivative(z: Array, xp: Any) -> Array:
    """da/dz = s (1 + z (1 - s)), with s = sigmoid(z)."""
    s = sigmoid(z, xp)
    return s * (1.0 + z * (1.0 - s))


def mish(z: Array, xp: Any) -> Array:
    """a = z tanh(softplus(z)) (Misra 2020)."""
    return z * xp.tanh(softplus(z, xp))


def mish_derivative(z: Array, xp: Any) -> Array:
    """da/dz = t + z (1 - t^2) sigmoid(z), with t = tanh(softplus(z))."""
    t = xp.tanh(softplus(z, xp))
    return t + z * (1.0 - t * t) * sigmoid(z, xp)


def exp(z: Array, xp: Any) -> Array:
    """a = exp(z): the inverse of the logarithmic link, for counts and rates."""
    return xp.exp(z)


def exp_derivative(a: Array, xp: Any) -> Array:
    """da/dz = a."""
    return a


def softmax(z: Array, xp: Any) -> Array:
    """a_j = exp(z_j) / sum_k exp(z_k), shifted by the row's largest z so that nothing overflows."""
    a = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    a /= xp.sum(a, axis=-1, keepdims=True)
    return a


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, None),
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative),
    "elu": Activation(elu, elu_derivative),
    "selu": Activation(selu, selu_derivative),
    "gelu": Activation(gelu, gelu_derivative, from_input=True),
    "silu": Activation(silu, silu_derivative, from_input=True),
    "mish": Activation(mish, mish_derivative, from_input=True),
    "softplus": Activation(softplus, softplus_derivative),
    "exp": Activation(exp, exp_derivative, output_only=True),
    "softmax": Activation(softmax, None, output_only=True),
}


def pull_back(activation: Activation, upstream: Array, source: Array, xp: Any) -> Array:
    """Return dL/dz from `upstream` = dL/da: times the derivative, or through the softmax's Jacobian.

    Parameters
    ----------
    activation : Activation
    upstream : array (..., n_samples, n_units)
        Left as it is.
    source : array of that shape
        The activation's output `a`, or its input `z` where `activation.from_input`.
    xp : namespace
    """
    if activation.value is softmax:  # dL/dz_j = a_j (u_j - sum_k u_k a_k)
        return source * (upstream - xp.sum(upstream * source, axis=-1, keepdims=True))
    if activation.derivative is None:
        return upstream
    return upstream * activation.derivative(source, xp)
