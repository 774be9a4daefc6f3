"""What a trainer is given, checked once on the way in and moved to the device once."""

from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from backprop_xp import backends
from backprop_xp.errors import InputError
from backprop_xp.losses import Loss
from backprop_xp.namespaces import is_sparse
from backprop_xp.network import Network

Array = Any


class TrainingData(NamedTuple):
    """Rows to train on or to validate with.

    Parameters
    ----------
    X : array (n_samples, n_features)
    Y : array (n_samples,) of integer labels, or (n_samples, n_outputs)
    weight : array (n_samples,), optional
    """

    X: Array
    Y: Array
    weight: Array | None = None

    def split(self, fraction: float, seed: int) -> tuple["TrainingData", "TrainingData", NDArray[np.int64]]:
        """Return (the rest, a share of the rows drawn by `seed`, which they are).

        Raises
        ------
        InputError
            If either part would be empty.
        """
        n_samples = self.X.shape[0]
        n_held = round(fraction * n_samples)
        if not 0 < n_held < n_samples:
            raise InputError(f"validation_fraction={fraction:g} of {n_samples} rows leaves {n_held} to validate with")
        order = np.random.default_rng((seed, 0)).permutation(n_samples)  # epochs count from 1, so 0 is free
        held = np.sort(order[:n_held])
        parts = self._take(np.sort(order[n_held:])), self._take(held)
        if any(part.weight is not None and not bool((part.weight > 0).any()) for part in parts):
            raise InputError("all rows of a part have a sample_weight of 0: use another seed or validation_fraction")
        return *parts, held

    def to(self, backend: backends.Backend, dtype: str) -> "TrainingData":
        """Return the data on the device: X, weights and real targets in `dtype`, labels as int32."""
        return TrainingData(
            backends.to_device(self.X, backend, dtype),
            backends.to_device(self.Y, backend, "int32" if self.Y.ndim == 1 else dtype),
            None if self.weight is None else backends.to_device(self.weight, backend, dtype),
        )

    def one_hot(self, n_classes: int) -> "TrainingData":
        """Return the data with rows of 0 and 1, of X's data type, for labels."""
        xp = array_namespace(self.Y)
        classes = xp.arange(n_classes, dtype=self.Y.dtype, device=array_api_compat.device(self.Y))
        return self._replace(Y=xp.astype(self.Y[:, None] == classes, self.X.dtype))

    def rows(self, rows: slice) -> "TrainingData":
        """Return some of the rows, as views where the library has them."""
        return TrainingData(self.X[rows, :], self.Y[rows, ...], None if self.weight is None else self.weight[rows])

    def _take(self, rows: Any) -> "TrainingData":
        def taken(array: Array) -> Array:
            xp = array_namespace(array)
            return xp.take(array, xp.asarray(rows, device=array_api_compat.device(array)), axis=0)

        return TrainingData(taken(self.X), taken(self.Y), None if self.weight is None else taken(self.weight))


def prepared(network: Network, loss: Loss, X: Any, y: Any, weight: Any, name: str) -> TrainingData:
    """Return the data as arrays that fit the network and the loss.

    Raises
    ------
    InputError
        If a shape, data type or value does not fit; the message names it.
    """
    X, y = numbers(X, f"X of {name}"), numbers(y, f"y of {name}")
    if X.ndim != 2 or X.shape[1] != network.widths[0]:
        raise InputError(f"X of {name} must be (n_samples, {network.widths[0]}), not {tuple(X.shape)}")
    if X.shape[0] == 0:
        raise InputError(f"X of {name} has no rows")
    if y.ndim == 0 or y.shape[0] != X.shape[0]:
        raise InputError(f"X of {name} has {X.shape[0]} rows, but y has {y.shape[0] if y.ndim else 'no'}")
    if weight is not None:
        weight = numbers(weight, "sample_weight")
        if tuple(weight.shape) != (X.shape[0],):
            raise InputError(f"sample_weight must be ({X.shape[0]},), not {tuple(weight.shape)}")
        xp = array_namespace(weight)
        if bool(xp.any(weight < 0)) or not bool(xp.any(weight > 0)):
            raise InputError("sample_weight must not be negative, and not all 0")
    return TrainingData(X, _fitting(network, loss, y, name), weight)


def numbers(array: Any, name: str) -> Array:
    """Return an array of finite real numbers, of its own library; bool becomes uint8, a list or a frame NumPy's.

    Raises
    ------
    InputError
        If it holds anything else.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array: fill it, or leave the masked rows out")
    if is_sparse(array):
        raise InputError(f"{name} is sparse, which MLPClassifier and MLPRegressor take: give its toarray() here")
    if not array_api_compat.is_array_api_obj(array):
        array = np.asarray(array)
    xp = array_namespace(array)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biuf":
        way = "; numpy.unique(y, return_inverse=True) makes labels of classes" if name.startswith("y") else ""
        raise InputError(f"{name} must be real numbers, not {array.dtype}{way}")
    if xp.isdtype(array.dtype, "bool"):
        return xp.astype(array, xp.uint8)
    if not xp.isdtype(array.dtype, ("integral", "real floating")):
        raise InputError(f"{name} must be real numbers, not {array.dtype}")
    if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
        place = np.argwhere(~np.isfinite(backends.to_host(array)))[0]
        raise InputError(f"{name} holds NaN or infinity, first at {_position(place)}: remove or impute such values")
    return array


def _position(place: Any) -> str:
    return ", ".join(f"{axis} {index}" for axis, index in zip(("row", "column", "axis 2"), place, strict=False))


def _fitting(network: Network, loss: Loss, y: Array, name: str) -> Array:
    """Return the targets in the shape and range that the loss is defined on."""
    xp, n_outputs = array_namespace(y), network.widths[-1]
    if loss.name == "cross_entropy" and y.ndim == 1:
        if not xp.isdtype(y.dtype, "integral"):
            raise InputError(
                f"y of {name}: cross_entropy needs integer labels or (n_samples, {n_outputs}), not {y.dtype}"
            )
        _in_range(y, 0, n_outputs - 1, f"labels in y of {name}", f" ({n_outputs} outputs)")
        return y
    if tuple(y.shape[1:]) not in ((n_outputs,), () if n_outputs == 1 else (n_outputs,)):
        raise InputError(f"y of {name} must have {n_outputs} columns, one an output, not shape {tuple(y.shape)}")
    if loss.name in ("cross_entropy", "binary_cross_entropy"):
        _in_range(y, 0, 1, f"y of {name}", f" for {loss.name}")
    if loss.name == "cross_entropy" and bool(xp.any(xp.abs(xp.sum(y, axis=1) - 1) > 1e-3)):
        raise InputError(f"y of {name}: the rows of probabilities for cross_entropy must sum to 1")
    if loss.name == "poisson":
        _in_range(y, 0, np.inf, f"y of {name}", " for poisson")
    return y if y.ndim > 1 else y[:, None]  # so that only labels are flat from here on


def _in_range(y: Array, low: float, high: float, name: str, why: str) -> None:
    xp = array_namespace(y)
    least, most = float(xp.min(y)), float(xp.max(y))
    if least < low or most > high:
        values = backends.to_host(y)
        place = np.argwhere((values < low) | (values > high))[0]
        there = f"{values[tuple(place)]:g} at {_position(place)}"
        raise InputError(f"{name} must lie between {low:g} and {high:g}{why}, but there is {there}")
