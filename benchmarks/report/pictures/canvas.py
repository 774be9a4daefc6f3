"""The paper that every picture is drawn on: its size and type, its legend, and the SVG that it becomes."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.report.markup import Table, escaped
from benchmarks.report.pictures.palette import COLOURS, NAMES, ink, style
from benchmarks.report.wording import shortened

WIDTH = 360  # CSS pixels, and so are all lengths and sizes of type: a phone shows a picture nearly one to one
SMALL = 10.5
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout everywhere, wider than what is shown
    "font.size": SMALL,
    "svg.fonttype": "none",
    "svg.hashsalt": "backprop_xp",
    "text.parse_math": False,
    "text.color": ink("ink"),
    "axes.labelcolor": ink("soft"),
    "axes.labelsize": SMALL,
    "axes.edgecolor": ink("line"),
    "axes.facecolor": "none",
    "axes.unicode_minus": False,
    "figure.facecolor": ink("paper"),
    "figure.edgecolor": "none",
    "grid.color": ink("line"),
    "xtick.color": ink("line"),
    "ytick.color": ink("line"),
    "xtick.labelcolor": ink("soft"),
    "ytick.labelcolor": ink("soft"),
    "hatch.linewidth": 1.0,
    "hatch.color": ink("grey"),
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True)
class Picture:
    """A picture and what stands around it: its name as a file, a title, a description in words, its numbers."""

    name: str
    title: str
    description: str
    svg: str
    numbers: Table
    group: str = ""  # the heading that it stands under, if its suite has several


def picture(
    name: str,
    title: str,
    description: str,
    numbers: Table,
    height: float,
    paint: Callable[[Figure], None],
    group: str = "",
) -> Picture:
    """Return what `paint` draws on an empty figure as a picture."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        paint(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    svg = _finished(stream.getvalue(), name, title, description, height)
    return Picture(name, title, description, svg, numbers, group)


def place(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Return axes that leave margins of so many pixels."""
    height = figure.get_figheight() * 72
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, pad=4)
    axes.set_axisbelow(True)
    return axes


def write(figure: Figure, x: float, y: float, text: str, **how: object) -> None:
    """Write text at pixels from the top left corner."""
    height = figure.get_figheight() * 72
    figure.text(x / WIDTH, 1 - y / height, text, va="center", **how)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Entry:
    """A legend's entry: a line with a marker, or a patch where no marker is given."""

    text: str
    colour: str
    marker: str = ""
    hatched: bool = False


def entries(contenders: Iterable[str]) -> list[Entry]:
    """Return the legend's entries of contenders."""
    return [Entry(shortened(name, 34), *style(name)) for name in contenders]


def legend_lines(legend: Sequence[Entry], width: float = WIDTH - 16) -> list[list[tuple[float, Entry]]]:
    """Return the entries broken into lines, each with its place from the left."""
    lines: list[list[tuple[float, Entry]]] = []
    x = width
    for entry in legend:
        length = 34 + 6.5 * len(entry.text)
        if x + length > width or not lines:
            lines.append([])
            x = 0
        lines[-1].append((x, entry))
        x += length
    return lines


def legend_height(legend: Sequence[Entry]) -> float:
    """Return how much room a legend takes."""
    return 16.0 * len(legend_lines(legend))


def draw_legend(figure: Figure, legend: Sequence[Entry], top: float) -> None:
    """Draw a legend whose first line stands `top` pixels from the top."""
    for row, line in enumerate(legend_lines(legend)):
        for x, entry in line:
            _key(figure, 10 + x, top + 16 * row + 8, entry)
            write(figure, 32 + x, top + 16 * row + 8, entry.text, size=SMALL, color=ink("soft"))


def _key(figure: Figure, x: float, y: float, entry: Entry) -> None:
    height = figure.get_figheight() * 72
    if entry.marker:
        ends = [x / WIDTH, (x + 8) / WIDTH, (x + 16) / WIDTH]
        line = Line2D(ends, [1 - y / height] * 3, color=ink(entry.colour), marker=entry.marker, markevery=[1])
        line.set(markersize=6, linewidth=1.6, markeredgewidth=0, figure=figure)
        figure.add_artist(line)
        return
    look = {"facecolor": "none", "hatch": "/////", "edgecolor": ink("grey")}
    axes = figure.add_axes((x / WIDTH, 1 - (y + 5) / height, 16 / WIDTH, 10 / height))
    axes.set_axis_off()
    axes.axhspan(0, 1, linewidth=0, **(look if entry.hatched else {"facecolor": ink(entry.colour)}))  # type: ignore[arg-type]
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _finished(svg: str, name: str, title: str, description: str, height: float) -> str:
    """Return matplotlib's SVG made to stand alone and among others: own ids, colours by custom property, no prolog."""
    body = svg[svg.index("<g id=") :]
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(|xlink:href=")#', lambda m: f"{m[1].removeprefix('xlink:')}#{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r' fill="(#01f0..)"', r' style="fill: \1"', body)
    body, used_colours = (
        re.sub(_STAND_IN, lambda m: f"var(--{_colour(m)})", body),
        map(_colour, _STAND_IN.finditer(body)),
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}" role="img" aria-labelledby="{name}-title {name}-desc" '
        f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}">\n'
        f'<title id="{name}-title">{escaped(title)}</title>\n<desc id="{name}-desc">{escaped(description)}</desc>\n'
        f"{_sheet(name, sorted(set(used_colours)))}\n{body}"
    )


_STAND_IN = re.compile(r"#01f0([0-9a-f]{2})")


def _colour(match: re.Match[str]) -> str:
    return NAMES[int(match[1], 16)]


def _sheet(name: str, colours: Sequence[str]) -> str:
    """Return the style of one picture, which holds for nothing around it."""
    light, dark = (";".join(f"--{colour}:{COLOURS[colour][side]}" for colour in colours) for side in (0, 1))
    return (
        f"<style>#{name}{{font-family:{FONT};{light}}}#{name} *{{stroke-linejoin:round;stroke-linecap:butt}}"
        f"@media (prefers-color-scheme:dark){{#{name}{{{dark}}}}}</style>"
    )
