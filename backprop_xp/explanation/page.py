"""One self-contained page on a run: the network, its chain rule at every kept step, its curves."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_xp.explanation import Explanation
from backprop_xp.explanation.recording import Recording, surface
from backprop_xp.network import Params
from backprop_xp.optimizers import OptimizerState
from backprop_xp.pages import page

MAX_WEIGHTS = 250_000
# The loss curve's points, and a side of the decision surface.
_POINTS, _GRID = 400, 28
# Up to so many weights every one has its central difference, and up to so many its numbers in float64.
_DIFFERENCES, _DOUBLES = 300, 2_000
_BYTES = 8 * 2**20  # of the weights of all frames

Kind = Literal["f8", "f4"]


def n_frames(n_weights: int, n_moments: int) -> int:
    """Return how many frames a page holds of a network of so many weights."""
    size = n_weights * (6 + 2 * n_moments) * (8 if n_weights <= _DOUBLES else 4) * 4 // 3
    return max(3, min(121, _BYTES // size))


def written(title: str, recordings: Sequence[Recording]) -> str:
    """Return the page as HTML that loads nothing.

    Parameters
    ----------
    title : str
    recordings : sequence of Recording
        Runs of one network and optimizer by different learning rates.
    """
    # "</" would end the script that the data stand in, and "<!--" keep it from its end.
    data = json.dumps(contents(title, recordings), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page("explanation", title, data=data)


def contents(title: str, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Return what the page shows, as JSON can hold it: arrays as base64 of their bytes, row by row."""
    first = recordings[0].explanations[0]
    kind: Kind = "f8" if sum(W.size for W, _ in first.params) <= _DOUBLES else "f4"
    low, high = _bounds(first)
    forms: list[Any] = []
    return {
        "title": title,
        **first.described(),
        "note": recordings[0].note,
        "over_samples": first.loss.over_samples,
        "features": recordings[0].features,
        "classes": recordings[0].classes,
        "kind": kind,
        "n_rows": len(first.X),
        "X": _packed(first.X, kind),
        "Y": _packed(first.Y, kind),
        "first_row": first.first_row,
        "folded": first.layers[-1].folded,
        "fixed": [[first.updates.is_fixed(k, bias) for bias in (False, True)] for k in range(first.network.n_layers)],
        "bounds": [low, high] if _has_surface(first) else None,
        "grid": _GRID,
        "runs": [
            {
                "learning_rate": each.learning_rate,
                "losses": _thinned(each.at, each.losses),
                "held_losses": None if each.held_losses is None else _thinned(each.at, each.held_losses),
                "frames": [
                    _frame(step, it, kind, forms) | ({} if each.epochs is None else {"epoch": each.epochs[k]})
                    for k, (step, it) in enumerate(zip(each.steps, each.explanations, strict=True))
                ],
            }
            for each in recordings
        ],
        "forms": forms,
    }


def _frame(step: int, it: Explanation, kind: Kind, forms: list[Any]) -> dict[str, Any]:
    """Return what is shown of a step; the forms of updates that it is the first to have are added to `forms`."""
    frame: dict[str, Any] = {
        "step": step,
        "value": it.value,
        "learning_rate": float(it.updates.state_after.learning_rate),
        "outputs": [_packed(a, kind) for a in it.outputs[1:]],
        "layers": [
            {name: _packed(getattr(terms, name), kind) for name in ("first", "second", "delta")} for terms in it.layers
        ],
        "weights": {name: _packed(values, kind) for name, values in _of_weights(it, kind).items()},
        "updates": [[_form(it, k, bias, forms) for bias in (False, True)] for k in range(it.network.n_layers)],
        "findings": [finding._asdict() for finding in it.findings()],
    }
    if _has_surface(it):
        shades = np.clip(surface(it, *_bounds(it), _GRID) * 255, 0, 255).round().astype(np.uint8)
        frame["surface"] = base64.b64encode(shades.tobytes()).decode()
    return frame


