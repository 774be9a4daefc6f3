"""The core composed into one pure function: forward, loss head, backward, update."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from array_api_compat import device

from backprop_xp import dropout as _dropout
from backprop_xp.activations import pull_back
from backprop_xp.errors import InputError, check_integer, lookup
from backprop_xp.losses import LOSSES, TINY, Loss, targets
from backprop_xp.namespaces import namespace_of
from backprop_xp.network import Network, Params, back_propagate, propagate
from backprop_xp.optimizers import Multipliers, Optimizer, OptimizerState
from backprop_xp.packing import pack, unpacker

Array = Any
Gradient = Callable[..., tuple[Array, Params]]
Head = Callable[[Array, Array, Array | None, Any], tuple[Array, Array]]
Masks = Callable[[Params, Array | None, Any, int, Any], list[Array] | None]
Summand = Callable[[Any, Any], tuple[Array, Params]]
AddUp = Callable[[Summand, int, int], tuple[Array, Params]]


class Step(Protocol):
    """What `make_step` returns: a function of arrays.

    Attributes
    ----------
    in_parts : function (n_parts, add_up=add_up) -> Step
        The same update from parts of a batch: see `make_step`.
    between : function (through) -> Step
        The same step, whose gradients go through a function (grads) -> grads before the update.
    """

    in_parts: Callable[..., "Step"]
    between: Callable[[Callable[[Params], Params]], "Step"]

    def __call__(
        self, params: Params, opt_state: OptimizerState, X: Array, Y: Array, weight: Array | None = None
    ) -> tuple[Params, OptimizerState, Array]:
        """Return (params, opt_state, loss)."""


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
    is on any library of the array API and under any compiler of one. So a label that no output has passes for a row
    without a target (`Trainer` tests them first). `loss` is 0-d, (K,) for K stacked networks.

    `step.in_parts(n_parts)` is a step that makes the same update, to rounding, in less memory: the batch's rows are
    taken in so many nearly equal parts (as many as there are rows, if that is fewer) whose gradients add up. A mean is
    still one over the whole batch, and penalty, clipping and optimizer act once, on the sum. Where a compiler would
    take the parts all at once, another function may take `add_up`'s place. `step.between(through)` is the step with an
    identity between gradients and update, such as tells a compiler to have all of them first.

    Parameters
    ----------
    network : Network
    loss : str, Loss or function
        A name, a `Loss`, or what `loss_head` would return: (z, Y, weight, xp) -> (loss, dloss/dz). In parts, a function
        is still given the whole batch's z, so that the parts are propagated twice.
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
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer must be made by adam(), sgd() or another, not {optimizer!r}")
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise InputError(f"clip_norm must be a positive number, not {clip_norm!r}")
    if multipliers is not None and [len(pair) for pair in multipliers] != [2] * network.n_layers:
        raise InputError(f"multipliers must be {network.n_layers} pairs (for W, for b), not {multipliers!r}")
    if any(not 0 <= factor < math.inf for pair in multipliers or () for factor in pair):
        raise InputError(f"multipliers must be numbers of at least 0, not {multipliers!r}")
    if packed and (multipliers is not None or optimizer.weight_decay):
        raise InputError("multipliers and weight_decay tell weights from biases: leave out packed")
    unpack = unpacker(network.shapes)
    update = optimizer.update

    def composed(gradient: Gradient, through: Callable[[Params], Params] | None = None) -> Step:
        def step(
            params: Params, opt_state: OptimizerState, X: Array, Y: Array, weight: Array | None = None
        ) -> tuple[Params, OptimizerState, Array]:
            xp = namespace_of(X)
            layers = unpack(params, xp) if packed else params
            value, grads = gradient(layers, X, Y, weight, opt_state.count, xp)
            if packed:
                grads = pack(grads, xp)
            if clip_norm is not None:
                grads = clip(grads, float(clip_norm), xp)
            if through is not None:
                grads = through(grads)
            params, opt_state = update(grads, opt_state, params, multipliers=multipliers, xp=xp)
            return params, opt_state, value

        result = cast(Step, step)
        result.in_parts = in_parts
        result.between = lambda through: composed(gradient, through)
        return result

    def in_parts(n_parts: int, add_up: AddUp = add_up) -> Step:
        gradient = _gradient_in_parts(
            network, loss, n_parts, add_up, l2=l2, l2_per_batch=l2_per_batch, dropout=dropout, seed=seed
        )
        return composed(gradient)

    return composed(make_gradient(network, loss, l2=l2, l2_per_batch=l2_per_batch, dropout=dropout, seed=seed))


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

    `count`, the updates made so far, chooses the dropout masks; without it nothing is dropped. `first_row` is the place
    of X's first row in the batch that the masks are drawn for. The other arguments are `make_step`'s, and so are the
    errors.
    """
    if not l2 >= 0:
        raise InputError(f"l2 must be at least 0, not {l2!r}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, not {dropout!r}")
    l2, dropout = float(l2), float(dropout)
    head = loss_head(network, loss) if isinstance(loss, str | Loss) else loss
    masks_of = _masks(network, dropout, seed)

    def gradient(
        params: Params,
        X: Array,
        Y: Array,
        weight: Array | None = None,
        count: Array | None = None,
        xp: Any = None,
        first_row: Any = None,
    ) -> tuple[Array, Params]:
        xp = namespace_of(X) if xp is None else xp
        masks = None if masks_of is None else masks_of(params, count, first_row, X.shape[-2], xp)
        inputs, sources, z = propagate(network, params, X, masks, xp)
        value, delta = head(z, Y, weight, xp)
        grads = back_propagate(network, params, inputs, sources, delta, masks, xp)
        if l2:
            share = _per_batch(l2, weight, X, xp) if l2_per_batch else l2
            value, grads = value + 0.5 * share * squared_norm(params, xp), decayed(grads, params, share)
        return value, grads

    return gradient


