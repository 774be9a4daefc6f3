"""The core composed into one pure function: forward, loss head, backward, update."""

import math
from collections.abc import Callable
from typing import Any

from backprop_xp import dropout as _dropout
from backprop_xp.activations import pull_back
from backprop_xp.errors import InputError, lookup
from backprop_xp.losses import LOSSES, TINY, Loss, targets
from backprop_xp.namespaces import namespace_of
from backprop_xp.network import Network, Params, back_propagate, propagate
from backprop_xp.optimizers import Multipliers, Optimizer, OptimizerState
from backprop_xp.packing import pack, unpacker

Array = Any
Step = Callable[..., tuple[Params, OptimizerState, Array]]
Gradient = Callable[..., tuple[Array, Params]]
Head = Callable[[Array, Array, Array | None, Any], tuple[Array, Array]]


def make_step(
    network: Network,
    loss: str | Loss | Head,
    optimizer: Optimizer,
    *,
    l2: float = 0.0,
    l2_per_batch: bool = False,
    clip_norm: float | None = None,
    multipliers: Multipliers | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    packed: bool = False,
) -> Step:
    """Return `step(params, opt_state, X, Y, weight=None) -> (params, opt_state, loss)`.

    It changes none of its arguments, reads nothing back from the device and takes no branch on values, so it runs as it
    is on any library of the array API and under any compiler of one. `loss` is 0-d, (K,) for K stacked networks.

    Parameters
    ----------
    network : Network
    loss : str, Loss or function
        A name, a `Loss`, or what `loss_head` would return: (z, Y, weight, xp) -> (loss, dloss/dz).
    optimizer : Optimizer
    l2 : float
        Adds l2 / 2 times the sum of squared weights (biases left out) to the loss.
    l2_per_batch : bool
        Divide that by the batch's sum of weights, or number of samples: scikit-learn's `alpha`.
    clip_norm : float, optional
        Gradients are scaled down to this Euclidean norm over all parameters (Pascanu, Mikolov and Bengio 2013, alg. 1).
    multipliers : sequence of (float, float), optional
        Factors of the learning rate, (for W, for b) a layer; 0 freezes.
    dropout : float in [0, 1)
        The share of each hidden layer's units dropped in each step.
    seed : int
        Of the dropout masks.
    packed : bool
        `params` are, and stay, as `packing.pack` makes them: fewer calls an update, for small networks.

    Raises
    ------
    InputError
        If the loss is unknown or not defined on the network's output, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from backprop_xp import Network, init, make_step, sgd
    >>> net, rule = Network((2, 1), output="sigmoid"), sgd(0.5)
    >>> params = init(net, initializer="zeros")
    >>> step = make_step(net, "half_squared_error", rule)
    >>> X, Y = np.asarray([[0.0, 1.0], [1.0, 1.0]]), np.asarray([0.0, 1.0])
    >>> params, state, loss = step(params, rule.init(params), X, Y)
    >>> float(loss)
    0.25
    """
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise InputError(f"clip_norm must be a positive number, not {clip_norm!r}")
    if multipliers is not None and [len(pair) for pair in multipliers] != [2] * network.n_layers:
        raise InputError(f"multipliers must be {network.n_layers} pairs (for W, for b), not {multipliers!r}")
    if any(not 0 <= factor < math.inf for pair in multipliers or () for factor in pair):
        raise InputError(f"multipliers must be numbers of at least 0, not {multipliers!r}")
    if packed and (multipliers is not None or optimizer.weight_decay):
        raise InputError("multipliers and weight_decay tell weights from biases: leave out packed")
    gradient = make_gradient(network, loss, l2=l2, l2_per_batch=l2_per_batch, dropout=dropout, seed=seed)
    unpack = unpacker(network.shapes)
    update = optimizer.update

    def step(
        params: Params, opt_state: OptimizerState, X: Array, Y: Array, weight: Array | None = None
    ) -> tuple[Params, OptimizerState, Array]:
        xp = namespace_of(X)
        layers = unpack(params, xp) if packed else params
        value, grads = gradient(layers, X, Y, weight, opt_state.count, xp)
        if packed:
            grads = pack(grads, xp)
        if clip_norm is not None:
            grads = clip(grads, clip_norm, xp)
        params, opt_state = update(grads, opt_state, params, multipliers=multipliers, xp=xp)
        return params, opt_state, value

    return step


