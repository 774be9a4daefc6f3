"""The training step as the textbook's scalar loops: over samples, layers, units and weights, on plain nested lists.

The oracle of the tests and the slow side of the benchmark. The functions from `forward` to `move` hold the
arithmetic: they only index and assign, into lists made once a step, so that a compiler can take them as they are.
A bias of one number is shared by its layer's units, which `b[j % len(b)]` reads in both cases.
"""

from collections.abc import Collection, Sequence
from math import exp, log, tanh
from typing import Any

from backprop_xp.errors import InputError
from backprop_xp.network import Network

Vector = list[float]
Matrix = list[Vector]
Params = Sequence[tuple[Matrix, Vector | None]]

IDENTITY, SIGMOID, TANH, RELU, SOFTMAX = range(5)
ACTIVATIONS = {"identity": IDENTITY, "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "softmax": SOFTMAX}
LOSSES = ("half_squared_error", "squared_error", "cross_entropy")

EXP_MAX = 88.0  # where the core's sigmoid stops as well


def step(
    network: Network, params: Params, X: Matrix, Y: Sequence[Any], loss: str, learning_rate: float
) -> tuple[Params, float]:
    """Return the parameters after one step of gradient descent on all samples, w - learning_rate dE/dw, and E before.

    Parameters
    ----------
    network : Network
    params : for each layer (W, b)
        W n_in lists of n_out numbers; b a list of n_out numbers, of one when shared, or None. Left as they are.
    X : n_samples lists of n_features numbers
    Y : n_samples lists of n_outputs numbers, or numbers for one output; integer labels for cross_entropy
    loss : "half_squared_error", "squared_error" or "cross_entropy"
        Summed or averaged as `backprop_xp.losses` says.
    learning_rate : float

    Raises
    ------
    InputError
        If the loops don't know an activation or the loss, the loss is not defined on the network's output, or X or Y
        does not fit the network.

    Examples
    --------
    >>> from backprop_xp import Network
    >>> params = [([[0.0], [0.0]], [0.0])]
    >>> X, Y = [[0.0, 1.0], [1.0, 1.0]], [0.0, 1.0]
    >>> step(Network((2, 1), output="sigmoid"), params, X, Y, "half_squared_error", 0.5)
    ([([[0.0625], [0.0]], [0.0])], 0.25)
    """
    value, grads = gradient(network, params, X, Y, loss)
    params = [([row[:] for row in W], None if b is None else b[:]) for W, b in params]
    descend(params, grads, learning_rate)
    return params, value


def gradient(network: Network, params: Params, X: Matrix, Y: Sequence[Any], loss: str) -> tuple[float, Params]:
    """Return the loss over all samples and its gradient, in the shape of `params`; the arguments are `step`'s."""
    kinds, scale = _kinds(network), _scale(network, loss, len(X))
    z, a, delta = ([[0.0] * width for width in network.widths] for _ in range(3))
    grads = [([[0.0] * len(row) for row in W], None if b is None else [0.0] * len(b)) for W, b in params]
    value = 0.0
    for x, y in zip(X, _targets(Y, loss, network.widths[-1]), strict=True):
        if len(x) != network.widths[0]:
            raise InputError(f"each row of X must have {network.widths[0]} numbers, not {len(x)}")
        a[0] = x
        forward(params, kinds, z, a)
        value += output_delta(loss == "cross_entropy", kinds[-1], z[-1], a[-1], y, scale, delta[-1])
        backward(params, kinds, a, delta, grads)
    return value, grads


def forward(params: Params, kinds: Sequence[int], z: Matrix, a: Matrix) -> None:
    """Fill in one sample's layers from its inputs a[0]: z_l = a_{l-1} W_l + b_l, a_l = f_l(z_l).

    Parameters
    ----------
    params : for each layer (W, b)
    kinds : for each layer the number of its activation
    z, a : for the input and each layer its units' numbers, before and after the activation
    """
    for layer in range(len(params)):
        W, b = params[layer]
        weighted_sums(a[layer], W, b, z[layer + 1])
        activate(kinds[layer], z[layer + 1], a[layer + 1])


def weighted_sums(a: Vector, W: Matrix, b: Vector | None, z: Vector) -> None:
    """z_j = b_j + sum_i a_i W_ij."""
    for j in range(len(z)):
        z[j] = 0.0 if b is None else b[j % len(b)]
    for i in range(len(a)):
        a_i, row = a[i], W[i]
        for j in range(len(z)):
            z[j] += a_i * row[j]


def activate(kind: int, z: Vector, a: Vector) -> None:
    """a_j = f(z_j)."""
    if kind == SOFTMAX:
        softmax(z, a)
        return
    for j in range(len(z)):
        z_j = z[j]
        if kind == SIGMOID:
            a[j] = 1.0 / (1.0 + exp(EXP_MAX if z_j < -EXP_MAX else -z_j))
        elif kind == TANH:
            a[j] = tanh(z_j)
        elif kind == RELU and z_j < 0.0:
            a[j] = 0.0
        else:
            a[j] = z_j


def softmax(z: Vector, a: Vector) -> None:
    """a_j = exp(z_j) / sum_k exp(z_k), shifted by the largest z so that nothing overflows."""
    top, total = z[largest(z)], 0.0
    for j in range(len(z)):
        a[j] = exp(z[j] - top)
        total += a[j]
    for j in range(len(z)):
        a[j] /= total


def largest(z: Vector) -> int:
    """Return where the largest number stands."""
    top = 0
    for j in range(1, len(z)):
        if z[j] > z[top]:
            top = j
    return top


def output_delta(cross_entropy: bool, kind: int, z: Vector, P: Vector, y: Vector, scale: float, delta: Vector) -> float:
    """Fill in delta_j = dE/dz_j of one sample's outputs and return its share of E.

    Parameters
    ----------
    cross_entropy : bool
        E = -sum_j y_j log P_j if true, else sum_j (P_j - y_j)^2 / 2, in both cases times `scale`.
    kind : int
        The number of the output's activation.
    z, P, y : n_outputs numbers
        The outputs before and after the activation, and what they should be.
    scale : float
    delta : n_outputs numbers
    """
    if cross_entropy:
        return softmax_cross_entropy(z, P, y, scale, delta)
    value = 0.0
    for j in range(len(P)):
        error = P[j] - y[j]
        value += 0.5 * error * error
        delta[j] = scale * error
    times_derivative(kind, P, delta)
    return scale * value


def softmax_cross_entropy(z: Vector, P: Vector, y: Vector, scale: float, delta: Vector) -> float:
    """delta_j = P_j - y_j: the two derivatives' product, for y that sum to 1.

    -log P_j is taken as z_top - z_j - log P_top, which stays exact where P_j rounds to 0.
    """
    top, value = largest(z), 0.0
    for j in range(len(P)):
        value += y[j] * (z[top] - z[j] - log(P[top]))
        delta[j] = scale * (P[j] - y[j])
    return scale * value


def times_derivative(kind: int, a: Vector, delta: Vector) -> None:
    """delta_j = dE/da_j becomes dE/dz_j = dE/da_j f'(z_j), with f' from the unit's own output a_j."""
    if kind == SOFTMAX:  # every output depends on every z: dE/dz_j = a_j (dE/da_j - sum_k dE/da_k a_k)
        mean = 0.0
        for k in range(len(a)):
            mean += delta[k] * a[k]
        for j in range(len(a)):
            delta[j] = a[j] * (delta[j] - mean)
        return
    for j in range(len(a)):
        if kind == SIGMOID:
            delta[j] *= a[j] * (1.0 - a[j])
        elif kind == TANH:
            delta[j] *= 1.0 - a[j] * a[j]
        elif kind == RELU and not a[j] > 0.0:
            delta[j] = 0.0


def backward(params: Params, kinds: Sequence[int], a: Matrix, delta: Matrix, grads: Params) -> None:
    """Add one sample's gradient to `grads`, from the outputs' delta[-1] back to the first layer.

    Parameters
    ----------
    params, kinds, a : as in `forward`
    delta : for the input and each layer its units' dE/dz
    grads : for each layer (dW, db)
    """
    for layer in range(len(params) - 1, -1, -1):
        accumulate(a[layer], delta[layer + 1], grads[layer][0], grads[layer][1])
        if layer > 0:
            send_back(params[layer][0], delta[layer + 1], delta[layer])
            times_derivative(kinds[layer - 1], a[layer], delta[layer])


def accumulate(a: Vector, delta: Vector, dW: Matrix, db: Vector | None) -> None:
    """dW_ij += a_i delta_j and db_j += delta_j: one sample's share."""
    for i in range(len(a)):
        a_i, row = a[i], dW[i]
        for j in range(len(delta)):
            row[j] += a_i * delta[j]
    if db is not None:
        for j in range(len(delta)):
            db[j % len(db)] += delta[j]


def send_back(W: Matrix, delta: Vector, upstream: Vector) -> None:
    """dE/da_i = sum_j W_ij delta_j: what every unit's output did to the next layer."""
    for i in range(len(upstream)):
        row, total = W[i], 0.0
        for j in range(len(delta)):
            total += row[j] * delta[j]
        upstream[i] = total


def descend(params: Params, grads: Params, learning_rate: float) -> None:
    """Take one step down the gradient in every layer."""
    for layer in range(len(params)):
        W, b = params[layer]
        dW, db = grads[layer]
        move(W, b, dW, db, learning_rate)


def move(W: Matrix, b: Vector | None, dW: Matrix, db: Vector | None, learning_rate: float) -> None:
    """W_ij -= learning_rate dW_ij and b_j -= learning_rate db_j."""
    for i in range(len(W)):
        row, d_row = W[i], dW[i]
        for j in range(len(row)):
            row[j] -= learning_rate * d_row[j]
    if b is not None and db is not None:
        for j in range(len(b)):
            b[j] -= learning_rate * db[j]


def to_lists(params: Sequence[tuple[Any, Any]]) -> Params:
    """Return host arrays as nested lists, each b flat; `backprop_xp.init(network, initializer=lists)` leads back."""
    return [(W.tolist(), None if b is None else b[0, :].tolist()) for W, b in params]


def _kinds(network: Network) -> list[int]:
    """Return the number of every layer's activation."""
    hidden, n_hidden = network.activation, network.n_layers - 1
    names = [*((hidden,) * n_hidden if isinstance(hidden, str) else hidden), network.output]
    for name in names:
        _require("activation", name, ACTIVATIONS)
    return [ACTIVATIONS[name] for name in names]


def _scale(network: Network, loss: str, n_samples: int) -> float:
    """Return the factor between a sample's half squares, or its cross-entropy, and its share of the loss."""
    _require("loss", loss, LOSSES)
    if loss == "half_squared_error":
        return 1.0
    if loss == "squared_error":
        return 2.0 / (n_samples * network.widths[-1])
    if network.output != "softmax":
        raise InputError(f"cross_entropy needs output='softmax', not {network.output!r}")
    return 1.0 / n_samples


def _require(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise InputError(f"the loops know no {kind} {name!r}, only {', '.join(known)}; backprop_xp.make_step has more")


def _targets(Y: Sequence[Any], loss: str, n_outputs: int) -> Matrix:
    """Return a list of n_outputs numbers a sample: labels one-hot, a lone number as a list of one."""
    if loss == "cross_entropy":
        if not all(0 <= label < n_outputs for label in Y):
            raise InputError(f"labels must be from 0 to {n_outputs - 1}, one for each output")
        return [[1.0 if j == label else 0.0 for j in range(n_outputs)] for label in Y]
    rows = [y if isinstance(y, list) else [y] for y in Y]
    if any(len(y) != n_outputs for y in rows):
        raise InputError(f"each row of Y must have {n_outputs} numbers, one for each output")
    return rows