def _gradient_in_parts(
    network: Network,
    loss: str | Loss | Head,
    n_parts: int,
    add_up: AddUp,
    *,
    l2: float,
    l2_per_batch: bool,
    dropout: float,
    seed: int,
) -> Gradient:
    """Return `make_gradient`'s function, put together from parts of the batch whose gradients add up."""
    check_integer("n_parts", n_parts, 1)
    loss = lookup("loss", loss, LOSSES) if isinstance(loss, str) else loss
    masks_of = _masks(network, dropout, seed)
    # Sums add up, and a mean is a sum by weights that sum to 1. Of a function nothing is known: it gets the whole z.
    head = loss._replace(over_samples="sum") if isinstance(loss, Loss) else _given
    of_part = make_gradient(network, head, dropout=dropout, seed=seed)

    def gradient(
        params: Params, X: Array, Y: Array, weight: Array | None, count: Array | None, xp: Any
    ) -> tuple[Array, Params]:
        n_samples, value = X.shape[-2], None
        shares, axis = weight, -2
        if not isinstance(loss, Loss):
            z = _output(network, params, X, _rows_of_parts(n_samples, n_parts), masks_of, count, xp)
            value, Y = loss(z, Y, weight, xp)
            shares = None
        else:
            axis = _axis_of_samples(loss, params, X, Y, xp)
            if loss.over_samples == "mean":
                shares = _shares(weight, n_samples, params[0][0], xp)

        def summand(rows: Any, first_row: Any) -> tuple[Array, Params]:
            Y_part = Y[..., rows, :] if axis == -2 else Y[..., rows]
            shares_part = None if shares is None else shares[..., rows]
            return of_part(params, X[..., rows, :], Y_part, shares_part, count, xp, first_row)

        total, grads = add_up(summand, n_samples, n_parts)
        value = total if value is None else value
        if l2:
            share = _per_batch(l2, weight, X, xp) if l2_per_batch else l2
            value, grads = value + 0.5 * share * squared_norm(params, xp), decayed(grads, params, share)
        return value, grads

    return gradient


def add_up(summand: Summand, n_samples: int, n_parts: int) -> tuple[Array, Params]:
    """Return the sums of the parts' losses and gradients, one part after the other.

    Parameters
    ----------
    summand : function (rows, first_row) -> (loss, grads)
        `rows` are a slice or an array of indices, from `first_row` on.
    n_samples, n_parts : int
    """
    first, *others = _rows_of_parts(n_samples, n_parts)
    value, grads = summand(first, first.start)
    for rows in others:
        value, grads = _added(value, grads, *summand(rows, rows.start))
    return value, grads


