"""What a report says in numbers: sizes by layer, what was predicted, confusion."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_xp.model import decided
from backprop_xp.recorded_run import RecordedRun, Rows
from backprop_xp.step import make_gradient

Floats = NDArray[np.float64]

OUTPUTS = 3  # of a regression, that are shown
_TASKS = {"cross_entropy": "classification", "binary_cross_entropy": "multilabel"}


class Sizes(NamedTuple):
    """Root mean squares of each layer's weights and of its gradients, biases left out.

    Parameters
    ----------
    epochs : list of float
    weights : array (n_frames, n_layers)
    gradients : array (n_frames, n_layers) or None
        Of the loss alone on the recorded rows; None under a loss of the user's own.
    """

    epochs: list[float]
    weights: Floats
    gradients: Floats | None


@np.errstate(over="ignore", invalid="ignore")  # of a run that diverged
def sizes(run: RecordedRun) -> Sizes | None:
    """Return sizes by layer at every recorded step, or None if no parameters were recorded."""
    if not run.frames:
        return None
    weights = np.array([[_size(W) for W, _ in frame.params] for frame in run.frames])
    gradients = None
    if run.loss is not None:
        gradient = make_gradient(run.network, run.loss)
        found = [gradient(frame.params, *run.probe)[1] for frame in run.frames]
        gradients = np.array([[_size(dW) for dW, _ in each] for each in found])
    return Sizes([frame.step / run.n_batches for frame in run.frames], weights, gradients)


def _size(W: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(W, dtype=np.float64).mean()))


def task(run: RecordedRun) -> str:
    """Return "classification", "multilabel" or "regression": what was told, else what the loss is for."""
    if run.target is not None:
        return run.target.task
    name = run.header["loss"]["name"]
    return (
        "classification"
        if name == "binary_cross_entropy" and run.network.widths[-1] == 1
        else _TASKS.get(name, "regression")
    )


def classes(run: RecordedRun) -> list[str]:
    """Return the classes' names."""
    return run.classes or [str(k) for k in range(max(2, run.network.widths[-1]))]


def labels(run: RecordedRun, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the true and the predicted class of each row, (n_rows,)."""
    Y = rows.targets
    truth = Y.argmax(axis=1) if Y.ndim == 2 and Y.shape[1] > 1 else Y.reshape(len(Y)).round()
    return truth.astype(np.int64), decided(str(run.header["loss"]["name"]), rows.outputs).astype(np.int64)


def probabilities(rows: Rows) -> Floats:
    """Return each class's probability in each row, (n_rows, n_classes)."""
    P = rows.outputs.astype(np.float64)
    return np.hstack([1 - P, P]) if P.shape[1] == 1 else P


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return how often a class (row) was taken for another (column), (n_classes, n_classes)."""
    return np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def values(run: RecordedRun, rows: Rows) -> tuple[Floats, Floats]:
    """Return true and predicted values in the target's units, (n_rows, n_outputs)."""
    truth, predicted = rows.targets.reshape(rows.outputs.shape).astype(np.float64), rows.outputs.astype(np.float64)
    if run.target is None or run.target.mean is None:
        return truth, predicted
    mean, scale = np.asarray(run.target.mean), np.asarray(run.target.scale)
    return truth * scale + mean, predicted * scale + mean
