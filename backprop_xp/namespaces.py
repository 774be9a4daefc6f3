"""Which array-API namespace an array answers to, resolved as cheaply as a training step needs it."""

import operator
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np


def _matmul(a: Any, b: Any) -> Any:
    return _dot(a, b) if a.ndim == 2 == b.ndim else np.matmul(a, b)


_dot = np.dot


def _stack(arrays: Any) -> Any:
    return np.array(arrays)  # an epoch's losses are thousands of scalars, and np.stack makes an array of each first


def _astype(array: Any, dtype: Any) -> Any:
    return array.astype(dtype)  # np.astype refuses scalars, which NumPy makes of 0-d arrays


# NumPy's own namespace conforms since 2.1. But its `sum`, `max` and `matrix_transpose` are Python functions around a
# ufunc's reduction or an attribute, and `matmul` finds its loop more slowly than `dot`: 0.3 to 1 microsecond a call,
# which at small sizes is the step. The same arguments give the same results here, but a reduction must name its axis:
# a ufunc's default is the first, not all. A module, since attributes are looked up fastest in a module without a
# `__getattr__`, which NumPy's own has.
NUMPY = ModuleType("numpy_without_wrappers", "NumPy, less its wrappers where a training step feels them.")
vars(NUMPY).update(
    {
        **{name: value for name, value in vars(np).items() if not name.startswith("_")},
        "astype": _astype,
        "matmul": _matmul,
        "matrix_transpose": operator.attrgetter("mT"),
        "max": np.maximum.reduce,
        "stack": _stack,
        "sum": np.add.reduce,
    }
)


def namespace_of(array: Any) -> Any:
    """Return the array-API namespace of `array`.

    Parameters
    ----------
    array : array of NumPy, CuPy, JAX, PyTorch or any other library of the Python array API standard

    Raises
    ------
    TypeError
        If `array` belongs to no such library.
    """
    if type(array) is np.ndarray:
        return NUMPY
    return array_api_compat.array_namespace(array)
