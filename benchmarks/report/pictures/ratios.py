"""Ratios with their intervals as dots, on a log scale about 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from benchmarks.report.markup import Mark, Table
from benchmarks.report.pictures.canvas import SMALL, WIDTH, Picture, picture, place, write
from benchmarks.report.pictures.charts import decades
from benchmarks.report.pictures.palette import Style, ink
from benchmarks.report.wording import between, count, number, shortened

SHOWN = 20
TOP, ROW, BOTTOM = 30.0, 30.0, 30.0
LOOKS = {"behind": Style("vermilion", ">"), "ahead": Style("blue", "<"), "level": Style("grey", "o")}


@dataclass(frozen=True)
class Dot:
    """A ratio, its interval, and whether it is slower (behind), faster (ahead) or neither (level)."""

    label: str
    ratio: float
    low: float
    high: float
    mark: Mark


def dots(
    found: Sequence[Dot],
    name: str,
    summary: str,
    numbers: Table,
    over: tuple[str, str] = ("b", "a"),
    group: str = "",
) -> Picture:
    """Return the largest ratios as a picture; what is level comes last.

    Parameters
    ----------
    over : what is divided by what
    group : the heading that the picture stands under
    """
    title = " / ".join(over)
    shown = sorted(found, key=lambda dot: (dot.mark == "level", -abs(math.log(dot.ratio))))[:SHOWN]
    first = f"; shown are {SHOWN} of them, the largest changes first" if len(found) > SHOWN else ""
    ratios = between([dot.ratio for dot in found])
    description = f"{count(len(found), 'ratio')} {title}, {ratios}: {summary}{first}."

    def paint(figure: Figure) -> None:
        _draw(figure, shown, over[0])

    height = TOP + ROW * len(shown) + BOTTOM
    return picture(name, f"Ratios {title}", description, numbers, height, paint, group)


def _draw(figure: Figure, shown: Sequence[Dot], who: str) -> None:
    axes = place(figure, 12, TOP, 44, BOTTOM)
    ends = [end for dot in shown for end in (dot.low, dot.ratio, dot.high) if 0 < end < math.inf]
    reach = max(*ends, 1.2, 1 / min(ends))
    low, high = (1 / reach if min(ends) < 1 else 1 / 1.2), (reach if max(ends) > 1 else 1.2)
    axes.set(xscale="log", xlim=(low / 1.05, high * 1.05), ylim=(len(shown), 0))
    room = (high / low) ** 0.1  # that a tick's number takes
    ticks = sorted({low, 1.0, high, *(tick for tick in decades(low, high) if low * room < tick < high / room)})
    axes.set_xticks([], minor=True)
    axes.set_xticks(ticks, [number(tick, 2) for tick in ticks])
    axes.set_yticks([])
    write(figure, 12, 14, f"← {who} faster", size=SMALL, color=ink("soft"))
    write(figure, WIDTH - 12, 14, f"{who} slower →", size=SMALL, color=ink("soft"), ha="right")
    for row, dot in enumerate(shown):
        colour, marker = LOOKS[dot.mark]
        axes.plot([1, 1], [row + 0.5, row + 0.94], color=ink("soft"), linewidth=1)
        write(figure, 12, TOP + ROW * row + 8, shortened(dot.label, 54), size=SMALL, color=ink("soft"))
        if dot.high < math.inf:
            axes.plot([dot.low, dot.high], [row + 0.72] * 2, color=ink(colour), linewidth=2)
        axes.plot([dot.ratio], [row + 0.72], marker, color=ink(colour), markersize=6, markeredgewidth=0)
        write(figure, WIDTH - 6, TOP + ROW * (row + 0.72), number(dot.ratio), size=SMALL, ha="right")
