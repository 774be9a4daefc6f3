"""The tables of the report as data: every figure that a picture is drawn from, and every gap with its reason."""

from collections.abc import Callable, Iterable

from benchmarks.report.grids import AxisLines, Heat
from benchmarks.report.markup import Cell, Table, table
from benchmarks.report.results import Case, Gap, Results, Row, Spread, Values, contenders, device, middle, ratio_spread
from benchmarks.report.scaling import Axis, axes, shares
from benchmarks.report.standards import STANDARDS, Standard
from benchmarks.report.wording import (
    DASH,
    between,
    case_name,
    count,
    duration,
    gap_name,
    listing,
    number,
    percent,
    short,
    size,
)

NONE = Cell(DASH)
_JOB = ("accuracy", "seconds to target", "peak memory", "added")


def spread_text(spread: Spread, scale: float = 1e6) -> str:
    """Return "350 ± 2 %": the median, and half the distance of the quartiles as a share of it."""
    share = 50 * (spread.high - spread.low) / spread.median
    return f"{number(spread.median * scale)} ± {number(share, 1 if share < 1 else 2)} %"


def median_text(spread: Spread) -> str:
    """Return the median alone."""
    return number(spread.median)


def verdict(spread: Spread, who: str, write: Callable[[Spread], str] = median_text) -> Cell:
    """Return ours / theirs in words."""
    return Cell(f"{write(spread)} {spread.verdict}", spread.verdict, who)


def time_cell(case: Case, contender: str, scale: float = 1e6) -> Cell:
    """Return the time of a contender, in microseconds unless scaled otherwise, or why there is none."""
    row, gap = case.row(contender), case.gap(contender)
    if row is not None:
        return Cell(spread_text(row.time, scale), "ours" if row.role in ("ours", "fit") else "")
    return gap_cell(gap) if gap else NONE


def gap_cell(gap: Gap) -> Cell:
    """Return a gap in two words, its reason behind them."""
    return Cell(gap_name(gap.kind), "gap", gap.reason)


def against(case: Case, role: str, write: Callable[[Spread], str] = median_text) -> Cell:
    """Return our best over the best of a role."""
    ours, other = case.best("ours"), case.best(role)
    if ours is None or other is None:
        return NONE
    return verdict(ratio_spread(ours, other), _over(ours, other), write)


def _over(row: Row, other: Row) -> str:
    return f"{row.contender} / {other.contender}"


def verdicts(results: Results, optimizer: str | None = None, where: str | None = None) -> Table:
    """Return the main table: a line a network and optimizer, the best of ours, and what ours is held against."""
    cases = _peers(results, optimizer, where)
    standards = [standard for standard in STANDARDS if any(map(standard.pair, cases))]
    rows: Iterable[list[Cell | str]] = (
        [
            case_name(_without(case, optimizer)),
            *_best_of_ours(case),
            *(_held(case, standard) for standard in standards),
        ]
        for case in cases
    )
    heads = ["network", "best of ours", "best of ours / best peer", *(standard.title for standard in standards)]
    return table(heads, rows, labels=2)


def _held(case: Case, standard: Standard) -> Cell:
    pair = standard.pair(case)
    if pair is None:
        return NONE
    found, who = ratio_spread(*pair), _over(*pair)
    return Cell(number(found.median), reason=who) if standard.limit else verdict(found, who)


def _peers(results: Results, optimizer: str | None, where: str | None) -> list[Case]:
    return [
        case
        for case in results.measured("peers")
        if optimizer in (None, case.values.get("optimizer")) and where in (None, device(case.values))
    ]


def _best_of_ours(case: Case) -> tuple[Cell, Cell]:
    ours = case.best("ours")
    return Cell(short(ours.contender)) if ours else NONE, against(case, "peer")


def steps(results: Results, optimizer: str | None = None, where: str | None = None) -> Table:
    """Return a line a network and optimizer: microseconds a step of everybody."""
    cases = _peers(results, optimizer, where)
    names = contenders(entry for case in cases for entry in (*case.rows, *case.gaps))
    rows: Iterable[list[Cell | str]] = (
        [case_name(_without(case, optimizer)), *(time_cell(case, name) for name in names)] for case in cases
    )
    return table(["network", *(f"{short(name)}, µs" for name in names)], rows)


def medians(results: Results, optimizer: str, where: str = "cpu") -> Table:
    """Return the same without spreads, fits and reasons, each in its unit, and with the fastest marked."""
    cases = _peers(results, optimizer, where)
    names = contenders(row for case in cases for row in case.rows if row.role != "fit")
    rows: Iterable[list[Cell | str]] = (
        [case_name(_without(case, optimizer)), *(_median(case, name) for name in names)] for case in cases
    )
    return table(["network", *map(short, names)], rows)


