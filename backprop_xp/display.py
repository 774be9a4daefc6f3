"""What the command line shows: the progress bar, tables, the picture of the curves."""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from backprop_xp import pictures
from backprop_xp.callbacks import Callback, Record
from backprop_xp.errors import InputError


class Screen(Console):
    """A console that falls silent when nobody reads on, as in `| head`, where rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        """Print no more."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What the commands print to. A file or a pipe has no width of its own.
_WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 160)
out = Screen(highlight=False, markup=False, width=_WIDTH)


class ProgressBar(Callback):
    """A bar with the epoch, the loss, the metrics, rows a second and the time left."""

    paced = True

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_train_begin(self, trainer: Any) -> None:
        """Show the bar."""
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self._console, transient=True,
        )  # fmt: skip
        self._n_epochs, self._n_samples = trainer.epochs, trainer.n_samples
        self._n_batches = -(-trainer.n_samples // trainer.batch_size)
        self._done, self._next_update = 0.0, 0.0
        self._task = self._progress.add_task("", total=trainer.epochs, epoch=f"1/{trainer.epochs}", figures="")
        self._progress.start()

    def on_note(self, line: str) -> None:
        """Print it above the bar."""
        self._console.print(line, highlight=False)

    def on_batch_end(self, batch: int, loss: Any) -> None:
        """Move the bar on within a long epoch, a few times a second."""
        if time.monotonic() >= self._next_update:
            self._progress.update(self._task, completed=self._done + (batch + 1) / self._n_batches)
            self._next_update = time.monotonic() + 0.2

    def on_epoch_end(self, record: Record) -> None:
        """Move the bar on, with the epoch's figures."""
        self._done = record["epoch"]
        shown = [f"{name} {value:.4f}" for name, value in record.items() if name not in pictures.NOT_FIGURES]
        shown.append(f"{self._n_samples / max(record['seconds'], 1e-9):,.0f} rows/s")
        self._progress.update(
            self._task, completed=self._done, epoch=f"{self._done:.0f}/{self._n_epochs}", figures="  ".join(shown)
        )

    def on_train_end(self, trainer: Any) -> None:
        """Take the bar away; what follows is the closing table."""
        self._progress.stop()


def table(title: str, rows: Iterable[tuple[str, ...]], columns: tuple[str, ...] = ()) -> Group:
    """Return a table under its title; without column names, one of names and values."""
    grid = Table(show_header=bool(columns), box=None)
    for column in columns or ("", ""):
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))  # as it stands: brackets are no markup here
    return Group(Text(title, "bold"), grid)


def figures(values: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return rows of a table for named figures."""
    return [(name.replace("_", " "), f"{value:.4f}") for name, value in values.items()]


def save_curves(history: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Draw loss and metrics against epochs, and save the picture.

    Parameters
    ----------
    history : dict of str to array (n_epochs,)
    path : path ending in .png, .svg or .pdf
    """
    figure = pictures.curves(history, pictures.groups(history))
    try:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise InputError(f"cannot write the curves {str(path)!r}: {error.strerror}") from None


def predictions(
    labels: NDArray[Any], outputs: NDArray[Any], classes: list[Any] | None, *, with_outputs: bool
) -> dict[str, NDArray[Any]]:
    """Return the columns of a file of predictions: the prediction, and the probability of each class if wanted.

    Parameters
    ----------
    labels : array (n_samples,) or (n_samples, n_outputs)
    outputs : array (n_samples, n_outputs)
    classes : list, optional
    with_outputs : bool
    """
    if labels.ndim == 1:
        columns = {"prediction": labels}
    else:
        columns = {f"prediction_{k}": labels[:, k] for k in range(labels.shape[1])}
    if with_outputs:
        names = list(range(outputs.shape[1])) if classes is None else classes
        P = np.hstack([1 - outputs, outputs]) if len(names) == 2 and outputs.shape[1] == 1 else outputs
        columns |= {f"probability_{name}": P[:, k] for k, name in enumerate(names)}
    return columns
