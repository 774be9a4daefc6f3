"""The memory that a job needs, told before it is taken."""

import numpy as np

from backprop_xp import backends
from backprop_xp.errors import InputError
from backprop_xp.namespaces import namespace_of
from backprop_xp.network import Network

_GIB = 2**30


def of_parameters(network: Network, dtype: str) -> int:
    """Return the bytes of the weights and biases."""
    return network.n_parameters * _size(dtype)


def of_training(network: Network, dtype: str) -> int:
    """Return the bytes that training takes at least: parameters, gradients, new parameters, a row's activations."""
    return 3 * (of_parameters(network, dtype) + sum(network.widths) * _size(dtype))


def of_copy(array: backends.Array, backend: backends.Backend, dtype: str) -> int:
    """Return the bytes that an array (n, ...) takes on the device, 0 where it is used as it lies."""
    if namespace_of(array) is backend.xp and str(array.dtype).rpartition(".")[2] == dtype:
        return 0
    return int(np.prod(array.shape, dtype=object)) * _size(dtype)


def check(needed: dict[str, int], backend: backends.Backend, advice: str) -> None:
    """Raise InputError if more bytes are needed than are free on the device.

    Parameters
    ----------
    needed : dict of str to int
        By what for.
    backend : Backend
    advice : str
        What would fit.
    """
    free, total = backends.free_memory(backend), sum(needed.values())
    if free is not None and total > free:
        parts = ", ".join(f"{_told(n_bytes)} for {name}" for name, n_bytes in needed.items() if n_bytes)
        raise InputError(
            f"this needs about {_told(total)} of memory ({parts}), and {backend.label} has {_told(free)} free: {advice}"
        )


def _size(dtype: str) -> int:
    return np.dtype(dtype).itemsize


def _told(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:,.1f} GiB" if n_bytes >= _GIB // 10 else f"{n_bytes / 2**20:,.1f} MiB"
