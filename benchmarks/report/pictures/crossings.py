"""Several contenders' time of a step along one size, with the places where they cross one of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.report import tables
from benchmarks.report.grids import AxisLines
from benchmarks.report.pictures.canvas import Picture, picture
from benchmarks.report.pictures.charts import Lines, draw_lines, lines_height
from benchmarks.report.results import ratio_spread
from benchmarks.report.scaling import crossovers
from benchmarks.report.wording import listing, number

Medians = Mapping[str, Mapping[float, float]]


def crossing_lines(name: str, lines: AxisLines, size: str, against: str | None) -> Picture:
    """Return the lines as a picture.

    Parameters
    ----------
    name : of the picture
    size : what grows, in words
    against : whose crossings with the others are marked; nobody's if it has no line
    """
    by_name = {who: {at: row.time for at, row in line.items()} for who, line in lines.rows.items()}
    medians = {who: {at: time.median for at, time in line.items()} for who, line in by_name.items()}
    others = [who for who in medians if who != against] if against in medians else []
    level = {who: _level(lines, who, str(against)) for who in others}
    crossed = {who: crossovers(medians[who], medians[str(against)], level[who]) for who in others}
    marks = [(at, _value(medians[str(against)], at)) for sizes in crossed.values() for at in sizes]
    drawn = Lines(by_name, f"{size} ({lines.held})" if lines.held else size, "time of a step", marks)

    def paint(figure: Figure) -> None:
        draw_lines(figure, drawn)

    said = [_said(who, str(against), crossed[who], level[who], medians, lines.axis) for who in others]
    held = f" at {lines.held}" if lines.held else ""
    description = " ".join([f"Time of a step against {size}{held}, log-log.", *said])
    numbers = tables.lines_numbers(lines)
    return picture(name, f"Time of a step by {size}", description, numbers, lines_height(drawn), paint)


def _level(lines: AxisLines, who: str, against: str) -> set[float]:
    """Return the sizes at which the quartiles of the ratio lie on both sides of 1."""
    a, b = lines.rows[who], lines.rows[against]
    ratios = {size: ratio_spread(a[size], b[size]) for size in set(a) & set(b)}
    return {size for size, ratio in ratios.items() if ratio.low <= 1 <= ratio.high}


def _said(name: str, against: str, crossed: Sequence[float], level: set[float], medians: Medians, axis: str) -> str:
    """Return in a sentence where two lines cross, or which of them is below throughout."""
    if crossed:
        return f"{name} and {against} cross at {axis} {listing(number(size, 2) for size in crossed)}."
    common = set(medians[name]) & set(medians[against])
    if not common - level:
        return f"{name} and {against} {'are level' if common else 'share no size'}{' at every size' * bool(common)}."
    below, above = sorted((name, against), key=lambda who: medians[who][max(common - level)])
    where = "wherever they differ by more than the noise" if common & level else "at every size that both have"
    return f"{below} is below {above} {where}."


def _value(line: Mapping[float, float], size: float) -> float:
    """Return a line's value between two measured sizes, straight on log-log paper."""
    return float(np.exp(np.interp(np.log(size), np.log(list(line)), np.log(list(line.values())))))
