"""The three terms of every weight's gradient, sample by sample.

A gradient is the sum over samples of (dE/dO) (dO/dinput) (dinput/dw): how the loss changes with the unit's output, the
output with the unit's input, and the input with the weight (Rumelhart, Hinton and Williams 1986). The first two
together are the unit's delta. The numbers come from the core's own passes: each sample is a model of its own on the
leading axis, so that what the core sums over samples is still apart.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.activations import softmax
from backprop_xp.explanation.updates import Update
from backprop_xp.losses import Loss
from backprop_xp.namespaces import NUMPY
from backprop_xp.network import Network, Params, propagate
from backprop_xp.step import make_gradient

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """A layer's terms, a row a sample; each sample's share of a mean is in `first`.

    Parameters
    ----------
    first : array (n_samples, n_out)
        dE/dO of each unit: at a hidden unit the sum over the next layer's units of their delta times the weight there.
    second : array (n_samples, n_out)
        dO/dinput.
    third : array (n_samples, n_in)
        dinput/dw: the output of the unit that the weight leaves.
    delta : array (n_samples, n_out)
        First times second, as the core makes it.
    folded : bool
        At an output whose loss and activation are differentiated together: `first` is then dE/dinput, and `second` 1.
    """

    first: Floats
    second: Floats
    third: Floats
    delta: Floats
    folded: bool


@dataclass(frozen=True)
class WeightTerms:
    """One weight's chain rule.

    Parameters
    ----------
    name : str
    layer, unit : int
        From 1; layer 1 is the first that has weights.
    source : int or None
        The unit, or input, that the weight leaves, from 1; None for the bias.
    first, second, third, products : array (n_samples,)
        A shared bias has a sum over units in its products, and no terms of its own: they are empty.
    gradient : float
        The products' sum.
    matrix : float
        The same from X^T delta, over all samples at once.
    loop : float or None
        From the scalar loops; None where they do not know the activation or the loss, or would take long.
    difference : float
        The central difference of the loss.
    update : Update
    folded : bool
        See `Terms`.
    first_row : int
        The number of the first sample.
    """

    name: str
    layer: int
    unit: int
    source: int | None
    first: Floats
    second: Floats
    third: Floats
    products: Floats
    gradient: float
    matrix: float
    loop: float | None
    difference: float
    update: Update
    folded: bool
    first_row: int


@dataclass(frozen=True)
class UnitTerms:
    """One unit: its output and delta, and the sum that its first term is.

    Parameters
    ----------
    name : str
    layer, unit : int
        From 1.
    output, first, second, delta : array (n_samples,)
    weights_onward : array (n_next,)
        To the units of the next layer; empty at an output.
    deltas_onward : array (n_samples, n_next)
        Of those units: `first` is the sum over them of delta times weight.
    first_row : int
        The number of the first sample.
    """

    name: str
    layer: int
    unit: int
    output: Floats
    first: Floats
    second: Floats
    delta: Floats
    weights_onward: Floats
    deltas_onward: Floats
    first_row: int


def terms_of(network: Network, params: Params, loss: Loss, X: Floats, Y: Floats, shares: Floats) -> tuple[Terms, ...]:
    """Return every layer's terms; each sample is a model of its own, so that nothing is summed over samples."""
    X, Y = X[:, None, :], Y[:, None, :]
    # A bias a unit, of whatever kind the network's is: its gradient for one sample is the unit's delta.
    apart = replace(network, bias=True)
    whole = tuple((W, np.zeros((1, W.shape[1])) if b is None else b + np.zeros((1, W.shape[1]))) for W, b in params)
    gradient = make_gradient(apart, loss._replace(over_samples="sum"))
    _, grads = gradient(whole, X, Y, shares[:, None])
    deltas = [np.asarray(db)[:, 0, :] for _, db in grads]
    inputs, sources, z = propagate(apart, whole, X, None, NUMPY)
    layers = []
    for k in range(network.n_layers - 1):
        activation, source = network.activations[k], sources[k]
        first = deltas[k + 1] @ whole[k + 1][0].T
        layers.append(
            Terms(first, _derivative(activation, source)[:, 0, :], inputs[k][:, 0, :], deltas[k], folded=False)
        )
    last = network.activations[-1]
    folded = loss.canonical == network.output or last.value is softmax
    if folded:
        first, second = deltas[-1], np.ones_like(deltas[-1])
    else:
        assert loss.gradient is not None
        P = last.value(z, NUMPY)
        scale = shares[:, None] * (1.0 / network.widths[-1] if loss.over_outputs == "mean" else 1.0)
        first = loss.gradient(P, Y, NUMPY)[:, 0, :] * scale
        second = _derivative(last, z if last.from_input else P)[:, 0, :]
    layers.append(Terms(first, second, inputs[-1][:, 0, :], deltas[-1], folded))
    return tuple(layers)


def _derivative(activation: Any, source: Floats) -> Floats:
    """dO/dinput."""
    if activation.derivative is not None:
        return np.asarray(activation.derivative(source, NUMPY))
    if activation.times_derivative is not None:
        return np.asarray(activation.times_derivative(np.ones_like(source), source, NUMPY))
    return np.ones_like(source)
