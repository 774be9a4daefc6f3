"""An estimator's file: the project's safetensors model, with the estimator's parameters and fitted figures beside it.

`backprop_xp.load` reads it as a `Model`, the estimators' own `load` as an estimator.
"""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer

from backprop_xp import backends, model
from backprop_xp.errors import InputError
from backprop_xp.model import Model
from backprop_xp.targets import Target

# All of this package's types that `skops.io` meets in a pipeline with one of the estimators: what to trust.
SKOPS_TYPES = [
    "backprop_xp.estimators.classifier.MLPClassifier",
    "backprop_xp.estimators.labels.DeviceLabels",
    "backprop_xp.estimators.regressor.MLPRegressor",
    "backprop_xp.optimizers.OptimizerState",
]

_FITTED = (
    "best_loss_", "best_validation_score_", "loss_", "loss_curve_", "n_features_in_", "n_iter_", "n_layers_",
    "n_outputs_", "out_activation_", "t_", "validation_loss_curve_", "validation_scores_", "_dropout_seed",
    "_no_improvement_count",
)  # fmt: skip
_DECISIONS = {"softmax": "cross_entropy", "logistic": "binary_cross_entropy"}


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator.

    Raises
    ------
    InputError
        If the path cannot be written, or a parameter is no number, string, list or dict of them.
    """
    fitted = {name: getattr(estimator, name) for name in _FITTED if hasattr(estimator, name)}
    if hasattr(estimator, "feature_names_in_"):
        fitted["feature_names_in_"] = estimator.feature_names_in_.tolist()
    described: dict[str, Any] = {
        "class": type(estimator).__name__,
        "params": {name: _as_json(name, value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": {name: _as_json(name, value) for name, value in fitted.items()},
    }
    target, loss = None, estimator.loss
    if is_classifier(estimator):
        classes = backends.to_host(estimator.classes_)
        labels = estimator._label_binarizer
        described |= {"dtype": classes.dtype.str, "sparse": bool(getattr(labels, "sparse_input_", False))}
        loss = _DECISIONS[estimator.out_activation_]
        target = Target("multilabel", len(classes))
        if labels.y_type_ != "multilabel-indicator":
            listed = _as_json("classes_", classes.tolist())
            listed *= 2 if len(listed) == 1 else 1  # of one class, either decision is it
            target = Target("classification", len(listed), listed)
    params = tuple((backends.to_host(W), backends.to_host(b)) for W, b in estimator._layers())
    Model(estimator._network(), params, loss, target, extra={"estimator": described}).save(path)


def load(cls: type[Any], path: str | Path) -> Any:
    """Return the estimator of class `cls` in a file.

    Raises
    ------
    InputError
        If it is no file of `save`, or of the other class.
    """
    read = model.load(path)
    described = read.extra.get("estimator")
    if not isinstance(described, dict) or described.get("class") != cls.__name__:
        other = described.get("class") if isinstance(described, dict) else None
        way = f"{other}.load reads it" if other in ("MLPClassifier", "MLPRegressor") else "backprop_xp.load reads it"
        raise InputError(f"{str(path)!r} holds no {cls.__name__}: {way}")
    try:
        return _estimator(cls, read, described)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{str(path)!r}: the estimator in it is damaged ({type(error).__name__}: {error})") from None


def _estimator(cls: type[Any], read: Model, described: dict[str, Any]) -> Any:
    fitted = {name: _figure(name, value) for name, value in described["fitted"].items() if name in _FITTED}
    widths = read.network.widths
    sizes = fitted["n_features_in_"], fitted["n_outputs_"], fitted["n_layers_"]
    output = fitted["out_activation_"].replace("logistic", "sigmoid")
    if (*sizes, output) != (widths[0], widths[-1], len(widths), read.network.output):
        raise ValueError("its figures are not of its network")
    if "feature_names_in_" in described["fitted"]:
        names = np.asarray(described["fitted"]["feature_names_in_"], dtype=object)
        if names.shape != (widths[0],):
            raise ValueError("its features have not as many names")
        fitted["feature_names_in_"] = names
    state = cls(**{name: _from_json(value) for name, value in described["params"].items()}).__getstate__()
    state |= fitted
    state |= {"coefs_": [W for W, _ in read.params], "intercepts_": [b[0] for _, b in read.params if b is not None]}
    if read.target is not None:
        labels = LabelBinarizer()
        if read.target.task == "multilabel":
            labels.fit(np.eye(read.target.n_outputs, dtype=np.int64))
            labels.sparse_input_ = described["sparse"]
        else:
            labels.fit(np.asarray(read.target.classes, dtype=described["dtype"]))
        state |= {"_label_binarizer": labels, "classes_": labels.classes_}
    estimator: Any = cls()
    estimator.__setstate__(state)
    estimator._validate_params()
    return estimator


def _figure(name: str, value: Any) -> Any:
    """Return a fitted figure, once it is of its type."""
    if name == "out_activation_":
        right = value in ("identity", "logistic", "softmax", "exp")
    elif name.endswith(("_curve_", "_scores_")):
        right = value is None or (isinstance(value, list) and all(isinstance(item, float | int) for item in value))
    else:
        right = value is None or isinstance(value, float | int)
    if not right:
        raise ValueError(f"{name} is {value!r}")
    return value


def _as_json(name: str, value: Any) -> Any:
    """Return a parameter as JSON has it: a tuple or a dict with its keys' types is told by a name."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {"pairs": [[_as_json(name, key), _as_json(name, of_key)] for key, of_key in value.items()]}
    if isinstance(value, list | tuple | np.ndarray):
        items = [_as_json(name, item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise InputError(f"{name}={value!r} cannot be kept in a file: set it to None, or use pickle or joblib")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, dict):
        if "tuple" in value:
            return tuple(_from_json(item) for item in value["tuple"])
        return {_from_json(key): _from_json(of_key) for key, of_key in value["pairs"]}
    return value
