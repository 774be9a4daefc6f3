"""Loops against matrices: heat maps of the speed-up, and time along each of the two sizes."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.report import tables
from benchmarks.report.grids import AxisLines, Heat, along, grid, heats
from benchmarks.report.pictures.canvas import (
    SMALL,
    WIDTH,
    Entry,
    Picture,
    draw_legend,
    legend_height,
    picture,
    place,
    write,
)
from benchmarks.report.pictures.crossings import crossing_lines
from benchmarks.report.pictures.palette import ink
from benchmarks.report.results import Results
from benchmarks.report.wording import between, count, gap_name, listing, number, slug

CELL = 31.0
_AXES = {"hidden": "hidden units", "batch": "batch"}
_QUIET: dict[str, Any] = {"size": SMALL, "color": ink("soft")}
STEPS = (1.1, 3, 10, 30, 100, 300)  # half a decade a colour, and a narrow neutral one about 1


def level(value: float) -> str:
    """Return the name of a factor's colour: win1 to win6, loss1 to loss6, or level."""
    distance = sum(max(value, 1 / value) >= step for step in STEPS)
    return f"{'win' if value > 1 else 'loss'}{distance}" if distance else "level"


def text_colour(name: str) -> str:
    """Return the colour of the type on a cell: ink on pale ones, paper on strong ones."""
    return "paper" if name[-1] in "456" else "ink"


def pictures(results: Results) -> list[Picture]:
    """Return every picture of the suite."""
    lines = [found for axis in ("hidden", "batch") if (found := along(results, axis)) and found.rows]
    ours = grid(results).ours
    return [*map(heat_map, heats(results), itertools.count(1)), *(_along(found, ours) for found in lines)]


def heat_map(heat: Heat, n: int = 1) -> Picture:
    """Return the nth heat map, of one contender over another."""
    legend = _legend(heat)
    height = 44 + CELL * len(heat.hidden) + 40 + legend_height(legend) + 6

    def paint(figure: Figure) -> None:
        _cells(figure, heat, height)
        _scale(figure, heat, 44 + CELL * len(heat.hidden) + 10)
        draw_legend(figure, legend, height - legend_height(legend) - 6)

    title = f"{heat.fast}: times as fast as {heat.slow}"
    return picture(f"loops-{n}-{slug(heat.slow)}", title, describe(heat), tables.heat_numbers(heat), height, paint)


def describe(heat: Heat) -> str:
    """Return the heat map in words."""
    medians = [value.median for value in heat.factors.values()]
    left_out = f" {count(heat.n_cells - len(medians), 'cell')} left out." if len(medians) < heat.n_cells else ""
    return (
        f"By hidden units and batch, {heat.fast} takes a step {between(medians, _short)} times as fast as {heat.slow}. "
        f"{lost(heat)}{left_out}"
    )


def lost(heat: Heat) -> str:
    """Return in how many cells the one that should win loses, and where those lie."""
    measured = count(len(heat.factors), "measured cell")
    if not heat.lost:
        return f"Of {measured} {heat.slow} win none."
    hidden, batch = zip(*heat.lost, strict=True)
    limits = [
        f"{name} {max(sizes):,.0f} or less"
        for name, sizes, all_sizes in (("hidden", hidden, heat.hidden), ("batch", batch, heat.batch))
        if max(sizes) < max(all_sizes)
    ]
    where = f", all at {listing(limits)}" if limits else ""
    return f"Of {measured} {heat.slow} win {len(heat.lost)}{where}."


def _short(value: float) -> str:
    return number(value, 2)


