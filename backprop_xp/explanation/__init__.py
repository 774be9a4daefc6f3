"""The chain rule with a network's own numbers: where each weight's gradient comes from, and the update it makes."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backprop_xp import backends, loops
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import InputError, lookup
from backprop_xp.explanation import text
from backprop_xp.explanation.findings import Finding, found_in
from backprop_xp.explanation.terms import Floats, Terms, UnitTerms, WeightTerms, terms_of
from backprop_xp.explanation.updates import Updates
from backprop_xp.losses import LOSSES, TINY, Loss, targets
from backprop_xp.namespaces import NUMPY
from backprop_xp.network import Network, Params, forward, init
from backprop_xp.optimizers import OPTIMIZERS, Multipliers, Optimizer, OptimizerState, sgd
from backprop_xp.step import clip_factor, make_gradient, make_step
from backprop_xp.training_data import prepared

# Up to so many products of a sample with a weight the scalar loops are run beside: some seconds.
_LOOPS = 2_000_000


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns.

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
    loss : Loss
    value : float
        Of the loss, the penalty included.
    X, Y : array (n_samples, n_features), (n_samples, n_outputs)
    outputs : list of array (n_samples, width)
        Of every layer, X first.
    layers : tuple of Terms
    gradient : tuple of (dW, db)
        Of the loss, over all samples, without the penalty.
    shares : array (n_samples,)
        What each sample's loss counts.
    updates : Updates
        What the optimizer is given and makes of it.
    first_row : int
        The number of X's first row, for a reader.
    """

    network: Network
    params: Params
    loss: Loss
    value: float
    X: Floats
    Y: Floats
    outputs: list[Floats]
    layers: tuple[Terms, ...]
    gradient: Params
    shares: Floats
    updates: Updates
    first_row: int = 1

    def weight(self, layer: int, unit: int, source: int | None) -> WeightTerms:
        """Return the chain rule of a weight into a unit of a layer; all count from 1, and the source None is the bias.

        Raises
        ------
        InputError
            If there is no such weight.
        """
        terms, k, j, i = self._found(layer, unit, source)
        leaf: Any = self.gradient[k][0 if source is not None else 1]
        shared = source is None and self.network.bias == "shared"
        third = np.ones(len(self.X)) if source is None else terms.third[:, i]
        products = self.products(layer, unit, source)
        place = self._place(unit, source)
        none = np.empty(0)
        return WeightTerms(
            name=self.name(layer, unit, source),
            layer=layer,
            unit=unit,
            source=source,
            first=none if shared else terms.first[:, j],
            second=none if shared else terms.second[:, j],
            third=none if shared else third,
            products=products,
            gradient=float(products.sum()),
            matrix=float(leaf[place]),
            loop=self._of_loops(k, source is None, place),
            difference=self.difference(k, source is None, place),
            update=self.updates.of_weight(self.params, self.gradient, k, source is None, place),
            folded=terms.folded,
            first_row=self.first_row,
        )

    def products(self, layer: int, unit: int, source: int | None) -> Floats:
        """Return each sample's part (n_samples,) of a weight's gradient: the product of its terms."""
        delta, third = self.layers[layer - 1].delta, self.layers[layer - 1].third
        if source is None and self.network.bias == "shared":
            return np.asarray(delta.sum(axis=1))
        return np.asarray(delta[:, unit - 1] * (1.0 if source is None else third[:, source - 1]))

    def name(self, layer: int, unit: int, source: int | None) -> str:
        """Return what a weight is called."""
        if source is None and self.network.bias == "shared":
            return f"layer {layer}, shared bias"
        return f"layer {layer}, unit {unit}, {'bias' if source is None else f'from {source}'}"

    def unit(self, layer: int, unit: int) -> UnitTerms:
        """Return a unit's numbers; layer and unit count from 1.

        Raises
        ------
        InputError
            If there is no such unit.
        """
        terms, k, j, _ = self._found(layer, unit, None, of_unit=True)
        last = k == self.network.n_layers - 1
        return UnitTerms(
            name=f"layer {layer}, unit {unit}",
            layer=layer,
            unit=unit,
            output=self.outputs[layer][:, j],
            first=terms.first[:, j],
            second=terms.second[:, j],
            delta=terms.delta[:, j],
            weights_onward=np.empty(0) if last else self.params[k + 1][0][j],
            deltas_onward=np.empty((len(self.X), 0)) if last else self.layers[k + 1].delta,
            first_row=self.first_row,
        )

    def weights(self) -> Iterator[tuple[int, int, int | None]]:
        """Yield (layer, unit, source) of every weight, and of the biases with None; a shared bias is unit 1's."""
        for layer, (n_in, n_out) in enumerate(zip(self.network.widths, self.network.widths[1:], strict=False), start=1):
            for unit in range(1, n_out + 1):
                yield from ((layer, unit, source) for source in range(1, n_in + 1))
            if self.network.bias:
                yield from ((layer, unit, None) for unit in range(1, 2 if self.network.bias == "shared" else n_out + 1))

    def findings(self) -> list[Finding]:
        """Return what is worth a look: the largest gradients, dead and saturated units, layers where they vanish."""
        return found_in(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a weight: layer, unit, source (None: the bias), w, gradient, given (to the optimizer), after."""
        return [
            {
                "layer": layer,
                "unit": unit,
                "source": source,
                "w": at(self.params),
                "gradient": at(self.gradient),
                "given": at(self.updates.given),
                "after": at(self.updates.params),
            }
            for layer, unit, source in self.weights()
            for at in [_at(layer - 1, source is None, self._place(unit, source))]
        ]

    def to_frame(self) -> Any:
        """Return `rows` as a pandas data frame.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise InputError("a data frame needs pandas: pip install pandas; rows() gives the same as a list") from None
        return pandas.DataFrame(self.rows())

    def described(self) -> dict[str, Any]:
        """Return network, loss and optimizer as JSON values."""
        rule = self.updates.optimizer
        return {
            "network": {
                "widths": list(self.network.widths),
                "activations": [activation.value.__name__ for activation in self.network.activations],
                "bias": self.network.bias,
            },
            "loss": self.loss.name,
            "optimizer": {"name": rule.name, **{name: float(value) for name, value in rule.settings}},
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as numbers, lists and texts that `json` can write; arrays row by row."""
        return {
            **self.described(),
            "value": self.value,
            "X": self.X.tolist(),
            "Y": self.Y.tolist(),
            "outputs": [a.tolist() for a in self.outputs],
            "layers": [
                {
                    "first": terms.first.tolist(),
                    "second": terms.second.tolist(),
                    "third": terms.third.tolist(),
                    "delta": terms.delta.tolist(),
                    "folded": terms.folded,
                }
                for terms in self.layers
            ],
            "weights": self.rows(),
            "learning_rate": float(self.updates.state_after.learning_rate),
            "updates": int(self.updates.state_after.count),
            "findings": [finding._asdict() for finding in self.findings()],
        }

    def __str__(self) -> str:
        """Return the summary as text."""
        return text.summary(self)

    def _place(self, unit: int, source: int | None) -> tuple[int, int]:
        if source is not None:
            return source - 1, unit - 1
        return 0, 0 if self.network.bias == "shared" else unit - 1

    def _found(
        self, layer: int, unit: int, source: int | None, *, of_unit: bool = False
    ) -> tuple[Terms, int, int, int]:
        widths = self.network.widths
        if not 1 <= layer <= self.network.n_layers:
            raise InputError(f"there are layers 1 to {self.network.n_layers}, and no layer {layer}")
        if not 1 <= unit <= widths[layer]:
            raise InputError(f"layer {layer} has units 1 to {widths[layer]}, and no unit {unit}")
        if source is not None and not 1 <= source <= widths[layer - 1]:
            raise InputError(f"weights of layer {layer} come from 1 to {widths[layer - 1]}, and none from {source}")
        if source is None and not of_unit and not self.network.bias:
            raise InputError("this network has no bias")
        return self.layers[layer - 1], layer - 1, unit - 1, (source or 1) - 1

    @cached_property
    def loops(self) -> Any:
        """The scalar loops' gradients, [(dW, db), ...] as lists; None where they don't know it, or would take long."""
        n_weights = sum(W.size for W, _ in self.params)
        known = self.loss is LOSSES.get(self.loss.name)
        alike = np.allclose(self.shares, _shares(self.loss, None, len(self.X)), rtol=1e-12, atol=0.0)
        if not known or not alike or n_weights * len(self.X) > _LOOPS:
            return None
        params = [(W.tolist(), None if b is None else b.ravel().tolist()) for W, b in self.params]
        try:
            labels = self.Y.argmax(axis=1).tolist() if self.loss.name == "cross_entropy" else self.Y.tolist()
            if self.loss.name == "cross_entropy" and not np.array_equal(np.eye(self.Y.shape[1])[labels], self.Y):
                return None
            return loops.gradient(self.network, params, self.X.tolist(), labels, self.loss.name)[1]
        except InputError:
            return None

    def _of_loops(self, k: int, bias: bool, place: tuple[int, int]) -> float | None:
        if self.loops is None:
            return None
        dW, db = self.loops[k]
        return float(db[place[1]] if bias else dW[place[0]][place[1]])

    def difference(self, k: int, bias: bool, place: tuple[int, int]) -> float:
        """Return (E(w + h) - E(w - h)) / 2h of a weight; layer and place count from 0."""
        value = make_gradient(self.network, self.loss._replace(over_samples="sum"))
        leaf = self.params[k][1 if bias else 0]
        assert leaf is not None
        h = np.finfo(np.float64).eps ** (1 / 3) * max(1.0, abs(float(leaf[place])))
        values = []
        for sign in (1, -1):
            moved = leaf.copy()
            moved[place] += sign * h
            W, b = self.params[k]
            params = (*self.params[:k], (W, moved) if bias else (moved, b), *self.params[k + 1 :])
            values.append(float(value(params, self.X, self.Y, self.shares)[0]))
        return (values[0] - values[1]) / (2 * h)


def explain(
    network: Network,
    params: Params,
    X: Any,
    Y: Any,
    loss: str | Loss,
    *,
    optimizer: str | Optimizer | None = None,
    opt_state: OptimizerState | None = None,
    sample_weight: Any = None,
    l2: float = 0.0,
    l2_per_batch: bool = False,
    clip_norm: float | None = None,
    multipliers: Multipliers | None = None,
    first_row: int = 1,
) -> Explanation:
    """Take the gradient of every weight apart into its terms, and show the update that it makes.

    Everything is computed on the host in float64, wherever the arrays lie.

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
    X : array (n_samples, n_features)
    Y : array
        As for `make_step`.
    loss : str or Loss
    optimizer : Optimizer or str, default sgd()
    opt_state : OptimizerState, optional
        Default: that before the first update.
    sample_weight : array (n_samples,), optional
    l2, l2_per_batch, clip_norm, multipliers
        See `make_step`.
    first_row : int
        The number that X's first row has for a reader.

    Raises
    ------
    InputError
        If arrays, network and loss do not fit each other.

    Examples
    --------
    >>> import numpy as np, backprop_xp as bx
    >>> net = bx.Network((2, 2, 1), activation="sigmoid", output="sigmoid")
    >>> X, Y = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.asarray([0.0, 1, 1, 0])
    >>> it = bx.explain(net, bx.init(net), X, Y, "half_squared_error", optimizer=bx.sgd(0.1))
    >>> weight = it.weight(layer=2, unit=1, source=1)
    >>> bool(abs(weight.gradient - weight.matrix) < 1e-15)
    True
    """
    loss = lookup("loss", loss, LOSSES) if isinstance(loss, str) else loss
    optimizer = lookup("optimizer", optimizer, OPTIMIZERS)() if isinstance(optimizer, str) else optimizer or sgd()
    params = init(network, initializer=_on_host(params))
    if any(W.ndim != 2 for W, _ in params):
        raise InputError("explain takes one network, without leading axes")
    data = prepared(network, loss, X, Y, sample_weight, "the data")
    X = backends.to_host(data.X).astype(np.float64)
    weight = None if data.weight is None else backends.to_host(data.weight).astype(np.float64)
    outputs = forward(network, params, X)
    Y = targets(loss, backends.to_host(data.Y), outputs[-1], NUMPY)
    shares = _shares(loss, weight, len(X))
    first = optimizer.init(params)
    state = first if opt_state is None else _state_on_host(opt_state)
    if [np.shape(leaf) for leaf in leaves(state)] != [np.shape(leaf) for leaf in leaves(first)]:
        raise InputError(f"opt_state is not one of this network and of {optimizer.name}")
    step = make_step(
        network, loss, optimizer, l2=l2, l2_per_batch=l2_per_batch, clip_norm=clip_norm, multipliers=multipliers
    )
    _, whole = make_gradient(network, loss, l2=l2, l2_per_batch=l2_per_batch)(params, X, Y, weight)
    given: list[Params] = []

    def seen(grads: Params) -> Params:
        given.append(grads)
        return grads

    after, state_after, value = step.between(seen)(params, state, X, Y, weight)
    penalty = float(l2 / (len(X) if weight is None else weight.sum()) if l2_per_batch else l2)
    clipping = 1.0 if clip_norm is None else float(clip_factor(whole, clip_norm, NUMPY)[0, 0])
    return Explanation(
        network, params, loss, float(value), X, Y, outputs,
        terms_of(network, params, loss, X, Y, shares),
        make_gradient(network, loss)(params, X, Y, weight)[1],
        shares,
        Updates(optimizer, given[0], after, state, state_after, penalty, clipping, multipliers),
        first_row,
    )  # fmt: skip


def _shares(loss: Loss, weight: Floats | None, n_samples: int) -> Floats:
    """Return what each sample's loss counts: a mean over samples is a sum by weights that sum to 1."""
    weight = np.ones(n_samples) if weight is None else weight
    return weight / max(float(weight.sum()), TINY) if loss.over_samples == "mean" else weight


def _at(layer: int, bias: bool, place: tuple[int, int]) -> Callable[[Any], float]:
    return lambda tree: float(tree[layer][1 if bias else 0][place])


def _on_host(params: Params) -> list[tuple[Any, Any]]:
    return [(backends.to_host(W), None if b is None else backends.to_host(b)) for W, b in params]


def _state_on_host(state: OptimizerState) -> OptimizerState:
    def host(leaf: Any) -> Any:
        array = np.asarray(backends.to_host(leaf))
        return array if array.dtype.kind == "i" else array.astype(np.float64)

    moments = tuple((tuple(map(host, of_W)), tuple(map(host, of_b))) for of_W, of_b in state.moments)
    return OptimizerState(host(state.count), host(state.learning_rate), moments)
