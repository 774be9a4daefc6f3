"""The rows of an epoch's batches: where they lie if the order allows, else gathered into arrays that are kept."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.batches import IndexBatches

Array = NDArray[Any]

# Rows are gathered for several batches at once, in pieces of about 1 MiB in float32: one gather a piece instead of one
# a step, and what the next steps read is still in the processor's cache.
GATHERED = 2**18
_BATCHES = 1024


class Rows:
    """Brings batches of NumPy arrays together."""

    def __init__(self) -> None:
        self._form: Any = None
        self._gathered: tuple[Array, ...] = ()
        self._views: list[tuple[Array, ...]] = []

    def pieces(self, data: tuple[Array, Array, Array | None], batches: IndexBatches) -> Iterator[tuple[Array, ...]]:
        """Yield the rows of (X, Y) or (X, Y, weight) for whole batches, with the last piece those of a short one.

        All of them at once where the order allows.
        """
        arrays = [array for array in data if array is not None]
        size, n_samples, order = batches.batch_size, batches.n_samples, batches.order
        if order is None:
            yield tuple(array[:n_samples] for array in arrays)
            return
        columns = sum(math.prod(array.shape[1:]) for array in arrays)
        piece = size * min(max(1, GATHERED // (size * columns)), _BATCHES)
        self._prepare(arrays, min(piece, n_samples), size)
        for first in range(0, n_samples, piece):
            rows = order[first : min(first + piece, n_samples)]
            for array, gathered in zip(arrays, self._gathered, strict=True):
                array.take(rows, 0, gathered[: len(rows)], "clip")  # any other mode goes through a copy
            yield tuple(gathered[: len(rows)] for gathered in self._gathered)

    def batches(self, data: tuple[Array, Array, Array | None], batches: IndexBatches) -> Iterator[tuple[Array, ...]]:
        """Yield (X, Y) or (X, Y, weight) of each batch."""
        size = batches.batch_size
        for piece in self.pieces(data, batches):
            n_rows, known = len(piece[0]), 0
            if batches.order is not None:
                known = n_rows // size
                yield from self._views[:known]
            for start in range(known * size, n_rows, size):
                yield tuple(array[start : start + size] for array in piece)

    def _prepare(self, arrays: Sequence[Array], piece: int, size: int) -> None:
        form = [(array.shape[1:], array.dtype) for array in arrays], piece, size
        if form != self._form:
            self._gathered = tuple(np.empty((piece, *array.shape[1:]), array.dtype) for array in arrays)
            starts = range(0, piece, size)
            self._views = [tuple(array[start : start + size] for array in self._gathered) for start in starts]
            self._form = form  # last: memory may be lacking
