"""The eager engine: a Python loop over the steps, on any namespace."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from backprop_xp.batches import IndexBatches
from backprop_xp.errors import StopTraining
from backprop_xp.namespaces import namespace_of

Array = Any

# Rows are gathered for several batches at once, in pieces of about 1 MiB in float32: one gather a piece instead of one
# a step, and what the next steps read is still in the processor's cache.
_GATHERED = 2**18

# glibc returns freed memory to the system above a threshold, so that each step's temporaries would be mapped, faulted
# in and unmapped anew. It raises the threshold to the size of a mapped block that is freed, up to 32 MiB (mallopt(3),
# M_MMAP_THRESHOLD). This one is freed at once and never touched; other allocators take no notice.
np.empty(2**25 - 2**16, dtype=np.uint8)


def run(
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
    """Run a step for every batch.

    Parameters
    ----------
    step : function (params, opt_state, X, Y, weight) -> (params, opt_state, loss)
    params, opt_state
    X : array (n_samples, n_features)
    Y : array (n_samples,) or (n_samples, n_outputs)
    batches : IndexBatches
    weight : array (n_samples,), optional
    on_batch : function (batch, loss) -> None, optional
        Called after each step, with its number from 0 and its loss, still on the device.

    Returns
    -------
    params, opt_state
    losses : array (n_steps, ...), on the device
        Fewer than `batches.n_batches` if the user (Ctrl-C) or a callback (StopTraining) ended the run: the state is
        then that of the last step that was finished. Before the first one, the exception is passed on.
    """
    losses: list[Array] = []
    state: tuple[Any, ...] = (params, opt_state)
    try:
        for Xb, Yb, wb in _slices(X, Y, weight, batches):
            state = step(state[0], state[1], Xb, Yb, wb)
            losses.append(state[2])
            if on_batch is not None:
                on_batch(len(losses) - 1, state[2])
    except (KeyboardInterrupt, StopTraining):
        if not losses:
            raise
    return state[0], state[1], namespace_of(X).stack(losses)


def _slices(
    X: Array, Y: Array, weight: Array | None, batches: IndexBatches
) -> Iterator[tuple[Array, Array, Array | None]]:
    """Yield (X, Y, weight) of each batch: views where the order allows, else of rows gathered in pieces."""
    size, n_samples = batches.batch_size, batches.n_samples
    piece = n_samples
    if batches.order is not None:
        piece = size * max(1, _GATHERED // (size * X.shape[-1]))
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
