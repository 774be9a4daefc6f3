"""Epochs of NumPy steps as programs that overwrite a state of their own, on rows gathered into arrays that are kept."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.batches import IndexBatches
from backprop_xp.engines.copies import Copies
from backprop_xp.engines.interrupts import deferred_interrupts
from backprop_xp.engines.program import Program
from backprop_xp.engines.rows import Rows
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
        self._rows, self._copies = Rows(), Copies()

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
            values = self._copies.of(self._state)
        except (KeyboardInterrupt, StopTraining) as end:
            if not n_done:
                raise
            values = self._copies.of(self._state)  # it may have ended the copying after the last step
            self.interrupted = isinstance(end, KeyboardInterrupt)
        return rebuilt(tree, iter(values)), losses[:n_done]

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
