"""One self-contained page on a recorded run: the network, its chain rule at every kept step, its curves."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from backprop_xp.explanation import Explanation
from backprop_xp.explanation.recording import Recording, surface
from backprop_xp.pages import page

# The loss curve's points, and a side of the decision surface.
_POINTS, _GRID = 400, 28


def written(title: str, recordings: Sequence[Recording]) -> str:
    """Return the page as HTML that loads nothing.

    Parameters
    ----------
    title : str
    recordings : sequence of Recording
        Runs of one system by different learning rates.
    """
    # "</" would end the script that the data stand in, and "<!--" keep it from its end.
    data = json.dumps(contents(title, recordings), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page("explanation", title, data=data)


def contents(title: str, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Return what the page shows, as JSON can hold it: the numbers of `Explanation.to_json`."""
    first = recordings[0].explanations[0]
    whole = first.to_json()
    low, high = _bounds(first)
    return {
        "title": title,
        "network": whole["network"],
        "loss": whole["loss"],
        "optimizer": whole["optimizer"],
        "places": [[row["layer"], row["unit"], row["source"]] for row in whole["weights"]],
        "X": whole["X"],
        "Y": whole["Y"],
        "first_row": first.first_row,
        "folded": first.layers[-1].folded,
        "fixed": [first.updates.is_fixed(row["layer"] - 1, row["source"] is None) for row in whole["weights"]],
        "bounds": [low, high] if _has_surface(first) else None,
        "grid": _GRID,
        "runs": [
            {
                "learning_rate": recording.learning_rate,
                "losses": _thinned(recording.losses),
                "frames": [
                    _frame(step, it, low, high)
                    for step, it in zip(recording.steps, recording.explanations, strict=True)
                ],
            }
            for recording in recordings
        ],
    }


def _frame(step: int, it: Explanation, low: list[float], high: list[float]) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "step": step,
        "value": it.value,
        "outputs": [a.tolist() for a in it.outputs[1:]],
        "layers": [
            {"first": terms.first.tolist(), "second": terms.second.tolist(), "delta": terms.delta.tolist()}
            for terms in it.layers
        ],
        "weights": [],
        "findings": [finding._asdict() for finding in it.findings()],
    }
    for row in it.rows():
        weight = it.weight(row["layer"], row["unit"], row["source"])
        numbers = [row["w"], weight.gradient, weight.matrix, weight.loop, weight.difference, row["after"]]
        frame["weights"].append(numbers)
    if _has_surface(it):
        shades = np.clip(surface(it, low, high, _GRID) * 255, 0, 255).round().astype(np.uint8)
        frame["surface"] = base64.b64encode(shades.tobytes()).decode()
    return frame


def _has_surface(it: Explanation) -> bool:
    """Tell whether there are two inputs, and outputs from 0 to 1."""
    return it.network.widths[0] == 2 and it.network.output in ("sigmoid", "softmax")


def _bounds(it: Explanation) -> tuple[list[float], list[float]]:
    """Return the corners of the decision surface: the data, with a quarter of their range around."""
    low, high = it.X.min(axis=0), it.X.max(axis=0)
    room = 0.25 * np.maximum(high - low, 1.0)
    return (low - room).tolist(), (high + room).tolist()


def _thinned(losses: Any) -> list[list[float]]:
    """Return [step, loss] of at most so many steps."""
    steps = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), _POINTS)).round().astype(int))
    return [[int(step), float(losses[step])] for step in steps]
