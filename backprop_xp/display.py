"""What the command line shows: the progress bar, tables, the picture of the curves."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from backprop_xp.callbacks import Callback, Record


class ProgressBar(Callback):
    """A bar with the epoch, the loss, the metrics, rows a second and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_train_begin(self, trainer: Any) -> None:
        """Show the bar."""
        self._progress = Progress(
            TextColumn("epoch"), MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=trainer.epochs, figures="")
        self._n_samples = trainer.n_samples
        self._progress.start()

    def on_epoch_end(self, record: Record) -> None:
        """Move the bar on."""
        shown = [f"{name} {value:.4f}" for name, value in record.items() if name not in _NOT_FIGURES]
        rate = self._n_samples / max(record["seconds"], 1e-9)
        self._progress.update(self._task, completed=record["epoch"], figures=f"{'  '.join(shown)}  {rate:,.0f} rows/s")

    def on_train_end(self, trainer: Any) -> None:
        """Take the bar away; what follows is the closing table."""
        self._progress.stop()


_NOT_FIGURES = ("epoch", "seconds", "learning_rate")


def table(title: str, rows: Iterable[tuple[str, ...]], columns: tuple[str, ...] = ()) -> Table:
    """Return a table; without column names, one of names and values."""
    grid = Table(title=title, title_justify="left", title_style="bold", show_header=bool(columns), box=None)
    for column in columns or ("", ""):
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


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
    from matplotlib.figure import Figure

    groups = {"loss": [name for name in ("loss", "val_loss") if name in history]}
    for name in history:
        if name not in (*_NOT_FIGURES, "loss", "val_loss"):
            groups.setdefault(name.removeprefix("val_"), []).append(name)
    figure = Figure(figsize=(5.2 * len(groups), 3.6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for name in names:
            axes.plot(history["epoch"], history[name], label="validation" if name.startswith("val_") else "training")
        positive = all((history[name] > 0).all() for name in names)
        if title == "loss" and positive:
            axes.set_yscale("log")
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


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
