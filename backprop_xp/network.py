"""The network: its description, its first parameters, the forward pass and the backward pass.

Everything is written on the last two axes, so arrays with a leading axis of K are K networks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from backprop_xp.activations import ACTIVATIONS, Activation
from backprop_xp.errors import InputError, lookup
from backprop_xp.initializers import INITIALIZERS, Initializer, zeros
from backprop_xp.namespaces import namespace_of

Array = Any
Params = tuple[tuple[Array, Array | None], ...]
Bias = bool | Literal["shared"]


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron: widths, activations, bias. Immutable; holds no parameters.

    Parameters
    ----------
    widths : sequence of int
        Inputs, units of each hidden layer, outputs: two entries or more.
    activation : str or sequence of str, default "relu"
        Of the hidden layers, or one for each.
    output : str, default "identity"
        The output layer's activation.
    bias : bool or "shared", default True
        One bias a unit, none, or one that all units of a layer share.

    Raises
    ------
    InputError
        If a width is not a positive integer or a name is unknown.

    Examples
    --------
    >>> Network((64, 128, 10), activation="relu", output="softmax").n_layers
    2
    """

    widths: tuple[int, ...]
    activation: str | tuple[str, ...] = "relu"
    output: str = "identity"
    bias: Bias = True

    def __post_init__(self) -> None:
        widths = tuple(self.widths) if isinstance(self.widths, Sequence | np.ndarray) else ()
        if len(widths) < 2 or not all(isinstance(w, int | np.integer) and w > 0 for w in widths):
            raise InputError(f"widths must be two or more positive integers, inputs first, not {self.widths!r}")
        object.__setattr__(self, "widths", tuple(int(w) for w in widths))
        if not isinstance(self.activation, str):
            object.__setattr__(self, "activation", tuple(self.activation))
            if len(self.activation) != self.n_layers - 1:
                raise InputError(f"{self.n_layers - 1} hidden layers need as many activations, not {self.activation!r}")
        named = (self.activation,) if isinstance(self.activation, str) else self.activation
        for name in (*named, self.output):
            lookup("activation", name, ACTIVATIONS)
        for name in self._hidden():
            if ACTIVATIONS[name].output_only:
                raise InputError(f"{name} may only stand at the output, not in a hidden layer")
        if self.output == "softmax" and self.widths[-1] < 2:
            raise InputError("softmax needs two outputs or more; for one, use output='sigmoid'")
        if self.bias not in (True, False, "shared"):
            raise InputError(f"bias must be True, False or 'shared', not {self.bias!r}")

    def _hidden(self) -> tuple[str, ...]:
        return (self.activation,) * (self.n_layers - 1) if isinstance(self.activation, str) else self.activation

    @property
    def n_layers(self) -> int:
        """Layers with weights: hidden ones and the output."""
        return len(self.widths) - 1

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """Each layer's activation, the output's last."""
        return tuple(ACTIVATIONS[name] for name in (*self._hidden(), self.output))

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return sum(math.prod(shape) for layer in self.shapes for shape in layer if shape)

    @property
    def shapes(self) -> tuple[tuple[tuple[int, int], tuple[int, int] | None], ...]:
        """Each layer's shapes of W and b (None without bias)."""
        return tuple(
            ((n_in, n_out), None if self.bias is False else (1, 1 if self.bias == "shared" else n_out))
            for n_in, n_out in zip(self.widths[:-1], self.widths[1:], strict=True)
        )


def init(
    network: Network,
    seed: int = 0,
    initializer: str | Initializer | Sequence[tuple[Any, Any]] = "glorot_uniform",
    *,
    bias_initializer: str | Initializer = zeros,
    dtype: DTypeLike = np.float64,
) -> Params:
    """Return first parameters as host arrays: for each layer (W, b), drawn in float64 in that order, then cast.

    Parameters
    ----------
    network : Network
    seed : int
    initializer : str, function or sequence, default "glorot_uniform"
        A name (glorot_, he_ or lecun_ with uniform or normal; uniform over (-1, 1), normal, zeros), a function such as
        `initializers.uniform(0, 1)`, or the arrays themselves: (W, b) a layer, W (..., n_in, n_out), b (..., 1, n_out),
        (..., 1, 1) when shared, or None; a flat b is taken as one row.
    bias_initializer : str or function, default zeros
    dtype : floating data type

    Raises
    ------
    InputError
        If a name is unknown, or given arrays do not fit the network.
    """
    if not isinstance(initializer, str) and not callable(initializer):
        return _given(network, initializer, dtype)
    generator = np.random.default_rng(seed)
    draw_W, draw_b = (
        lookup("initializer", draw, INITIALIZERS) if isinstance(draw, str) else draw
        for draw in (initializer, bias_initializer)
    )
    params = []
    for shape_W, shape_b in network.shapes:
        W = draw_W(generator, *shape_W)
        b = None if shape_b is None else draw_b(generator, *shape_b)
        params.append((W.astype(dtype), None if b is None else b.astype(dtype)))
    return tuple(params)