def make_gradient(
    network: Network,
    loss: str | Loss | Head,
    *,
    l2: float = 0.0,
    l2_per_batch: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> Gradient:
    """Return `gradient(params, X, Y, weight=None, count=None) -> (loss, grads)`: `make_step` without the update.

    `count`, the updates made so far, chooses the dropout masks; without it nothing is dropped. The other arguments are
    `make_step`'s, and so are the errors.
    """
    if not l2 >= 0:
        raise InputError(f"l2 must be at least 0, not {l2!r}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, not {dropout!r}")
    head = loss_head(network, loss) if isinstance(loss, str | Loss) else loss
    keys = [_dropout.layer_key(seed, layer) for layer in range(network.n_layers - 1)] if dropout else []

    def gradient(
        params: Params,
        X: Array,
        Y: Array,
        weight: Array | None = None,
        count: Array | None = None,
        xp: Any = None,
    ) -> tuple[Array, Params]:
        xp = namespace_of(X) if xp is None else xp
        masks = None
        if keys and count is not None:
            masks = [
                _dropout.mask(key, count, (X.shape[-2], W.shape[-1]), rate=dropout, like=W, xp=xp)
                for key, (W, _) in zip(keys, params, strict=False)
            ]
        inputs, sources, z = propagate(network, params, X, masks, xp)
        value, delta = head(z, Y, weight, xp)
        grads = back_propagate(network, params, inputs, sources, delta, masks, xp)
        if l2:
            share = l2
            if l2_per_batch:
                share = l2 / (X.shape[-2] if weight is None else xp.sum(weight, axis=-1))
            value, grads = value + 0.5 * share * squared_norm(params, xp), decayed(grads, params, share)
        return value, grads

    return gradient


def loss_head(network: Network, loss: str | Loss) -> Head:
    """Return `head(z, Y, weight, xp) -> (loss, delta)`: the loss over all samples, and its gradient by `z`.

    `z` (..., n_samples, n_outputs) is the output before its activation. With weights w a mean over samples is
    sum_i w_i l_i / sum_i w_i, a sum is sum_i w_i l_i.

    Raises
    ------
    InputError
        If the loss is unknown, or not defined on the range of the network's output.
    """
    loss = lookup("loss", loss, LOSSES) if isinstance(loss, str) else loss
    if loss.outputs is not None and network.output not in loss.outputs:
        raise InputError(f"{loss.name} needs output={' or '.join(map(repr, loss.outputs))}, not {network.output!r}")
    activation = network.activations[-1]
    mean = loss.over_samples == "mean"
    share = 1.0 / network.widths[-1] if loss.over_outputs == "mean" else 1.0

    def through_output(z: Array, Y: Array, xp: Any) -> tuple[Array, Array]:
        assert loss.value is not None
        assert loss.gradient is not None
        P = activation.value(z, xp)
        source = z if activation.from_input else P
        return loss.value(P, Y, xp), pull_back(activation, loss.gradient(P, Y, xp), source, xp)

    pointwise = loss.head if loss.head is not None and loss.canonical == network.output else through_output

    def head(z: Array, Y: Array, weight: Array | None, xp: Any) -> tuple[Array, Array]:
        if Y.shape != z.shape or Y.dtype != z.dtype:
            Y = targets(loss, Y, z, xp)
        value, delta = pointwise(z, Y, xp)
        scale = share
        if weight is not None:
            weight = xp.astype(weight[..., None], z.dtype)
            if mean:
                weight = weight / xp.maximum(xp.sum(weight, axis=-2, keepdims=True), TINY)
            value, delta = value * weight, delta * weight
        elif mean:
            scale /= z.shape[-2]
        value = xp.sum(value, axis=(-2, -1))
        if scale != 1.0:
            value *= scale
            delta *= scale
        return value, delta

    return head


def clip(grads: Params, norm: float, xp: Any) -> Params:
    """Return the gradients times min(1, norm / their Euclidean norm over all parameters of a model)."""
    square = sum(xp.sum(g * g, axis=(-2, -1), keepdims=True) for layer in grads for g in layer if g is not None)
    factor = norm / xp.maximum(xp.sqrt(square), norm)
    return tuple((dW * factor, None if db is None else db * factor) for dW, db in grads)


def squared_norm(params: Params, xp: Any) -> Array:
    """Return the sum of all squared weights of a model, biases left out."""
    total = 0.0
    for W, _ in params:
        w = xp.reshape(W, (*W.shape[:-2], -1))
        total = total + xp.vecdot(w, w)
    return total


def decayed(grads: Params, params: Params, l2: Any) -> Params:
    """Return the gradients with the penalty's, dW + l2 W; the dW are changed where a library can."""
    return tuple((_plus(dW, W * l2), db) for (W, _), (dW, db) in zip(params, grads, strict=True))


def _plus(changed: Array, more: Array) -> Array:
    changed += more
    return changed
