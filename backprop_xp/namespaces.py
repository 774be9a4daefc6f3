"""Which array-API namespace an array answers to, resolved as cheaply as a training step needs it."""

import operator
from functools import partial
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np


def _matmul(a: Any, b: Any) -> Any:
    return _dot(a, b) if a.ndim == 2 == b.ndim else np.matmul(a, b)


_dot = np.dot


def _stack(arrays: Any) -> Any:
    return np.array(arrays)  # an epoch's losses are thousands of scalars, and np.stack makes an array of each first


def _reshape(array: Any, shape: Any) -> Any:
    return array.reshape(shape)


def _astype(array: Any, dtype: Any) -> Any:
    return array.astype(dtype)  # np.astype refuses scalars, which NumPy makes of 0-d arrays


# NumPy's own namespace conforms since 2.1. But its `sum`, `max` and `matrix_transpose` are Python functions around a
# ufunc's reduction or an attribute, and `matmul` finds its loop more slowly than `dot`: 0.3 to 1 microsecond a call,
# which at small sizes is the step. The same arguments give the same results here. A module, since attributes are looked
# up fastest in a module without a `__getattr__`, which NumPy's own has.
NUMPY = ModuleType("numpy_without_wrappers", "NumPy, less its wrappers where a training step feels them.")
vars(NUMPY).update(
    {
        **{name: value for name, value in vars(np).items() if not name.startswith("_")},
        "astype": _astype,
        "matmul": _matmul,
        "matrix_transpose": operator.attrgetter("mT"),
        "max": partial(np.maximum.reduce, axis=None),
        "reshape": _reshape,
        "stack": _stack,
        "sum": partial(np.add.reduce, axis=None),
    }
)


def is_sparse(array: Any) -> bool:
    """Tell whether this is a sparse matrix or array of SciPy's, without importing SciPy."""
    return hasattr(array, "tocsr")


def _matmul_sparse(a: Any, b: Any) -> Any:
    return a @ b if is_sparse(a) else _matmul(a, b)


def _take_sparse(array: Any, rows: Any, axis: int) -> Any:
    return array[rows] if is_sparse(array) else np.take(array, rows, axis=axis)


# The first layer's input may be sparse: its two products and the choice of its rows are all that a step does with it.
SPARSE = ModuleType("numpy_with_sparse_input", "NUMPY, where the rows of X may be SciPy's sparse ones.")
vars(SPARSE).update(
    {
        **{name: value for name, value in vars(NUMPY).items() if not name.startswith("_")},
        "matmul": _matmul_sparse,
        "matrix_transpose": operator.attrgetter("T"),
        "take": _take_sparse,
    }
)


def namespace_of(array: Any) -> Any:
    """Return the array-API namespace of `array`.

    Parameters
    ----------
    array : array of NumPy, CuPy, JAX, PyTorch or any other library of the Python array API standard, or SciPy's sparse

    Raises
    ------
    TypeError
        If `array` belongs to no such library.
    """
    if type(array) is np.ndarray:
        return NUMPY
    if is_sparse(array):
        return SPARSE
    return array_api_compat.array_namespace(array)