def _of_weights(it: Explanation, kind: Kind) -> dict[str, NDArray[np.float64]]:
    """Return every number that a weight has, as arrays over all weights; what says nothing new is left out."""
    updates, places = it.updates, list(it.weights())
    matrix, given = _flat(it.gradient), _flat(updates.given)
    found = {"w": _flat(it.params), "gradient": _sums(it), "matrix": matrix, "after": _flat(updates.params)}
    if not np.array_equal(given, matrix):
        found["given"] = given
    if kind == "f4":  # in which it would be lost beside the weight
        found["moved"] = found["after"] - found["w"]
    if it.loops is not None:
        found["loop"] = _flat([(np.array(dW), None if db is None else np.array([db])) for dW, db in it.loops])
    if len(places) <= _DIFFERENCES:
        found["difference"] = np.array([_difference(it, *place) for place in places])
    for when, state in (("before", updates.state), ("after", updates.state_after)):
        found |= {f"{letter} {when}": values for letter, values in _moments(it, state).items()}
    return found


def _flat(leaves: Params | Sequence[tuple[Any, Any]]) -> NDArray[np.float64]:
    """Return (n_weights,): by layer, then by unit the weights into it, then the layer's biases."""
    return np.concatenate([part for W, b in leaves for part in (W.T.ravel(), np.empty(0) if b is None else b.ravel())])


def _sums(it: Explanation) -> NDArray[np.float64]:
    """Return every weight's gradient as the sum of its products over samples."""
    parts = []
    for k, terms in enumerate(it.layers):
        products = terms.delta.T[:, None, :] * terms.third.T[None, :, :]
        parts.append(np.ascontiguousarray(products).sum(axis=-1).ravel())
        if it.network.bias:
            units = 1 if it.network.bias == "shared" else it.network.widths[k + 1]
            parts.append(np.array([it.products(k + 1, unit, None).sum() for unit in range(1, units + 1)]))
    return np.concatenate(parts)


def _difference(it: Explanation, layer: int, unit: int, source: int | None) -> float:
    column = 0 if source is None and it.network.bias == "shared" else unit - 1
    return it.difference(layer - 1, source is None, (0 if source is None else source - 1, column))


def _moments(it: Explanation, state: OptimizerState) -> dict[str, NDArray[np.float64]]:
    by_leaf = [
        (it.updates.moments(state, k, bias=False), it.updates.moments(state, k, bias=True))
        for k in range(it.network.n_layers)
    ]
    return {letter: _flat([(of_W[letter], of_b.get(letter)) for of_W, of_b in by_leaf]) for letter in by_leaf[0][0]}


def _form(it: Explanation, layer: int, bias: bool, forms: list[Any]) -> list[Any]:
    """Return [which of the forms a leaf's updates have, what their names stand for but what each weight has itself]."""
    if bias and it.params[layer][1] is None:
        return [0, {}]
    update = it.updates.of_weight(it.params, it.gradient, layer, bias, (0, 0))
    form = [list(statement) for statement in update.statements]
    if form not in forms:
        forms.append(form)
    known = {name: value for name, value in update.before.items() if name not in ("w", "dE", "m", "v")}
    return [forms.index(form), known]


def _packed(values: NDArray[Any], kind: Kind) -> str:
    """Return an array as base64.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return base64.b64encode(np.ascontiguousarray(values, f"<{kind}").tobytes()).decode()


def _has_surface(it: Explanation) -> bool:
    """Tell whether there are two inputs, and outputs from 0 to 1."""
    return it.network.widths[0] == 2 and it.network.output in ("sigmoid", "softmax")


def _bounds(it: Explanation) -> tuple[list[float], list[float]]:
    """Return the corners of the decision surface: the data, with a quarter of their range around."""
    low, high = it.X.min(axis=0), it.X.max(axis=0)
    room = 0.25 * np.maximum(high - low, 1.0)
    return (low - room).tolist(), (high + room).tolist()


def _thinned(at: NDArray[Any], losses: NDArray[Any]) -> list[list[float]]:
    """Return [step, loss] of at most so many points."""
    places = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), _POINTS)).round().astype(int))
    return [[int(at[place]), float(losses[place])] for place in places]
