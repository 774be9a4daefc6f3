"""Callbacks: what is done after each step and each epoch, beside training."""

import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from backprop_xp.errors import InputError, StopTraining

Record = dict[str, float]


class Callback:
    """What a trainer calls. Override what you need; raise `StopTraining` to end training and keep what was trained.

    One that overrides `on_batch_end` is called after every step, so that a compiled engine takes one step at a time;
    the others cost nothing within an epoch.

    Attributes
    ----------
    paced : bool, default False
        True if it may be told late: `on_batch_end` is called now and then, when an engine has taken many steps, and
        `on_epoch_end` for several brief epochs after the last of them, whose parameters are then the trainer's.
    """

    paced = False

    def on_train_begin(self, trainer: Any) -> None:
        """Take note of the trainer; its data and first parameters are in place."""

    def on_note(self, line: str) -> None:
        """Hear what there is to say of how steps are run: the engine chosen, a compilation, a lack of memory."""

    def on_batch_end(self, batch: int, loss: Any) -> None:
        """See the loss of a step (0-d, on the device: `float(loss)` waits for it); `batch` counts from 0 each epoch."""

    def on_epoch_end(self, record: Record) -> None:
        """See the epoch's figures: epoch (from 1), loss, learning_rate, seconds, val_loss and the metrics."""

    def on_train_end(self, trainer: Any) -> None:
        """Clean up; called after an error or an interruption too."""


class PrintProgress(Callback):
    """One plain line an epoch, at most one a second, and always the first and the last."""

    paced = True

    def __init__(self, every_seconds: float = 1.0) -> None:
        self._every, self._printed, self._last = every_seconds, -1e9, Record()

    def on_train_begin(self, trainer: Any) -> None:
        """Note how many epochs there will be."""
        self._epochs, self._printed, self._last = trainer.epochs, -1e9, {}

    def on_note(self, line: str) -> None:
        """Print it."""
        _print(line)

    def on_epoch_end(self, record: Record) -> None:
        """Print the epoch unless a line was printed a moment ago."""
        self._last = record
        if time.monotonic() - self._printed >= self._every:
            self._print()

    def on_train_end(self, trainer: Any) -> None:
        """Print the last epoch if it has not been."""
        if self._last:
            self._print()

    def _print(self) -> None:
        figures = "  ".join(
            f"{name} {value:.4g}" for name, value in self._last.items() if name not in ("epoch", "seconds")
        )
        _print(f"epoch {int(self._last['epoch'])}/{self._epochs}  {figures}")
        self._printed, self._last = time.monotonic(), {}


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads on, as in `| head`: no reason to stop training
        print(line, flush=True)


class JsonLines(Callback):
    """One JSON object a line: a header, notes on the engine, every epoch's figures, and how training ended.

    Parameters
    ----------
    path : path
        Written anew by each fit, or continued by a run that was resumed; each line is flushed, so the file can be
        followed.
    header : dict, optional
        What the first line says.
    """

    paced = True

    def __init__(self, path: str | Path, header: dict[str, Any] | None = None) -> None:
        self._path, self._header = Path(path), header or {}
        self._file: TextIO | None = None

    def on_train_begin(self, trainer: Any) -> None:
        """Open the file and write the header."""
        try:
            self._file = self._path.open("a" if trainer.resumed else "w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write the log {str(self._path)!r}: {error.strerror}") from None
        self._write({"event": "start", "time": time.time(), **self._header})

    def on_note(self, line: str) -> None:
        """Write it."""
        self._write({"event": "note", "text": line})

    def on_epoch_end(self, record: Record) -> None:
        """Write the epoch's figures."""
        self._write({"event": "epoch", **record})

    def on_train_end(self, trainer: Any) -> None:
        """Write the reason training ended, and close the file."""
        self._write({"event": "end", "time": time.time(), "stopped": trainer.stopped})
        if self._file is not None:
            self._file.close()
        self._file = None  # an open file could not be copied or pickled

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None or self._file.closed:
            return
        # JSON has no NaN or infinity: a figure that is not finite becomes null.
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        try:
            self._file.write(json.dumps(finite, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:  # a full disk stops the log, not the training
            warnings.warn(f"the log {str(self._path)!r} ends here: {error.strerror}", stacklevel=2)
            with contextlib.suppress(OSError):
                self._file.close()


def as_history(records: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    """Return the epochs' figures as arrays (n_epochs,)."""
    return {name: np.array([record[name] for record in records]) for name in (records or [{}])[0]}


def parted(name: str) -> tuple[str, bool]:
    """Return a figure's name, and whether it is of validation rows: "val_loss" -> ("loss", True)."""
    return name.removeprefix("val_"), name.startswith("val_")


class _OnEpochEnd(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Record], None]) -> None:
        self._function = function

    def on_epoch_end(self, record: Record) -> None:
        """Call the function."""
        self._function(record)


def as_callback(callback: Callback | Callable[[Record], None]) -> Callback:
    """Return a callback, a plain function (record) -> None as one that is called after each epoch.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(callback, type) or not (isinstance(callback, Callback) or callable(callback)):
        raise InputError(f"a callback is a Callback or a function (record) -> None, not {callback!r}")
    return callback if isinstance(callback, Callback) else _OnEpochEnd(callback)


def tell(callbacks: Iterable[Callback], news: Callable[[Callback], None], stop: Callable[[str], None]) -> None:
    """Give the news to every callback; `stop` hears the reason of one that raises StopTraining."""
    for callback in callbacks:
        try:
            news(callback)
        except StopTraining as reason:
            stop(str(reason) or "callback")


class BatchListener:
    """What an engine calls after a step, on behalf of the callbacks that override `on_batch_end`.

    StopTraining is passed on to the engine once `stop` has heard the reason.

    Attributes
    ----------
    paced : bool
        Whether all are content to be called now and then.
    first : int
        The step of the epoch that the engine counts as 0.
    """

    first = 0

    def __init__(self, callbacks: Sequence[Callback], stop: Callable[[str], None]) -> None:
        self.paced = all(callback.paced for callback in callbacks)
        self._callbacks, self._stop = callbacks, stop

    def __call__(self, batch: int, loss: Any) -> None:
        """Tell every callback."""
        for callback in self._callbacks:
            try:
                callback.on_batch_end(self.first + batch, loss)
            except StopTraining as reason:
                self._stop(str(reason) or "callback")
                raise


def batch_listener(callbacks: Iterable[Callback], stop: Callable[[str], None]) -> BatchListener | None:
    """Return what an engine is to call after each step, or None if no callback overrides `on_batch_end`."""
    listening = [c for c in callbacks if type(c).on_batch_end is not Callback.on_batch_end]
    return BatchListener(listening, stop) if listening else None