def _given(network: Network, arrays: Sequence[tuple[Any, Any]], dtype: DTypeLike) -> Params:
    """Return copies of the given parameters, once their shapes are those of the network."""
    if len(arrays) != network.n_layers:
        raise InputError(f"the network needs arrays for {network.n_layers} layers, but {len(arrays)} were given")

    def checked(name: str, array: Any, shape: tuple[int, int] | None) -> Array | None:
        if shape is None or array is None:
            if not (shape is None and array is None):
                raise InputError(f"{name}: bias={network.bias!r} needs {'no array' if shape is None else shape}")
            return None
        array = np.array(array, dtype=dtype, ndmin=2)
        if array.shape[-2:] != shape:
            raise InputError(f"{name} must be {shape} after any leading axes, not {array.shape}")
        return array

    return tuple(
        (checked(f"W of layer {layer}", W, shape_W), checked(f"b of layer {layer}", b, shape_b))
        for layer, ((W, b), (shape_W, shape_b)) in enumerate(zip(arrays, network.shapes, strict=True))
    )


def forward(network: Network, params: Params, X: Array) -> list[Array]:
    """Return the output of every layer, a_0 = X first and the network's output last: a_l = f(a_{l-1} W_l + b_l).

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
        Of the same namespace and device as `X`.
    X : array (..., n_samples, n_features)

    Returns
    -------
    list of n_layers + 1 arrays (..., n_samples, width)

    Raises
    ------
    InputError
        If `X` does not have the network's number of features.
    """
    if X.ndim < 2 or X.shape[-1] != network.widths[0]:
        raise InputError(f"X must be (n_samples, {network.widths[0]}), not {tuple(X.shape)}")
    xp = namespace_of(X)
    outputs, _, z = propagate(network, params, X, None, xp)
    outputs.append(network.activations[-1].value(z, xp))
    return outputs


def propagate(
    network: Network, params: Params, X: Array, masks: Sequence[Array] | None, xp: Any
) -> tuple[list[Array], list[Array], Array]:
    """Return the layers' inputs, what each hidden derivative is taken from, and the output before its activation.

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
    X : array (..., n_samples, n_features)
    masks : sequence of array, or None
        Dropout masks of the hidden layers' outputs.
    xp : namespace

    Returns
    -------
    inputs : list of n_layers arrays, X first, hidden outputs masked
    sources : list of n_layers - 1 arrays: the hidden outputs before the mask, or z where the derivative is one of z
    z : array (..., n_samples, n_outputs)
    """
    inputs, sources = [X], []
    a, last, activations = X, len(params) - 1, network.activations
    for layer, (W, b) in enumerate(params):
        z = xp.matmul(a, W)
        if b is not None:
            z += b
        if layer == last:
            break
        activation = activations[layer]
        a = activation.value(z, xp)
        sources.append(z if activation.from_input else a)
        if masks is not None:
            a = a * masks[layer]
        inputs.append(a)
    return inputs, sources, z


def backward(network: Network, params: Params, activations: Sequence[Array], delta: Array) -> Params:
    """Return the gradient of the loss by every parameter, in the shape of `params`.

    With a_{l-1} the input of layer l: dW_l = a_{l-1}^T delta_l, db_l = the sum of delta_l over samples, and
    delta_{l-1} = (delta_l W_l^T) f'(z_{l-1}) (Rumelhart, Hinton and Williams 1986).

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
    activations : list of array
        What `forward` returned.
    delta : array (..., n_samples, n_outputs)
        dLoss/dz of the output layer, z being what goes into its activation.
    """
    xp = namespace_of(delta)
    sources = [
        _input_of(params[layer], activations[layer], xp) if activation.from_input else activations[layer + 1]
        for layer, activation in enumerate(network.activations[:-1])
    ]
    return back_propagate(network, params, activations, sources, delta, None, xp)


def back_propagate(
    network: Network,
    params: Params,
    inputs: Sequence[Array],
    sources: Sequence[Array],
    delta: Array,
    masks: Sequence[Array] | None,
    xp: Any,
) -> Params:
    """Return the gradients from what `propagate` returned and the output's `delta`."""
    grads: list[tuple[Array, Array | None]] = []
    activations = network.activations
    bias_axes = (-2, -1) if network.bias == "shared" else -2
    for layer in range(len(params) - 1, -1, -1):
        W, b = params[layer]
        a = inputs[layer]
        dW = xp.matmul(xp.matrix_transpose(a), delta)
        db = None if b is None else xp.sum(delta, axis=bias_axes, keepdims=True)
        grads.append((dW, db))
        if layer == 0:
            break
        delta = xp.matmul(delta, xp.matrix_transpose(W))
        activation = activations[layer - 1]
        if masks is not None:
            delta *= masks[layer - 1]
        if activation.times_derivative is not None:
            delta = activation.times_derivative(delta, sources[layer - 1], xp)
        elif activation.derivative is not None:
            delta *= activation.derivative(sources[layer - 1], xp)
    grads.reverse()
    return tuple(grads)


def _input_of(layer: tuple[Array, Array | None], a: Array, xp: Any) -> Array:
    """z = a W + b."""
    W, b = layer
    z = xp.matmul(a, W)
    return z if b is None else z + b