def _cells(figure: Figure, heat: Heat, height: float) -> None:
    n_rows, n_columns = len(heat.hidden), len(heat.batch)
    axes = place(figure, 46, 44, 8, height - 44 - CELL * n_rows)
    axes.spines["bottom"].set_visible(False)
    axes.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    axes.xaxis.tick_top()
    axes.set_xticks([k + 0.5 for k in range(n_columns)], [f"{batch:,.0f}" for batch in heat.batch])
    axes.set_yticks([k + 0.5 for k in range(n_rows)], [f"{hidden:,.0f}" for hidden in heat.hidden])
    write(figure, 8, 12, "hidden units ↓", size=SMALL, color=ink("soft"))
    write(figure, WIDTH - 8, 12, "batch →", size=SMALL, color=ink("soft"), ha="right")
    for row, hidden in enumerate(heat.hidden):
        for column, batch in enumerate(heat.batch):
            value = heat.factors.get((hidden, batch))
            look = ink(level(value.median)) if value else "none"
            cell = Rectangle((column, row), 1, 1, facecolor=look, edgecolor=ink("paper"), linewidth=1.5)
            axes.add_patch(cell)
            if value is None:
                inner = (column + 0.04, row + 0.05), 0.92, 0.9
                axes.add_patch(Rectangle(*inner, facecolor="none", edgecolor=ink("grey"), hatch="////", linewidth=0))
                continue
            axes.text(
                column + 0.5, row + 0.52, _short(value.median), ha="center", va="center_baseline", size=SMALL,
                color=ink(text_colour(level(value.median))), weight="bold" if value.median < 1 else "normal",
            )  # fmt: skip
    _frontier(heat, axes.plot)


def _frontier(heat: Heat, plot: Callable[..., Any]) -> None:
    """Draw a line between the cells that are won and those that are lost."""
    won = [[_won(heat, hidden, batch) for batch in heat.batch] for hidden in heat.hidden]
    for row, line in enumerate(won):
        for column, here in enumerate(line):
            right = line[column + 1] if column + 1 < len(line) else here
            below = won[row + 1][column] if row + 1 < len(won) else here
            if None not in (here, right) and here != right:
                plot([column + 1] * 2, [row, row + 1], color=ink("ink"), linewidth=2)
            if None not in (here, below) and here != below:
                plot([column, column + 1], [row + 1] * 2, color=ink("ink"), linewidth=2)


def _won(heat: Heat, hidden: float, batch: float) -> bool | None:
    value = heat.factors.get((hidden, batch))
    return None if value is None else value.median >= 1


def _scale(figure: Figure, heat: Heat, top: float) -> None:
    """Draw the colours from the strongest loss to the strongest win that occur, with the factors between them."""
    n = len(STEPS)
    colours = [*(f"loss{k}" for k in range(n, 0, -1)), "level", *(f"win{k}" for k in range(1, n + 1))]
    bounds = [*(f"1/{step}" for step in STEPS[:0:-1]), "", "", *(str(step) for step in STEPS[1:])]
    used = [colours.index(level(value.median)) for value in heat.factors.values()]
    first, last = min([*used, n - 1]), max([*used, n + 1])
    width = (WIDTH - 56) / (last - first + 1)
    axes = place(figure, 46, top, 10, figure.get_figheight() * 72 - top - 10)
    axes.set(xlim=(0, last - first + 1), ylim=(0, 1))
    axes.set_axis_off()
    for position in range(first, last + 1):
        axes.add_patch(Rectangle((position - first, 0), 1, 1, facecolor=ink(colours[position]), linewidth=0))
        if position < last:
            write(figure, 46 + (position - first + 1) * width, top + 18, bounds[position], ha="center", **_QUIET)
    write(figure, 46 + (n - first + 0.5) * width, top + 18, "1", ha="center", **_QUIET)


def _legend(heat: Heat) -> Sequence[Entry]:
    """Return the hatching with its reasons."""
    kinds = sorted(set(map(gap_name, heat.gaps.values())))
    return [Entry(f"left out: {listing(kinds)}", "grey", hatched=True)] if kinds else []


def _along(lines: AxisLines, ours: str | None) -> Picture:
    """Return the time of a step along one size."""
    return crossing_lines(f"loops-{lines.axis}", lines, _AXES[lines.axis], ours)
