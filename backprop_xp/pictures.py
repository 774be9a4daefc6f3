"""What Matplotlib draws of a run: curves, sizes by layer, confusion, residuals; as figures, or as SVG for a page."""

import html
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.callbacks import parted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

NOT_FIGURES = ("epoch", "seconds", "learning_rate")
_INK = "#010203"  # stands for the text's colour on a page, light or dark
_DOT = "#4b8fe0"  # is seen on light and on dark
_LABELLED = 20  # classes whose names and counts can be read
_LETTERS = 16  # of a class's name
_POINTS = 2000  # more are drawn as an image


def groups(history: Mapping[str, NDArray[Any]]) -> dict[str, list[str]]:
    """Return which figures share a picture: training and validation of one, the loss first."""
    found = {"loss": [name for name in ("loss", "val_loss") if name in history]}
    for name in history:
        if name not in (*NOT_FIGURES, "loss", "val_loss"):
            found.setdefault(parted(name)[0], []).append(name)
    return found


def curves(
    history: Mapping[str, NDArray[Any]], groups: Mapping[str, Sequence[str]], kept: int | None = None
) -> "Figure":
    """Return a picture a group, side by side, of figures against epochs.

    Parameters
    ----------
    history : dict of str to array (n_epochs,)
    groups : dict of str to sequence of str
        The names of a picture's figures, by its title.
    kept : int, optional
        The epoch whose parameters were kept, to be marked.
    """
    figure = _figure(5.2 * len(groups), 3.6)
    for axes, (title, names) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for name in names:
            color, label = ("C1", "validation") if parted(name)[1] else ("C0", "training")
            marker = "o" if len(history["epoch"]) == 1 else None
            axes.plot(history["epoch"], history[name], color, label=label, marker=marker)
        if kept is not None:
            axes.axvline(kept, color="C2", linestyle=":", label="epoch kept")
        if title == "loss" and all((history[name] > 0).all() for name in names):
            axes.set_yscale("log")
        alone, held = parted(names[0])
        _epochs(axes, title if len(names) > 1 else f"validation {alone}" if held else alone)
        if len(names) > 1:
            axes.legend()
    return figure


def rates(epochs: Floats, learning_rates: Floats) -> "Figure":
    """Return the learning rate against epochs (n_epochs,)."""
    figure = _figure(5.2, 2.6)
    axes = figure.subplots()
    axes.plot(epochs, learning_rates, "C0")
    _epochs(axes, "learning rate")
    return figure


def sizes(epochs: Sequence[float], values: Floats, title: str) -> "Figure":
    """Return each layer's size against epochs.

    Parameters
    ----------
    epochs : sequence of float
    values : array (n_epochs, n_layers)
        Root mean squares.
    title : str
    """
    figure = _figure(5.2, 3.6)
    axes = figure.subplots()
    for layer, of_layer in enumerate(values.T, start=1):
        axes.plot(epochs, of_layer, f"C{(layer - 1) % 10}", marker=".", markersize=3, label=f"layer {layer}")
    if (values > 0).all() and values.max() > 10 * values.min():
        axes.set_yscale("log")
    _epochs(axes, title)
    axes.legend()
    return figure


def confusion(counts: NDArray[np.int64], names: Sequence[str]) -> "Figure":
    """Return the confusion matrix: a row a true class, a column a predicted one.

    Parameters
    ----------
    counts : array (n_classes, n_classes)
    names : sequence of str
        Of the classes.
    """
    n_classes = len(names)
    side = 2.4 + 0.42 * min(n_classes, _LABELLED)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = np.zeros((*counts.shape, 4))
    cells[..., :3] = 31 / 255, 98 / 255, 201 / 255
    cells[..., 3] = np.where(counts > 0, 0.15 + 0.85 * shares, 0.0)
    axes.imshow(cells)
    axes.set(xlabel="predicted", ylabel="true")
    if n_classes <= _LABELLED:
        shown = [_literal(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…") for name in names]
        axes.set_xticks(range(n_classes), shown)
        if max(map(len, names)) > 3:
            axes.tick_params("x", rotation=45)
        axes.set_yticks(range(n_classes), shown)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "#ffffff" if shares[row, column] > 0.4 else _INK
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=9, color=shade)
    return figure


def predicted(truth: Floats, values: Floats, name: str) -> "Figure":
    """Return predictions against true values.

    Parameters
    ----------
    truth, values : array (n_rows,)
        In the target's units.
    name : str
        Of the target.
    """
    figure = _figure(5.2, 3.8)
    axes = figure.subplots()
    axes.scatter(truth, values, s=12, alpha=0.8, color=_DOT, linewidths=0, rasterized=len(truth) > _POINTS)
    ends = [min(truth.min(), values.min()), max(truth.max(), values.max())]
    axes.plot(ends, ends, "C1", linewidth=1)
    axes.set(xlabel=_literal(f"true {name}"), ylabel="predicted", title="predicted against true")
    axes.grid(alpha=0.3)
    return figure


def residuals(errors: Floats) -> "Figure":
    """Return how predicted less true (n_rows,) is spread."""
    figure = _figure(5.2, 3.8)
    axes = figure.subplots()
    axes.hist(errors, bins=min(60, max(8, round(len(errors) ** 0.5))), color=_DOT, rwidth=0.94)
    axes.axvline(0.0, color="C1", linewidth=1)
    axes.set(xlabel="predicted less true", ylabel="rows", title="residuals")
    axes.grid(alpha=0.3)
    return figure


def svg(figure: "Figure", described: str) -> str:
    """Return the figure as SVG to stand in a page, in the page's own colour of text.

    Parameters
    ----------
    figure : Figure
    described : str
        What is said of it to those who don't see it.
    """
    import matplotlib

    for text in figure.findobj(matplotlib.text.Text):
        if text.get_color() == matplotlib.rcParams["text.color"]:
            text.set_color(_INK)
    for axes in figure.axes:
        axes.tick_params(color=_INK, labelcolor=_INK)
        axes.patch.set_alpha(0)
        for spine in axes.spines.values():
            spine.set_color(_INK)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set_alpha(0)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": described}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    whole = buffer.getvalue()
    drawn = whole[whole.index("<svg") :].replace(_INK, "currentColor")
    own = f"p{zlib.crc32(drawn.encode()):x}-"  # several pictures stand in one page
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}", drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{html.escape(described)}"', 1)


def _literal(text: str) -> str:
    """Return text in which a $ begins no formula."""
    return text.replace("$", r"\$")


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _epochs(axes: Any, title: str) -> None:
    axes.set(xlabel="epoch", title=_literal(title))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
