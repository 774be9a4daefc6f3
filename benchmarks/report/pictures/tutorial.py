"""The tutorials' looped gradient against their vectorised one."""

from matplotlib.figure import Figure

from benchmarks.report import tables
from benchmarks.report.grids import AxisLines
from benchmarks.report.pictures.canvas import Picture, picture
from benchmarks.report.pictures.charts import Bar, Panel, bars_height, draw_bars
from benchmarks.report.pictures.crossings import crossing_lines
from benchmarks.report.results import Case, Results, contenders, ratio
from benchmarks.report.wording import case_name, duration, factor, gap_name, listing

S2 = "S2, vectorised"


def pictures(results: Results) -> list[Picture]:
    """Return bars at the tutorials' own size, the smallest, and lines along the number of rows if there are several."""
    cases = sorted(results.measured("tutorial"), key=_rows)
    names = contenders(row for case in cases for row in case.rows)
    lines = {name: {_rows(case): row for case in cases if (row := case.row(name))} for name in names}
    along = [crossing_lines("tutorial-rows", AxisLines("rows", "", lines), "rows", S2)] if len(cases) > 1 else []
    return [*map(_bars, cases[:1]), *along]


def _rows(case: Case) -> float:
    return float(case.values.get("rows", 1))


def _bars(case: Case) -> Picture:
    panel = Panel("time of a step", [_bar(case, who) for who in contenders((*case.rows, *case.gaps))])
    title = f"S1 against S2, {case_name(case.values)}"

    def paint(figure: Figure) -> None:
        draw_bars(figure, [panel])

    return picture("tutorial-bars", title, describe(case), tables.case_numbers(case), bars_height([panel]), paint)


def _bar(case: Case, name: str) -> Bar:
    row, gap = case.row(name), case.gap(name)
    if row is None:
        return Bar(name, None, gap_name(gap.kind) if gap else "")
    return Bar(name, row.median, duration(row.median), bold=row.role == "ours")


def describe(case: Case) -> str:
    """Return who takes how long, and how many times the fastest that is."""
    rows = sorted(case.rows, key=lambda row: row.median)
    slower = [f"{row.contender} {factor(ratio(row, rows[0]))} that" for row in rows[1:]]
    first = f"{case_name(case.values)}: {rows[0].contender} takes {duration(rows[0].median)} a step"
    return f"{first}{', ' + listing(slower) if slower else ''}."
