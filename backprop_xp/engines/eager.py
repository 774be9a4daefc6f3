"""The eager engine: a Python loop over the steps, on any namespace; on NumPy, over their calls alone."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from backprop_xp.batches import IndexBatches
from backprop_xp.engines import silent
from backprop_xp.engines.in_place import InPlace
from backprop_xp.engines.rows import GATHERED
from backprop_xp.engines.tracing import TracingError, leaves
from backprop_xp.errors import StopTraining
from backprop_xp.namespaces import NUMPY, namespace_of

Array = Any

# A program takes as long to make as some hundred small steps, and its state as long to bring in and out as it saves in
# a few of them; of a large step, it saves more than that.
_MANY, _IN_A_RUN, _LARGE = 256, 8, 2**16  # steps, steps, numbers in the parameters

# glibc returns freed memory to the system above a threshold, so that each step's temporaries would be mapped, faulted
# in and unmapped anew. It raises the threshold to the size of a mapped block that is freed, up to 32 MiB (mallopt(3),
# M_MMAP_THRESHOLD). This one is freed at once and never touched; other allocators take no notice.
np.empty(2**25 - 2**16, dtype=np.uint8)


class Eager:
    """Runs a step as it is: see `engines.Engine`.

    On NumPy, a step that is large, or taken many times, becomes a run of its calls in place: the same results to the
    last bit. One that cannot be traced stays as it is.
    """

    name, n_compiled = "eager", 0

    def __init__(self, say: Callable[[str], None] = silent) -> None:
        self.interrupted = False
        self._n_steps = 0
        self._in_place: InPlace | None = None
        self._untraceable: Callable[..., Any] | None = None

    def run(
        self,
        step: Callable[..., tuple[Any, Any, Array]],
        params: Any,
        opt_state: Any,
        X: Array,
        Y: Array,
        batches: IndexBatches,
        *,
        weight: Array | None = None,
        on_batch: Callable[[int, Array], None] | None = None,
    ) -> tuple[Any, Any, Array]:
        """Run a step for every batch: see `engines.Engine.run`."""
        self._n_steps += batches.n_batches
        if namespace_of(X) is NUMPY and step is not self._untraceable and self._pays(params, batches):
            if self._in_place is None or self._in_place.step is not step:
                self._in_place = InPlace(step)
            try:
                state, losses = self._in_place.run((params, opt_state), (X, Y, weight), batches, on_batch)
                self.interrupted = self._in_place.interrupted
                return *state, losses
            except TracingError:
                self._untraceable = step
        return self._run_as_it_is(step, (params, opt_state), X, _slices(X, Y, weight, batches), on_batch)

    def _pays(self, params: Any, batches: IndexBatches) -> bool:
        many = self._n_steps > _MANY and batches.n_batches >= _IN_A_RUN
        return many or sum(leaf.size for leaf in leaves(params)) > _LARGE

    def _run_as_it_is(
        self,
        step: Callable[..., tuple[Any, Any, Array]],
        state: tuple[Any, ...],
        X: Array,
        slices: Iterator[tuple[Array, Array, Array | None]],
        on_batch: Callable[[int, Array], None] | None,
    ) -> tuple[Any, Any, Array]:
        losses: list[Array] = []
        self.interrupted = False
        try:
            for Xb, Yb, wb in slices:
                state = step(state[0], state[1], Xb, Yb, wb)
                losses.append(state[2])
                if on_batch is not None:
                    on_batch(len(losses) - 1, state[2])
        except (KeyboardInterrupt, StopTraining) as end:
            if not losses:
                raise
            self.interrupted = isinstance(end, KeyboardInterrupt)
        return state[0], state[1], namespace_of(X).stack(losses)


def _slices(
    X: Array, Y: Array, weight: Array | None, batches: IndexBatches
) -> Iterator[tuple[Array, Array, Array | None]]:
    """Yield (X, Y, weight) of each batch: views where the order allows, else of rows gathered in pieces."""
    size, n_samples = batches.batch_size, batches.n_samples
    piece = n_samples
    if batches.order is not None:
        piece = size * max(1, GATHERED // (size * X.shape[-1]))
    data = X, Y, weight
    for first in range(0, n_samples, piece):
        n_rows = min(piece, n_samples - first)
        if batches.order is not None:
            data = _gather(X, Y, weight, batches.order[first : first + n_rows])
        Xb, Yb, wb = data
        for start in range(0, n_rows, size):
            rows = slice(start, min(start + size, n_rows))
            yield Xb[rows, ...], Yb[rows, ...], None if wb is None else wb[rows]


def _gather(X: Array, Y: Array, weight: Array | None, rows: Array) -> tuple[Array, Array, Array | None]:
    xp = namespace_of(X)
    return (
        xp.take(X, rows, axis=0),
        xp.take(Y, rows, axis=0),
        None if weight is None else xp.take(weight, rows, axis=0),
    )
