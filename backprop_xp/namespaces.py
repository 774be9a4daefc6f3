"""Which array-API namespace an array answers to, resolved as cheaply as a training step needs it."""

import operator
from types import ModuleType
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np


def _matmul(a: Any, b: Any) -> Any:
    return _dot(a, b) if a.ndim == 2 == b.ndim else np.matmul(a, b)


_dot = np.dot


def _stack(arrays: Any) -> Any:
    return np.array(arrays)  # an epoch's losses are thousands of scalars, and np.stack makes an array of each first


# NumPy's `sum`, `max` and `matrix_transpose` are Python functions around a ufunc's reduction or an attribute, and its
# `matmul` finds its loop more slowly than `dot` does: 0.3 to 1 microsecond a call, which at small sizes is the step.
# The same arguments give the same results, but a reduction must name its axis: a ufunc's default is the first, not all.
# A module, since attributes of modules are looked up fastest.
NUMPY = ModuleType("numpy_without_wrappers", "array_api_compat.numpy, less its wrappers where a step feels them.")
vars(NUMPY).update(
    {
        **vars(array_api_compat.numpy),
        "matmul": _matmul,
        "sum": np.add.reduce,
        "max": np.maximum.reduce,
        "stack": _stack,
        "matrix_transpose": operator.attrgetter("mT"),
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
