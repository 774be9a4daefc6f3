"""Epochs of NumPy steps as programs that overwrite a state of their own, on rows gathered into arrays that are kept."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.batches import IndexBatches
from backprop_xp.engines.interrupts import deferred_interrupts
from backprop_xp.engines.program import Program
from backprop_xp.engines.tracing import Trace, TracingError, leaves, rebuilt
from backprop_xp.errors import StopTraining

Array = NDArray[Any]


class InPlace:
    """Runs a step of NumPy arrays as a program.

    Parameters
    ----------
    step : function (params, opt_state, X, Y, weight) -> (params, opt_state, loss)

    Attributes
    ----------
    interrupted : bool
        Whether Ctrl-C ended the last run.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step, self.interrupted = step, False
        self._state: list[Array] = []
        self._programs: dict[Any, Program] = {}
        self._rows = _Rows()

    def run(
        self,
        tree: Any,
        data: tuple[Array, Array, Array | None],
        batches: IndexBatches,
        on_batch: Callable[[int, Array], None] | None,
    ) -> tuple[Any, Array]:
        """Run a step for every batch, as `engines.Engine.run`, and return (params, opt_state) and the losses.

        Parameters
        ----------
        tree : (params, opt_state)
        data : (X, Y, weight)

        Raises
        ------
        TracingError
            If the step cannot be traced, or fails when it is taken first; nothing has been done then.
        """
        n_full, n_left = divmod(batches.n_samples, batches.batch_size)
        full = self._program(tree, data, batches.batch_size)
        short = self._program(tree, data, n_left, rehearse=n_full > 0) if n_left else full
        for own, given in zip(self._state, leaves(tree), strict=True):
            own[...] = given
        losses = np.empty((batches.n_batches, *full.loss.shape), full.loss.dtype)
        n_done, rows = 0, self._rows.batches(data, batches)
        self.interrupted = False
        try:
            while n_done < batches.n_batches:  # goes on after a signal that somebody handles otherwise
                with deferred_interrupts() as signals:  # a step left half way would be lost
                    for batch in rows:
                        program = full if n_done < n_full else short
                        try:
                            program.take(*batch)
                        except Exception as error:
                            if n_done:
                                raise
                            raise TracingError(f"{type(error).__name__}: {error}") from error
                        losses[n_done] = program.loss
                        n_done += 1
                        if on_batch is not None:
                            on_batch(n_done - 1, losses[n_done - 1])
                        if signals:
                            break
        except (KeyboardInterrupt, StopTraining) as end:
            if not n_done:
                raise
            self.interrupted = isinstance(end, KeyboardInterrupt)
        return rebuilt(tree, (own.copy() for own in self._state)), losses[:n_done]

    def _program(
        self, tree: Any, data: tuple[Array, Array, Array | None], n_rows: int, *, rehearse: bool = False
    ) -> Program:
        batch = tuple(None if array is None else array[:n_rows] for array in data)
        form = tuple((x.shape, x.dtype) for x in leaves((tree, batch))), data[2] is None
        if form not in self._programs:
            trace = Trace(self.step, tree, batch)
            if [(x.shape, x.dtype) for x in self._state] != [(x.shape, x.dtype) for x in trace.state]:
                self._programs, self._state = {}, [np.empty(x.shape, x.dtype) for x in trace.state]
            self._programs[form] = Program(trace, self._state)
            if rehearse:
                self._rehearse(self._programs[form], batch)
        return self._programs[form]

    def _rehearse(self, program: Program, batch: Any) -> None:
        """Take a step from ones, so that what NumPy refuses is known before training depends on it."""
        for own in self._state:
            own[...] = 1
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program.take(*leaves(batch))
        except Exception as error:
            raise TracingError(f"{type(error).__name__}: {error}") from error


# Rows are gathered for several batches at once, in pieces of about 1 MiB in float32: one gather a piece instead of one
# a step, and what the next steps read is still in the processor's cache.
GATHERED = 2**18
_BATCHES = 1024


class _Rows:
    """The batches of an epoch: views where the order allows, else of rows gathered into arrays that are kept."""

    def __init__(self) -> None:
        self._form: Any = None
        self._gathered: tuple[Array, ...] = ()
        self._views: list[tuple[Array, ...]] = []

    def batches(self, data: tuple[Array, Array, Array | None], batches: IndexBatches) -> Iterator[tuple[Array, ...]]:
        """Yield (X, Y) or (X, Y, weight) of each batch."""
        arrays = [array for array in data if array is not None]
        size, n_samples, order = batches.batch_size, batches.n_samples, batches.order
        if order is None:
            for start in range(0, n_samples, size):
                yield tuple(array[start : start + size] for array in arrays)
            return
        piece = size * min(max(1, GATHERED // (size * arrays[0].shape[1])), _BATCHES, batches.n_batches)
        self._prepare(arrays, piece, size)
        for first in range(0, n_samples, piece):
            rows = order[first : first + piece]
            for array, gathered in zip(arrays, self._gathered, strict=True):
                array.take(rows, 0, gathered[: len(rows)], "clip")  # any other mode goes through a copy
            yield from self._views[: len(rows) // size]
            if len(rows) % size:
                yield tuple(gathered[len(rows) // size * size : len(rows)] for gathered in self._gathered)

    def _prepare(self, arrays: Sequence[Array], piece: int, size: int) -> None:
        form = [(array.shape[1:], array.dtype) for array in arrays], piece, size
        if form != self._form:
            self._form = form
            self._gathered = tuple(np.empty((piece, *array.shape[1:]), array.dtype) for array in arrays)
            starts = range(0, piece, size)
            self._views = [tuple(array[start : start + size] for array in self._gathered) for start in starts]
