"""What an estimator is given: host data checked by scikit-learn, arrays of other libraries where they lie."""

import os
from typing import Any

import array_api_compat
import numpy as np
from sklearn.utils.validation import _check_sample_weight, check_X_y, validate_data

from backprop_xp import backends, engines
from backprop_xp.errors import InputError
from backprop_xp.namespaces import is_sparse, namespace_of
from backprop_xp.training_data import TrainingData

Array = Any


def on_host(X: Any) -> bool:
    """Tell whether scikit-learn's own checks apply: lists, frames, sparse matrices and NumPy's arrays."""
    return not array_api_compat.is_array_api_obj(X) or array_api_compat.is_numpy_array(X)


def place_of(estimator: Any, X: Any, dtype: str) -> backends.Backend:
    """Return where to compute in `dtype`: host input by the estimator's flags, any other array where it lies.

    Raises
    ------
    InputError
        If the flags name another library or device than such an array's, or one that is not there.
    """
    device, backend = estimator.device, estimator.backend
    if on_host(X):
        device = device or os.environ.get(backends.DEVICE_VARIABLE) or ("cpu" if backend != "cupy" else "cuda")
        return backends.select(device, engines.backend_for(estimator.engine, device, backend), dtype)
    place = backends.of(X)
    if backend not in (None, place.name) or device not in (None, "auto", place.label, place.label.partition(":")[0]):
        raise InputError(
            f"X is an array of {place.name} on {place.label}, and is computed there: leave device={device!r} and "
            f"backend={backend!r} out, or move X"
        )
    return place


def checked(estimator: Any, X: Any, y: Any, *, y_numeric: bool, reset: bool) -> tuple[Array, Array]:
    """Return X and y of training: floating point, finite, as many rows in each.

    Raises
    ------
    ValueError, TypeError
        scikit-learn's, in its words where X is on the host.
    """
    if on_host(X):
        X, y = validate_data(
            estimator, X, y if on_host(y) else backends.to_host(y), accept_sparse=["csr", "csc"], multi_output=True,
            y_numeric=y_numeric, dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        return X, y
    X = checked_rows(estimator, X, reset=reset)
    if on_host(y):
        _, y = check_X_y(np.zeros((len(y), 1)), y, multi_output=True, y_numeric=y_numeric)
    elif not bool(namespace_of(y).all(namespace_of(y).isfinite(y))):
        raise ValueError("Input y contains NaN or infinity.")
    if y.shape[0] != X.shape[0]:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{X.shape[0]}, {y.shape[0]}]")
    return X, y


def checked_rows(estimator: Any, X: Array, *, reset: bool) -> Array:
    """Return an array of another library than NumPy, two-dimensional, floating point and finite.

    Raises
    ------
    ValueError
        If it is not, or its number of columns is not that of `fit`.
    """
    xp = namespace_of(X)
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got {X.ndim}D array instead: X must be (n_samples, n_features)")
    if 0 in X.shape:
        raise ValueError(f"Found array with shape {tuple(X.shape)}: at least one sample and one feature are required")
    if not xp.isdtype(X.dtype, ("bool", "integral", "real floating")):
        raise ValueError(f"X must be real numbers, not {X.dtype}")
    validate_data(estimator, X, skip_check_array=True, reset=reset)
    if X.dtype not in (xp.float32, xp.float64):
        X = xp.astype(X, xp.asarray(0.0, device=array_api_compat.device(X)).dtype)
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError("Input X contains NaN or infinity.")
    return X


def checked_weight(weight: Any, X: Array) -> Array:
    """Return sample weights (n_samples,) as an array, or None.

    Raises
    ------
    ValueError
        If there are not as many as rows.
    """
    if weight is None:
        return None
    if on_host(weight):
        return _check_sample_weight(weight, X if on_host(X) else np.empty((X.shape[0], 1)))
    if tuple(weight.shape) != (X.shape[0],):
        raise ValueError(f"sample_weight.shape == {tuple(weight.shape)}, expected {(X.shape[0],)}!")
    return weight


def moved(data: TrainingData, place: backends.Backend, dtype: str) -> TrainingData:
    """Return the data on the device, floating point all of them."""
    return TrainingData(*(None if array is None else moved_rows(array, place, dtype) for array in data))


def moved_rows(X: Any, place: backends.Backend, dtype: str) -> Array:
    """Return rows on the device; sparse ones stay so on NumPy, and are filled in elsewhere."""
    if is_sparse(X):
        if place.name == "numpy":
            return X.astype(dtype, copy=False)
        X = X.toarray()
    return backends.to_device(X, place, dtype)


def rows_of(X: Any, rows: Any) -> Any:
    """Return the rows of an array of any library, or of a sparse one.

    Parameters
    ----------
    X : array (n_samples, ...)
    rows : integer array (n_rows,) of any library
    """
    if on_host(X):
        rows = backends.to_host(rows)
    else:
        rows = backends.to_device(rows, backends.of(X))
    return namespace_of(X).take(X, rows, axis=0)


def check_same_shape(y: Array, predicted: Array) -> None:
    """Raise unless targets are as many, and as wide, as what is predicted.

    Raises
    ------
    ValueError
    """
    if tuple(y.shape) != tuple(predicted.shape):
        raise ValueError(f"y has shape {tuple(y.shape)}, but predictions have {tuple(predicted.shape)}")


def pair(X_val: Any, y_val: Any) -> tuple[Any, Any] | None:
    """Return validation data, or None without them.

    Raises
    ------
    ValueError
        If there is one without the other.
    """
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val belong together: give both, or neither")
    return None if X_val is None else (X_val, y_val)