def _median(case: Case, name: str) -> Cell:
    row = case.row(name)
    fastest = min((row.median for row in case.rows if row.role not in ("fit", "floor")), default=0.0)
    if row is None:
        return NONE
    return Cell(duration(row.median), "fastest" if row.median == fastest and row.role != "floor" else "")


def _without(case: Case, optimizer: str | None) -> Values:
    """Return the case without the optimizer that all of a table share."""
    return {name: value for name, value in case.values.items() if not (optimizer and name == "optimizer")}


def heat_numbers(heat: Heat) -> Table:
    """Return the factors of a heat map: a line a hidden size, a column a batch size."""

    def cell(hidden: float, batch: float) -> Cell:
        factor = heat.factors.get((hidden, batch))
        if factor is None:
            return Cell(gap_name(heat.gaps[hidden, batch]), "gap")
        return Cell(number(factor.median), "behind" if factor.median < 1 else "")

    def line(hidden: float) -> list[Cell | str]:
        return [f"{hidden:,.0f}", *(cell(hidden, batch) for batch in heat.batch)]

    return table(["hidden units", *(f"batch {batch:,.0f}" for batch in heat.batch)], map(line, heat.hidden))


def lines_numbers(lines: AxisLines) -> Table:
    """Return microseconds a step of every contender by size."""
    sizes = sorted({row_size for line in lines.rows.values() for row_size in line})
    rows = (
        [f"{at:,.0f}", *(spread_text(line[at].time) if at in line else DASH for line in lines.rows.values())]
        for at in sizes
    )
    return table([lines.axis, *(f"{name}, µs" for name in lines.rows)], rows)


def _everybody(case: Case) -> list[str]:
    return contenders((*case.rows, *case.gaps))


def case_numbers(case: Case) -> Table:
    """Return a contender a line: its time, quartiles and number of rounds, and its time over the others'."""
    floor, ours = case.best("floor"), case.best("ours")

    def line(name: str) -> list[Cell | str]:
        row, gap = case.row(name), case.gap(name)
        if row is None:
            return [name, gap_cell(gap) if gap else NONE, NONE, NONE, NONE, NONE]
        low, median, high = (duration(time) for time in row.time)
        return [
            name, median, f"{low} to {high}", str(len(row.data) or DASH),
            number(ratio_spread(row, floor).median) if floor else NONE,
            number(ratio_spread(row, ours).median) if ours else NONE,
        ]  # fmt: skip

    heads = ["contender", "median", "quartiles", "rounds", "/ products alone", "/ ours"]
    return table(heads, map(line, _everybody(case)))


def jobs(results: Results) -> Table:
    """Return the table of whole jobs: a line a job and contender."""
    heads = ["job", "contender", "seconds to fit", "ours / best peer", *_JOB]
    lines = (_job_line(case, name) for case in results.measured("jobs") for name in _everybody(case))
    return table(heads, lines, labels=2)


def job_numbers(case: Case) -> Table:
    """Return the lines of one job."""
    heads = ["contender", "seconds to fit", *_JOB]
    lines = (_job_line(case, name) for name in _everybody(case))
    return table(heads, ([line[1], line[2], *line[4:]] for line in lines))


def job_name(case: Values) -> str:
    """Return a job's name: its data, and the device if it is not the CPU."""
    where = device(case)
    return f"{case.get('data', case_name(case))}{'' if where == 'cpu' else f', {where}'}"


def _job_line(case: Case, name: str) -> list[Cell | str]:
    row, gap = case.row(name), case.gap(name)
    if row is None:
        return [job_name(case.values), name, gap_cell(gap) if gap else NONE, NONE, NONE, NONE, NONE, NONE]
    memory = row.extra.get("memory") or {}
    ratio = against(case, "peer") if row is case.best("ours") else NONE
    return [
        job_name(case.values), name, spread_text(row.time, 1), ratio,
        _accuracy(row), _to_target(row),
        *(size(memory[key]) if memory.get(key) is not None else NONE for key in ("peak", "added")),
    ]  # fmt: skip


def _accuracy(row: Row) -> Cell:
    """Return the median accuracy over the rounds, each of first weights of its own, and from which to which it went."""
    found = row.extra.get("accuracy") or []
    median = middle(found)
    if median is None:
        return NONE
    ends = [f"{end:.4f}" for end in (min(found), max(found))]
    return Cell(f"{median:.4f}{f' ({ends[0]} to {ends[1]})' if ends[0] != ends[1] else ''}")


