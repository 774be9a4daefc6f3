"""The forms that several suites share: lines on log-log paper, and panels of bars."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report.pictures.canvas import SMALL, WIDTH, Entry, draw_legend, entries, legend_height, place, write
from benchmarks.report.pictures.palette import ink, style
from benchmarks.report.results import Spread
from benchmarks.report.wording import duration, number, shortened

BAR = 17.0  # pixels from one bar to the next
NAMES_WIDTH = 140.0
PLOT_HEIGHT = 214.0


@dataclass(frozen=True)
class Bar:
    """One contender's bar; without a length it is a gap, and the text says why."""

    contender: str
    length: float | None
    text: str
    bold: bool = False
    part: float | None = None  # what of the length is drawn in full colour, the rest pale; all where not given


@dataclass(frozen=True)
class Panel:
    """Bars that share an axis."""

    title: str
    bars: Sequence[Bar]


def bars_height(panels: Sequence[Panel], label: str = "") -> float:
    """Return the height that the panels take, and the label below them."""
    return sum(26 + BAR * len(panel.bars) for panel in panels) + (28 if label else 10)


def draw_bars(figure: Figure, panels: Sequence[Panel], label: str = "", base: float | None = None) -> None:
    """Draw panels below one another on one scale.

    Parameters
    ----------
    label : what the length of a bar is, written below all panels
    base : where bars start on a log axis; None for a linear axis from 0
    """
    bars = [bar for panel in panels for bar in panel.bars]
    limits = _limits(bars, base)
    top = 4.0
    for panel in panels:
        height = BAR * len(panel.bars)
        write(figure, 8, top + 12, panel.title, size=SMALL, weight="bold")
        axes = place(figure, NAMES_WIDTH + 8, top + 24, 12, figure.get_figheight() * 72 - top - 24 - height)
        axes.set(ylim=(len(panel.bars), 0), xscale="linear" if base is None else "log", xlim=limits)
        axes.set_xticks([], minor=True)
        axes.set(xticks=[], yticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.axvline(base or 0, color=ink("soft"), linewidth=1)
        for row, bar in enumerate(panel.bars):
            name = shortened(bar.contender.removeprefix("backprop_xp, "), 24)
            write(
                figure, NAMES_WIDTH + 2, top + 24 + BAR * (row + 0.5), name, ha="right",
                size=SMALL, weight="bold" if bar.bold else "normal", color=ink("ink" if bar.bold else "soft"),
            )  # fmt: skip
            _bar(axes, row, bar, base)
        top += 26 + height
    write(figure, WIDTH - 8, top + 11, label, size=SMALL, color=ink("soft"), ha="right")


def _limits(bars: Sequence[Bar], base: float | None) -> tuple[float, float]:
    """Return the ends of the scale, such that the longest bar leaves room for the longest text."""
    lengths = [bar.length for bar in bars if bar.length is not None] or [base or 1.0]
    taken = (8 + 6.8 * max(len(bar.text) for bar in bars)) / (WIDTH - NAMES_WIDTH - 20)
    if base is None:
        return 0.0, max(lengths) / (1 - taken)
    low, high = min([*lengths, base]), max([*lengths, 1.5 * base])
    reach = (high / low) ** (1 / (0.96 - taken))
    return low / reach**0.04, low * reach**0.96


def _bar(axes: Axes, row: int, bar: Bar, base: float | None) -> None:
    start = base or 0.0
    if bar.length is None:
        axes.annotate(bar.text, (start, row + 0.5), (6, 0), textcoords="offset points", va="center", color=ink("soft"),
                      style="italic", size=SMALL)  # fmt: skip
        return
    colour = ink(style(bar.contender).colour)
    full = bar.length if bar.part is None else bar.part
    axes.barh(row + 0.5, bar.length - start, 0.66, start, color=colour, alpha=0.3 if bar.part is not None else 1)
    if bar.part is not None:
        axes.barh(row + 0.5, full, 0.66, bar.length - full, color=colour)
    axes.annotate(
        bar.text, (max(bar.length, start), row + 0.5), (4, 0), textcoords="offset points", va="center", size=SMALL,
        weight="bold" if bar.bold else "normal", color=ink("ink"),
    )  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """What lines on log-log paper are drawn from: a line a contender, by size."""

    lines: Mapping[str, Mapping[float, Spread]]
    xlabel: str
    ylabel: str
    marks: Sequence[tuple[float, float]] = ()  # crossovers: size, value
    bands: Sequence[tuple[float, float, str]] = ()  # from, to, colour
    write: Callable[[float], str] = field(default=lambda value: duration(value, 1))


def lines_height(lines: Lines, more: Sequence[Entry] = ()) -> float:
    """Return the height of the picture."""
    return PLOT_HEIGHT + 48 + legend_height([*entries(lines.lines), *more])


def draw_lines(figure: Figure, lines: Lines, more: Sequence[Entry] = ()) -> None:
    """Draw the lines with their spread, a ring at each crossover, and the legend below."""
    legend = [*entries(lines.lines), *more]
    axes = place(figure, 48, 26, 14, 26 + 16 + legend_height(legend))
    write(figure, 8, 12, lines.ylabel, size=SMALL, color=ink("soft"))
    for start, end, colour in lines.bands:
        axes.axvspan(start, end, color=ink(colour), linewidth=0)
    for contender, points in lines.lines.items():
        _line(axes, contender, points)
    log_axes(axes, lines)
    axes.set_xlabel(lines.xlabel)
    _rings(axes, lines.marks)
    draw_legend(figure, legend, figure.get_figheight() * 72 - legend_height(legend) - 4)


def _rings(axes: Axes, marks: Sequence[tuple[float, float]]) -> None:
    """Mark places with their size beside them: at the left in the right half, and above where one stands below."""
    before, below = 0.0, False
    for size, value in sorted(marks):
        axes.plot([size], [value], "o", markersize=9, markerfacecolor="none", color=ink("ink"), markeredgewidth=1.4)
        below = not (below and size < 8 * before)
        start, end = (math.log(limit) for limit in axes.get_xlim())
        left = math.log(size) > (start + end) / 2
        axes.annotate(
            f"≈ {number(size, 2)}", (size, value), (-7 if left else 7, -9 if below else 11), textcoords="offset points",
            size=SMALL, weight="bold", va="center", ha="right" if left else "left",
        )  # fmt: skip
        before = size


def _line(axes: Axes, contender: str, points: Mapping[float, Spread]) -> None:
    colour, marker = style(contender)
    sizes = list(points)
    low, median, high = ([spread[k] for spread in points.values()] for k in range(3))
    axes.fill_between(sizes, low, high, color=ink(colour), alpha=0.22, linewidth=0)
    axes.plot(sizes, median, color=ink(colour), marker=marker, markersize=5, markeredgewidth=0, linewidth=1.6)


def log_axes(axes: Axes, lines: Lines) -> None:
    """Set both scales: the measured sizes below, round times at the left."""
    sizes = sorted({size for points in lines.lines.values() for size in points})
    values = [value for points in lines.lines.values() for spread in points.values() for value in spread]
    log_sizes(axes, sizes)
    low, high = min(values), max(values)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.6, high * 1.6)
    ticks = decades(low / 1.6, high * 1.6)
    axes.set_yticks([], minor=True)
    axes.set_yticks(ticks, [lines.write(tick) for tick in ticks])
    axes.grid(axis="y", linewidth=0.8)


def log_sizes(axes: Axes, sizes: Sequence[float]) -> None:
    """Set a log scale below with at most seven of the measured sizes written."""
    axes.set_xscale("log")
    axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    written = sizes[:: math.ceil(len(sizes) / 7)]
    axes.set_xticks([], minor=True)
    axes.set_xticks(written, [f"{size:,.0f}" for size in written])


def decades(low: float, high: float) -> list[float]:
    """Return at most seven round values in a range: powers of ten, with twos and fives where those are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= 6:
            return ticks
    return ticks[:: math.ceil(len(ticks) / 6)]
