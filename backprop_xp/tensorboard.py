"""TensorBoard's events, written as training goes."""

import os
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from backprop_xp.callbacks import Callback, Record, parted
from backprop_xp.errors import InputError


class TensorBoard(Callback):
    """Writes every epoch's figures for TensorBoard, training and validation of a figure in one chart.

    Parameters
    ----------
    folder : path
        Of one run, made if it is not there; a run that was resumed goes on in it. Give it to ``tensorboard --logdir``,
        or the folder above those of several runs.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._writers: dict[str, Any] = {}
        self._full = False
        _library()

    def on_train_begin(self, trainer: Any) -> None:
        """Make the folder."""
        self._writers, self._full = {}, False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write events in {str(self._folder)!r}: {error.strerror}") from None

    def on_epoch_end(self, record: Record) -> None:
        """Write the figures; those of validation data by the same names in a folder of their own."""
        parts: dict[str, dict[str, float]] = {"train": {}, "validation": {}}
        for name, value in record.items():
            figure, held = parted(name)
            if name != "epoch":
                parts["validation" if held else "train"][figure] = value
        for part, figures in parts.items():
            if figures and not self._full:
                self._attempt(partial(self._write, part, int(record["epoch"]), figures))

    def on_train_end(self, trainer: Any) -> None:
        """Close the files."""
        for writer in self._writers.values():
            self._attempt(writer.close)
        self._writers = {}

    def _open(self, part: str, epoch: int) -> None:
        make, events, _ = _library()
        folder = self._folder / part
        folder.mkdir(exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names, and two runs may begin within a second.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}"
        self._writers[part] = make((folder / name).open("xb"))
        self._add(part, file_version="brain.Event:2")
        # What an earlier run wrote of these epochs shall not be shown beside them.
        self._add(part, step=epoch, session_log=events.SessionLog(status=events.SessionLog.START))

    def _add(self, part: str, **content: Any) -> None:
        _, events, _ = _library()
        writer = self._writers[part]
        writer.write(events.Event(wall_time=time.time(), **content).SerializeToString())
        writer.flush()

    def _write(self, part: str, epoch: int, figures: dict[str, float]) -> None:
        if part not in self._writers:
            self._open(part, epoch)
        _, _, summary = _library()
        values = [summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._add(part, step=epoch, summary=summary(value=values))

    def _attempt(self, writing: Callable[[], object]) -> None:
        """Write; a full disk stops the events, not the training."""
        try:
            writing()
        except OSError as error:
            for writer in self._writers.values():
                with suppress(OSError):
                    writer.close()
            self._writers, self._full = {}, True
            warnings.warn(f"the events in {str(self._folder)!r} end here: {error.strerror}", stacklevel=2)


def _library() -> tuple[Any, Any, Any]:
    """Return TensorBoard's record writer, events and summary; a callback that held its modules could not be copied."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise InputError("events for TensorBoard need it: pip install 'backprop-xp[tensorboard]'") from None
    return RecordWriter, event_pb2, summary_pb2.Summary