def _to_target(row: Row) -> Cell:
    """Return the median time to the target over the rounds that reached it, and how many didn't."""
    times = row.extra.get("seconds_to_target")
    if not times:
        return NONE
    reached = middle(times)
    missed = sum(time is None for time in times)
    if reached is None:
        return Cell("not reached", "gap", f"target {row.extra.get('target')}")
    return Cell(f"{number(reached)}{f' (missed in {missed} of {len(times)})' if missed else ''}")


def fits(results: Results, optimizer: str | None = None) -> Table:
    """Return the table of whole fits: a line a case, milliseconds of everybody, and the ratio with its spread."""
    cases = [case for case in results.measured("fits") if optimizer in (None, case.values.get("optimizer"))]
    names = contenders(entry for case in cases for entry in (*case.rows, *case.gaps))
    rows: Iterable[list[Cell | str]] = (
        [
            case_name(_without(case, optimizer)),
            *(time_cell(case, name, 1e3) for name in names),
            against(case, "peer", lambda ratio: spread_text(ratio, 1)),
        ]
        for case in cases
    )
    return table(["fit", *(f"{name}, ms" for name in names), "ours / scikit-learn"], rows)


def fit_ratios(results: Results) -> Table:
    """Return the ratios of whole fits alone: a line a way of fitting, a column a hidden size."""
    lines: dict[str, dict[str, Cell]] = {}
    for case in results.measured("fits"):
        fitting = {name: value for name, value in case.values.items() if name not in ("hidden", "max_iter")}
        lines.setdefault(case_name(fitting), {})[f"hidden {case.values.get('hidden')}"] = against(case, "peer")
    sizes = list(dict.fromkeys(size for line in lines.values() for size in line))
    return table(
        ["ours / scikit-learn", *sizes],
        ([name, *(line.get(size, NONE) for size in sizes)] for name, line in lines.items()),
    )


def growth(results: Results) -> Table:
    """Return the table of growth: a line an axis and size of our contender."""
    heads = ["axis", "size", "time", "ours / products", "share of the matrix rate", "bound by", "peak memory", "added"]
    lines = (line for axis in axes(results) if (name := axis.ours()) for line in _growth_lines(results, axis, name))
    return table(heads, lines)


def growth_numbers(results: Results, axis: Axis) -> Table:
    """Return the lines of one axis."""
    name = axis.ours()
    heads = ["size", "time", "ours / products", "share of the matrix rate", "bound by", "peak memory", "added"]
    return table(heads, (line[1:] for line in _growth_lines(results, axis, name)) if name else ())


def _growth_lines(results: Results, axis: Axis, name: str) -> Iterable[list[Cell | str]]:
    share, regimes = shares(results, axis, name), axis.regimes(name)
    title = axis.name if axis.device == "cpu" else f"{axis.name}, {axis.device}"
    for at, row in axis.rows(name).items():
        floor, memory = axis.cases[at].best("floor"), row.extra.get("memory") or {}
        yield [
            title, f"{at:,.0f}", f"{duration(row.median)} a {row.unit}",
            number(ratio_spread(row, floor).median) if floor else NONE,
            percent(share[at]) if at in share else NONE, regimes.get(at, DASH).removesuffix("-bound"),
            *(size(memory[key]) if memory.get(key) is not None else NONE for key in ("peak", "added")),
        ]  # fmt: skip


def gaps(results: Results) -> Table:
    """Return what was left out, a line a suite, contender and kind."""
    groups: dict[tuple[str, str, str], list[Gap]] = {}
    for gap in results.gaps:
        groups.setdefault((gap.suite, gap.contender, gap.kind), []).append(gap)
    lines = ([*key[:2], gap_name(key[2]), _where(group), _reasons(group)] for key, group in groups.items())
    return table(["suite", "contender", "why", "where", "reason"], lines, labels=5)


def _where(group: list[Gap]) -> str:
    if len(group) <= 2:
        return listing(case_name(gap.case) for gap in group).replace(" and ", "; and ")
    names = [name for name in group[0].case if all(isinstance(gap.case.get(name), int | float) for gap in group)]
    ranges = [f"{name} {between([float(gap.case[name]) for gap in group], '{:,.0f}'.format)}" for name in names]
    return ", ".join([count(len(group), "case"), *ranges])


def _reasons(group: list[Gap]) -> str:
    reasons = list(dict.fromkeys(gap.reason for gap in group))
    return reasons[0] if len(reasons) == 1 else f"{reasons[0]} … {reasons[-1]}"
