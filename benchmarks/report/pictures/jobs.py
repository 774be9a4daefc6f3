"""Whole jobs: time to fit, accuracy over time, and peak memory."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from benchmarks.report import tables
from benchmarks.report.pictures.canvas import (
    SMALL,
    Picture,
    draw_legend,
    entries,
    legend_height,
    picture,
    place,
    write,
)
from benchmarks.report.pictures.charts import PLOT_HEIGHT, Bar, Panel, bars_height, decades, draw_bars
from benchmarks.report.pictures.palette import ink, style
from benchmarks.report.results import Case, Results, Row, contenders, middle, ratio
from benchmarks.report.wording import DASH, duration, factor, gap_name, listing, size


def pictures(results: Results) -> list[Picture]:
    """Return three pictures a job, fewer where a file doesn't say what they show."""
    drawn = [draw(case, n) for n, case in enumerate(results.measured("jobs"), 1) for draw in (_time, _curves, _memory)]
    return [found for found in drawn if found]


def _time(case: Case, n: int) -> Picture:
    ours, peer = case.best("ours"), case.best("peer")
    said = [f"{row.contender} fits in {duration(row.median)}" for row in case.rows]
    against = f" Ours takes {factor(ratio(ours, peer))} the time of the fastest peer." if ours and peer else ""
    description = f"{tables.job_name(case.values)}: {listing(said)}.{against}"
    bars = _bars(case, lambda row: Bar(row.contender, row.median, duration(row.median), row.role == "ours"))
    return _panel(case, f"jobs-time-{n}", "time to fit", description, bars)


def _memory(case: Case, n: int) -> Picture | None:
    known = [row for row in case.rows if (row.extra.get("memory") or {}).get("peak")]
    if not known:
        return None
    said = [f"{row.contender} {size(row.extra['memory']['peak'])}" for row in known]
    process = f"{tables.job_name(case.values)}, peak memory of the process: {listing(said)}."
    description = f"{process} In full colour: what fitting added."
    return _panel(case, f"jobs-memory-{n}", "peak memory", description, _bars(case, _memory_bar))


def _memory_bar(row: Row) -> Bar:
    memory = row.extra.get("memory") or {}
    peak, added = memory.get("peak"), memory.get("added")
    if not peak:
        return Bar(row.contender, None, DASH)
    text = size(peak) + (f", +{size(added, 2)}" if added else "")
    return Bar(row.contender, peak, text, row.role == "ours", added)


def _bars(case: Case, make: Callable[[Row], Bar]) -> list[Bar]:
    made = []
    for name in contenders((*case.rows, *case.gaps)):
        row, gap = case.row(name), case.gap(name)
        made.append(make(row) if row else Bar(name, None, gap_name(gap.kind) if gap else ""))
    return made


def _panel(case: Case, name: str, what: str, description: str, bars: Sequence[Bar]) -> Picture:
    panels = [Panel(what, bars)]
    return picture(
        name, f"{tables.job_name(case.values)}: {what}", description, tables.job_numbers(case), bars_height(panels),
        lambda figure: draw_bars(figure, panels), tables.job_name(case.values),
    )  # fmt: skip


def _curves(case: Case, n: int) -> Picture | None:
    rows = [row for row in case.rows if (row.extra.get("curve") or {}).get("seconds")]
    if not rows:
        return None
    targets = [row.extra["target"] for row in rows if row.extra.get("target") is not None]
    height = PLOT_HEIGHT + 48 + legend_height(entries(row.contender for row in rows))
    title, numbers = f"{tables.job_name(case.values)}: accuracy over time", tables.job_numbers(case)

    def paint(figure: Figure) -> None:
        _draw_curves(figure, rows, targets[0] if targets else None)

    said = listing(_reached(row) for row in rows)
    target = f" The target is {targets[0]}." if targets else ""
    description = f"{title}, on validation rows after each epoch.{target} {said}."
    return picture(f"jobs-accuracy-{n}", title, description, numbers, height, paint, tables.job_name(case.values))


def _reached(row: Row) -> str:
    time, last = middle(row.extra.get("seconds_to_target")), row.extra["curve"]["accuracy"][-1]
    when = (
        ""
        if not row.extra.get("seconds_to_target")
        else " never reached"
        if time is None
        else f" after {duration(time)}"
    )
    return f"{row.contender} ends at {last:.3f}{', the target' + when if when else ''}"


def _draw_curves(figure: Figure, rows: Sequence[Row], target: float | None) -> None:
    legend = entries(row.contender for row in rows)
    axes = place(figure, 48, 26, 14, 42 + legend_height(legend))
    write(figure, 8, 12, "validation accuracy", size=SMALL, color=ink("soft"))
    for row in rows:
        colour, marker = style(row.contender)
        seconds, accuracy = row.extra["curve"]["seconds"], row.extra["curve"]["accuracy"]
        axes.plot(seconds, accuracy, color=ink(colour), linewidth=1.6, marker=marker, markersize=4, markeredgewidth=0)
    times = [time for row in rows for time in row.extra["curve"]["seconds"] if time > 0]
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 1.2, max(times) * 1.2)
    ticks = decades(min(times) / 1.2, max(times) * 1.2)
    axes.set_xticks([], minor=True)
    axes.set_xticks(ticks, [duration(tick, 1) for tick in ticks])
    axes.set_xlabel("time of training (log scale)")
    axes.grid(axis="y", linewidth=0.8)
    if target is not None:
        axes.axhline(target, color=ink("ink"), linewidth=1.2, dashes=(4, 3))
        axes.annotate(f"target {target:g}", (1, target), (-2, -7), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", va="center", size=SMALL)  # fmt: skip
    draw_legend(figure, legend, figure.get_figheight() * 72 - legend_height(legend) - 4)