def _rows_of_parts(n_samples: int, n_parts: int) -> list[slice]:
    """Return the rows of nearly equal parts, none of them empty."""
    n_parts = max(1, min(n_parts, n_samples))
    bounds = [n_samples * part // n_parts for part in range(n_parts)]
    # The last one is open, so that a Y or weight with too many rows is found out as it is with the whole batch.
    return [slice(start, stop) for start, stop in zip(bounds, [*bounds[1:], None], strict=True)]


def _output(
    network: Network,
    params: Params,
    X: Array,
    parts: Sequence[slice],
    masks_of: Masks | None,
    count: Array | None,
    xp: Any,
) -> Array:
    """Return the output before its activation, of the whole batch, where only its parts are propagated at once."""
    outputs = []
    for rows in parts:
        a = X[..., rows, :]
        masks = None if masks_of is None else masks_of(params, count, rows.start, a.shape[-2], xp)
        outputs.append(propagate(network, params, a, masks, xp)[2])
    return xp.concat(outputs, axis=-2)


def _given(z: Array, delta: Array, weight: Array | None, xp: Any) -> tuple[Array, Array]:
    """The head where the loss is known, and delta takes the place of Y."""
    return xp.zeros_like(delta[..., 0, 0]), delta


def _axis_of_samples(loss: Loss, params: Params, X: Array, Y: Array, xp: Any) -> int:
    """Return the axis of Y that is the samples', as `losses.targets` has it: -1 if Y is flat or labels, else -2."""
    z_but_last = (*(params[0][0].shape[:-2] or X.shape[:-2]), X.shape[-2])
    labels = loss.name == "cross_entropy" and xp.isdtype(Y.dtype, "integral") and tuple(Y.shape) == z_but_last
    return -1 if labels or Y.ndim == 1 else -2


def _shares(weight: Array | None, n_samples: int, like: Array, xp: Any) -> Array:
    """Return the weights by which a mean over samples is a sum: w / sum(w)."""
    if weight is None:
        return xp.full((n_samples,), 1.0 / n_samples, dtype=like.dtype, device=device(like))
    weight = xp.astype(weight, like.dtype)
    return weight / xp.maximum(xp.sum(weight, axis=-1, keepdims=True), TINY)


def _added(value: Array, grads: Params, more: Array, more_grads: Params) -> tuple[Array, Params]:
    """Return both sums; `grads` are changed where a library can."""
    layers = zip(grads, more_grads, strict=True)
    return value + more, tuple((_plus(dW, mW), None if db is None else _plus(db, mb)) for (dW, db), (mW, mb) in layers)


def _masks(network: Network, rate: float, seed: int) -> Masks | None:
    """Return a function (params, count, first_row, n_rows, xp) -> the hidden layers' masks, if any are dropped."""
    if not rate:
        return None
    keys = [_dropout.layer_key(seed, layer) for layer in range(network.n_layers - 1)]

    def masks(params: Params, count: Array | None, first_row: Any, n_rows: int, xp: Any) -> list[Array] | None:
        if count is None:
            return None
        return [
            _dropout.mask(key, count, (n_rows, W.shape[-1]), rate=rate, like=W, xp=xp, first_row=first_row)
            for key, (W, _) in zip(keys, params, strict=False)
        ]

    return masks


def _per_batch(l2: float, weight: Array | None, X: Array, xp: Any) -> Any:
    """Return l2 over the batch's sum of weights, or number of samples; 0 for a batch that has no weight."""
    if weight is None:
        return l2 / X.shape[-2]
    total = xp.sum(weight, axis=-1)
    return l2 * xp.astype(total != 0.0, total.dtype) / divisor(total, xp)


def divisor(total: Array, xp: Any) -> Array:
    """Return the sum of weights, or 1 in place of 0, so that a batch without any weight counts for nothing."""
    return total + xp.astype(total == 0.0, total.dtype)


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
            if tuple(weight.shape[-1:]) != (z.shape[-2],) or len(weight.shape) >= len(z.shape):
                raise InputError(f"weight must be (n_samples,), a number a row of {z.shape}, not {weight.shape}")
            weight = xp.astype(weight[..., None], z.dtype)
            if mean:
                weight = weight / xp.maximum(xp.sum(weight, axis=-2, keepdims=True), TINY)
            value, delta = value * weight, delta * weight
        elif mean:
            scale /= z.shape[-2]
        value = xp.sum(value, axis=(-2, -1))
        return (value, delta) if scale == 1.0 else (value * scale, delta * scale)  # delta may be Y, of the user's loss

    return head


def clip(grads: Params, norm: float, xp: Any) -> Params:
    """Return the gradients times `clip_factor`."""
    factor = clip_factor(grads, norm, xp)
    return tuple((dW * factor, None if db is None else db * factor) for dW, db in grads)


def clip_factor(grads: Params, norm: float, xp: Any) -> Array:
    """Return min(1, norm / the gradients' Euclidean norm over all parameters of a model), (..., 1, 1)."""
    square = sum(xp.sum(g * g, axis=(-2, -1), keepdims=True) for layer in grads for g in layer if g is not None)
    return norm / xp.maximum(xp.sqrt(square), norm)


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
