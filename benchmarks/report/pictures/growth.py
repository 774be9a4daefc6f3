"""How time and memory grow along each axis, and how near a step comes to the measured matrix rate."""

import itertools

from matplotlib.figure import Figure

from benchmarks.report import tables
from benchmarks.report.pictures.canvas import SMALL, WIDTH, Entry, Picture, picture, write
from benchmarks.report.pictures.charts import Lines, draw_lines, lines_height
from benchmarks.report.results import Results, Spread
from benchmarks.report.scaling import ARITHMETIC, DISPATCH, MEMORY, Axis, Fit, axes, runs_of, shares
from benchmarks.report.wording import between, listing, number, percent, size, slug

UNITS = {"hidden": "hidden units", "batch": "rows in a batch", "depth": "hidden layers", "rows": "rows of data"}
SHADES = {DISPATCH: "shade1", MEMORY: "shade2", ARITHMETIC: "shade3"}


def pictures(results: Results) -> list[Picture]:
    """Return time, share of the matrix rate and memory for each axis, as far as they were measured."""
    named = [(axis, f"{n}-{slug(axis.name)}") for n, axis in enumerate(axes(results), 1)]
    drawn = [draw(results, axis, name) for axis, name in named for draw in (_time, _share, _memory)]
    return [found for found in drawn if found]


def named(axis: Axis) -> str:
    """Return what grows, and where."""
    return UNITS.get(axis.name, axis.name) + ("" if axis.device == "cpu" else f", {axis.device}")


def exponent(fit: Fit) -> str:
    """Return the fitted exponent with the sizes that it holds between."""
    return f"{number(fit.exponent, 2)} from {fit.start:,.0f} to {fit.end:,.0f}"


def _time(results: Results, axis: Axis, name: str) -> Picture:
    ours = axis.ours() or axis.contenders()[0]
    unit = next(iter(axis.rows(ours).values())).unit
    lines = {name: {at: row.time for at, row in axis.rows(name).items()} for name in axis.contenders()}
    regimes, fit = axis.regimes(ours), axis.fit(ours)
    drawn = Lines(lines, named(axis), f"time of {'an' if unit == 'epoch' else 'a'} {unit}", bands=_bands(regimes))
    legend = [Entry(name, shade) for name, shade in SHADES.items() if name in regimes.values()]

    def paint(figure: Figure) -> None:
        draw_lines(figure, drawn, legend)
        if fit:
            text = f"exponent {exponent(fit)}"
            write(figure, WIDTH - 8, 12, text, size=SMALL, ha="right", weight="bold")

    title = f"Time of {'an' if unit == 'epoch' else 'a'} {unit} by {named(axis)}"
    said = [f"{ours} grows with exponent {exponent(fit)}."] if fit else []
    bound = [f"{regime} at {_sizes(start, end)}" for start, end, regime in runs_of(list(regimes.items()))]
    said += [f"It is {listing(bound)}."] if bound else []
    height = lines_height(drawn, legend)
    return picture(
        f"growth-time-{name}",
        title,
        " ".join([f"{title}, log-log.", *said]),
        tables.growth_numbers(results, axis),
        height,
        paint,
        named(axis),
    )


def _sizes(start: float, end: float) -> str:
    return between([start, end], "{:,.0f}".format)


def _bands(regimes: dict[float, str]) -> list[tuple[float, float, str]]:
    """Return shaded stretches that meet halfway between the sizes of neighbouring regimes."""
    runs = runs_of(list(regimes.items()))
    edges = [(a[1] * b[0]) ** 0.5 for a, b in itertools.pairwise(runs)]
    starts, ends = [run[0] for run in runs[:1]] + edges, edges + [run[1] for run in runs[-1:]]
    return [(start, end, SHADES[run[2]]) for start, end, run in zip(starts, ends, runs, strict=True)]


def _share(results: Results, axis: Axis, name: str) -> Picture | None:
    lines = {name: shares(results, axis, name) for name in axis.contenders()}
    drawn = Lines(
        {name: {at: Spread(share, share, share) for at, share in line.items()} for name, line in lines.items() if line},
        named(axis), "share of the measured matrix rate", write=percent,
    )  # fmt: skip
    ours = lines.get(axis.ours() or "")
    if not ours:
        return None
    at = max(ours, key=lambda found: ours[found])
    said = f"{axis.ours()} reaches {percent(ours[at])} at {at:,.0f}, its best on this axis."
    return _of_axis(results, axis, f"growth-share-{name}", "Share of the matrix rate", said, drawn)


def _memory(results: Results, axis: Axis, name: str) -> Picture | None:
    ours = axis.ours()
    memory = {at: row.extra.get("memory") or {} for at, row in axis.rows(ours).items()} if ours else {}
    lines = {key: {at: m[key] for at, m in memory.items() if m.get(key)} for key in ("peak", "added")}
    if not ours or not lines["peak"]:
        return None
    drawn = Lines(
        {key: {at: Spread(v, v, v) for at, v in line.items()} for key, line in lines.items() if line},
        named(axis), "memory: peak of the process, and added by fitting", write=lambda value: size(value, 1),
    )  # fmt: skip
    said = f"{ours} holds {between(list(lines['peak'].values()), size)} at its peak, the whole process counted."
    return _of_axis(results, axis, f"growth-memory-{name}", "Peak memory", said, drawn)


def _of_axis(results: Results, axis: Axis, name: str, what: str, said: str, drawn: Lines) -> Picture:
    title, numbers = f"{what} by {named(axis)}", tables.growth_numbers(results, axis)

    def paint(figure: Figure) -> None:
        draw_lines(figure, drawn)

    return picture(name, title, f"{title}: {said}", numbers, lines_height(drawn), paint, named(axis))
