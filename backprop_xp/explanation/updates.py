"""What an optimizer makes of one weight's gradient, as statements with their numbers.

The numbers before and after are the optimizer's own; the statements say how one comes from the other, and a test
evaluates them.
"""

from dataclasses import dataclass
from typing import Any

from backprop_xp.network import Params
from backprop_xp.optimizers import Multipliers, Optimizer, OptimizerState

Statement = tuple[str, str]

# Each rule of `optimizers` as assignments, one after the other, of Python's syntax; t counts the updates, this one too.
_ADAM_M = ("m", "beta_1 * m + (1 - beta_1) * g")
_ADAM_V = ("v", "beta_2 * v + (1 - beta_2) * g**2")
_ADAM_W = "w - lr * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)"
_STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "sgd": (("w", "w - lr * g"),),
    "momentum": (("m", "momentum * m - lr * g"), ("w", "w + m")),
    "nesterov": (("m", "momentum * m - lr * g"), ("w", "w + momentum * m - lr * g")),
    "rmsprop": (("v", "decay * v + (1 - decay) * g**2"), ("w", "w - lr * g / (sqrt(v) + epsilon)")),
    "adam": (_ADAM_M, _ADAM_V, ("w", _ADAM_W)),
    "adamw": (_ADAM_M, _ADAM_V, ("w", f"w - lr * weight_decay * w{_ADAM_W.removeprefix('w')}")),
}
_MOMENTS = {"sgd": "", "momentum": "m", "nesterov": "m", "rmsprop": "v", "adam": "mv", "adamw": "mv"}


@dataclass(frozen=True)
class Update:
    """One weight's update.

    Parameters
    ----------
    statements : tuple of (name, expression)
        Assignments one after the other, in Python's syntax.
    before : dict of str to float
        What the names stand for before the first: w, dE (the loss's gradient), l2, clip, lr, the optimizer's settings
        and its moments.
    after : dict of str to float
        What the optimizer made: g, the moments, w.
    """

    statements: tuple[Statement, ...]
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class Updates:
    """A whole step's updates.

    Parameters
    ----------
    optimizer : Optimizer
    given : tuple of (dW, db)
        The gradients as the optimizer is given them, penalty and clipping included.
    params : tuple of (W, b)
        After the step.
    state, state_after : OptimizerState
    l2 : float
        The penalty's factor of the weights.
    clip : float
        The factor by which all gradients were scaled down; 1 where they were not.
    multipliers : sequence of (float, float), optional
    """

    optimizer: Optimizer
    given: Params
    params: Params
    state: OptimizerState
    state_after: OptimizerState
    l2: float
    clip: float
    multipliers: Multipliers | None

    def is_fixed(self, layer: int, bias: bool) -> bool:
        """Tell whether a layer's W (or b) is not trained; the layer counts from 0."""
        return self.multipliers is not None and not self.multipliers[layer][1 if bias else 0]

    def moments(self, state: OptimizerState, layer: int, bias: bool) -> dict[str, Any]:
        """Return a state's moments of a layer's W (or b) by their letters in the statements; the layer from 0."""
        name, settings, leaf = self.optimizer.name, dict(self.optimizer.settings), 1 if bias else 0
        found = {}
        for letter, values in zip(_MOMENTS.get(name, ""), state.moments[layer][leaf], strict=False):
            # Adam's state holds its moments without their constant factors.
            scale = 1.0 - settings[{"m": "beta_1", "v": "beta_2"}[letter]] if name.startswith("adam") else 1.0
            found[letter] = scale * values
        return found

    def of_weight(self, params: Params, gradient: Params, layer: int, bias: bool, place: tuple[int, int]) -> Update:
        """Return the update of one weight.

        Parameters
        ----------
        params : tuple of (W, b)
            Before the step.
        gradient : tuple of (dW, db)
            Of the loss alone.
        layer : int
            From 0.
        bias : bool
        place : (int, int)
            Within the layer's W, or its b.
        """
        leaf = 1 if bias else 0

        def at(tree: Any) -> float:
            return float(tree[layer][leaf][place])

        name, settings = self.optimizer.name, dict(self.optimizer.settings)
        factor = 1.0 if self.multipliers is None else float(self.multipliers[layer][leaf])
        rate = float(self.state_after.learning_rate)
        before = {
            "w": at(params), "dE": at(gradient), "l2": 0.0 if bias else self.l2, "clip": self.clip,
            "lr": rate * factor, **settings,
        }  # fmt: skip
        after = {"g": at(self.given)}
        if not factor or name not in _STATEMENTS:
            frozen = () if factor else (("w", "w"),)
            return Update((_gradient(before["l2"], self.clip), *frozen), before, {**after, "w": at(self.params)})
        if name.startswith("adam"):
            before["t"] = float(self.state_after.count)
        if bias and "weight_decay" in before:
            before["weight_decay"] = 0.0
        for found, state in ((before, self.state), (after, self.state_after)):
            found |= {moment: float(values[place]) for moment, values in self.moments(state, layer, bias).items()}
        return Update((_gradient(before["l2"], self.clip), *_STATEMENTS[name]), before, {**after, "w": at(self.params)})


def _gradient(l2: float, clip: float) -> Statement:
    """Return how the optimizer's gradient comes from the loss's, without what changes nothing."""
    penalised = "dE + l2 * w" if l2 else "dE"
    if clip == 1.0:
        return "g", penalised
    return "g", f"clip * ({penalised})" if l2 else "clip * dE"
