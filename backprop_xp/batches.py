"""Sources of minibatches: which rows make up each step of an epoch."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROWS = 8192  # rows that a forward pass takes at once where none are trained on
_MANY = 2**12  # rows whose order takes longer to draw than to be asked of a thread


def pieces_of(X: Any) -> Iterator[Any]:
    """Yield the rows of X, a few thousand at a time: bounds the memory for what the hidden layers make of them."""
    for first in range(0, X.shape[0], _ROWS):
        yield X[first : min(first + _ROWS, X.shape[0]), :]


class IndexBatches(NamedTuple):
    """One epoch's minibatches, as rows of the data.

    Parameters
    ----------
    order : integer array (n_samples,), or None
        The rows in the order of their use, on the device of the data; None for the order they stand in.
    n_samples : int
    batch_size : int
        Rows a step; the last batch is shorter where they do not come out even.
    """

    order: Any
    n_samples: int
    batch_size: int

    @property
    def n_batches(self) -> int:
        """Steps in the epoch."""
        return -(-self.n_samples // self.batch_size)

    def rows(self, first: int, last: int) -> slice:
        """Return where the rows of the steps from `first` to before `last` stand in the order."""
        return slice(first * self.batch_size, min(last * self.batch_size, self.n_samples))


def epoch_order(seed: int, epoch: int, n_samples: int) -> NDArray[np.integer[Any]]:
    """Return the permutation of rows for this epoch: drawn on the host, the same for every backend.

    It depends on (seed, epoch) alone, so a run can begin at any epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(n_samples)
    return order.astype(np.int32 if n_samples <= np.iinfo(np.int32).max else np.int64)


class EpochOrders:
    """The orders of a run's epochs: those that come next are drawn by a thread while others are trained.

    Parameters
    ----------
    seed : int
    n_samples : int
    n_epochs : int
        The last epoch's number: no order is drawn ahead for any after it.
    """

    def __init__(self, seed: int, n_samples: int, n_epochs: int) -> None:
        self._seed, self._n_samples, self._n_epochs = seed, n_samples, n_epochs
        self._thread = ThreadPoolExecutor(1)
        self._drawn: dict[tuple[int, int], Future[NDArray[np.integer[Any]]]] = {}

    def of(self, epoch: int, n_epochs: int = 1) -> NDArray[np.integer[Any]]:
        """Return the orders of so many epochs from this one on, one after the other: see `epoch_order`."""
        if self._n_samples * n_epochs < _MANY:
            return self._draw(epoch, n_epochs)
        asked, after = (epoch, n_epochs), epoch + n_epochs
        ahead = after, min(n_epochs, self._n_epochs + 1 - after)
        wanted = (asked, ahead) if ahead[1] > 0 else (asked,)
        self._drawn = {these: self._drawn.get(these) or self._thread.submit(self._draw, *these) for these in wanted}
        return self._drawn[asked].result()

    def _draw(self, epoch: int, n_epochs: int) -> NDArray[np.integer[Any]]:
        return np.concatenate([epoch_order(self._seed, n, self._n_samples) for n in range(epoch, epoch + n_epochs)])

    def close(self) -> None:
        """Let the thread end, which may be in the middle of an order."""
        self._thread.shutdown(wait=False, cancel_futures=True)
