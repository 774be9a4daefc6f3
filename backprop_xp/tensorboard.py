"""TensorBoard's events, written as training goes."""

import time
import warnings
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
        """Find out whether the folder can be written."""
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
            if figures:
                self._write(part, int(record["epoch"]), figures)

    def on_train_end(self, trainer: Any) -> None:
        """Write out what is left, and close the files."""
        for writer in self._writers.values():
            self._attempt(writer.close)
        self._writers = {}

    def _open(self, part: str, epoch: int) -> None:
        make, events, _ = _library()
        writer = self._writers[part] = make(str(self._folder / part), flush_secs=5)
        # What an earlier run wrote of these epochs shall not be shown beside them.
        log = events.SessionLog(status=events.SessionLog.START)
        writer.add_event(events.Event(wall_time=time.time(), step=epoch, session_log=log))

    def _write(self, part: str, epoch: int, figures: dict[str, float]) -> None:
        if self._full:
            return
        if part not in self._writers:
            self._attempt(lambda: self._open(part, epoch))
        _, events, summary = _library()
        values = [summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        event = events.Event(wall_time=time.time(), step=epoch, summary=summary(value=values))
        if not self._full:
            self._attempt(lambda: self._writers[part].add_event(event))

    def _attempt(self, writing: Any) -> None:
        """Write; a full disk stops the events, not the training."""
        try:
            writing()
        except OSError as error:
            warnings.warn(f"the events in {str(self._folder)!r} end here: {error.strerror}", stacklevel=2)
            self._writers, self._full = {}, True


def _library() -> tuple[Any, Any, Any]:
    """Return TensorBoard's writer, events and summary; a callback that held its modules could not be copied."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise InputError("events for TensorBoard need it: pip install 'backprop-xp[tensorboard]'") from None
    return EventFileWriter, event_pb2, summary_pb2.Summary
