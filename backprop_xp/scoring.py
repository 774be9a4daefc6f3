"""Figures of merit of a trained model on data with their targets, by scikit-learn's metrics."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.model import Model


def scores(model: Model, outputs: NDArray[Any], values: NDArray[Any]) -> dict[str, float]:
    """Return the figures for these outputs.

    Parameters
    ----------
    model : Model
        With a target.
    outputs : array (n_samples, n_outputs)
        What the network gave.
    values : array (n_samples,) or (n_samples, n_outputs)
        The true targets, raw.

    Returns
    -------
    dict of str to float
        accuracy, balanced_accuracy, log_loss and roc_auc (one against the rest, averaged) for classes; accuracy of all
        labels at once and roc_auc for several labels; r2, mae and rmse, in the target's units, for numbers. A figure
        that is not defined on these rows (one class only) is left out.

    Raises
    ------
    InputError
        If the targets hold a class that the model does not know.
    """
    assert model.target is not None
    truth = model.target.encode(values, np.float64)
    if model.target.task == "regression":
        return _of_numbers(values.astype(float), model.decide(outputs))
    if model.target.task == "multilabel":
        return {
            "accuracy": float(((outputs > 0.5) == (truth > 0.5)).all(axis=1).mean()),
            **_area(truth, outputs.astype(np.float64)),
        }
    P = outputs.astype(np.float64)
    P = np.hstack([1 - P, P]) if P.shape[1] == 1 else P / P.sum(axis=1, keepdims=True)
    return _of_classes(truth, P)


def _of_numbers(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    from sklearn import metrics

    figures = {
        "mae": float(metrics.mean_absolute_error(truth, predicted)),
        "rmse": float(metrics.root_mean_squared_error(truth, predicted)),
    }
    return {"r2": float(metrics.r2_score(truth, predicted)), **figures} if len(truth) > 1 else figures


def _of_classes(truth: NDArray[Any], P: NDArray[Any]) -> dict[str, float]:
    from sklearn import metrics

    predicted = P.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a predicted class without a true row counts for nothing here
        balanced = float(metrics.balanced_accuracy_score(truth, predicted))
    figures = {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "balanced_accuracy": balanced,
        "log_loss": float(metrics.log_loss(truth, P, labels=np.arange(P.shape[1]))),
    }
    return figures | _area(truth, P)


def _area(truth: NDArray[Any], P: NDArray[Any]) -> dict[str, float]:
    from sklearn import metrics

    if truth.ndim == 1 and len(np.unique(truth)) < P.shape[1]:
        return {}
    if truth.ndim == 2 and not ((truth == 0).any(axis=0) & (truth == 1).any(axis=0)).all():
        return {}
    P = P[:, 1] if truth.ndim == 1 and P.shape[1] == 2 else P
    return {"roc_auc": float(metrics.roc_auc_score(truth, P, multi_class="ovr"))}
