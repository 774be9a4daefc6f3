"""Bars of a step's time against the peers and the floor: a panel a network."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.report import tables
from benchmarks.report.markup import Table
from benchmarks.report.pictures.canvas import Picture, picture
from benchmarks.report.pictures.charts import Bar, Panel, bars_height, draw_bars
from benchmarks.report.results import Case, Results, Row, contenders, device, ratio, ratio_spread
from benchmarks.report.wording import between, case_name, count, duration, factor, gap_name, listing, number, slug


def pictures(results: Results) -> list[Picture]:
    """Return a picture a network, optimizer and device."""
    return [
        _bars([case], f"peers-{n}", tables.case_numbers(case)) for n, case in enumerate(results.measured("peers"), 1)
    ]


def overview(results: Results, optimizer: str, where: str = "cpu") -> Picture | None:
    """Return one picture of all networks with one optimizer on one device: the best of ours and all the others."""
    cases = [_with_our_best(case) for case in results.measured("peers") if _is(case, optimizer, where)]
    numbers = tables.steps(results, optimizer, where)
    return _bars(cases, slug(f"peers {optimizer} {where}"), numbers) if cases else None


def _with_our_best(case: Case) -> Case:
    others = tuple(row for row in case.rows if row.role not in ("ours", "fit"))
    best = case.best("ours")
    gaps = tuple(gap for gap in case.gaps if gap.role not in ("ours", "fit"))
    return Case(case.values, (best, *others) if best else others, gaps)


def _is(case: Case, optimizer: str, where: str) -> bool:
    return case.values.get("optimizer") == optimizer and device(case.values) == where


def _bars(cases: Sequence[Case], name: str, numbers: Table) -> Picture:
    alone = len(cases) == 1
    panels = [_panel(case, alone) for case in cases]
    has_floor = all(case.best("floor") for case in cases)
    label = f"times {'the products alone' if has_floor else 'the fastest'} (log scale)"
    title = case_name(cases[0].values) if alone else "A step against peers and the floor"
    description = describe(cases[0]) if alone else summary(cases)

    def paint(figure: Figure) -> None:
        draw_bars(figure, panels, label, 1.0)

    group = _part(cases[0], "optimizer", "device")
    return picture(name, title, description, numbers, bars_height(panels, label), paint, group)


def _part(case: Case, *names: str) -> str:
    return case_name({name: case.values[name] for name in names if name in case.values})


def _panel(case: Case, alone: bool) -> Panel:
    """Return bars relative to the matrix products alone, or to the fastest where those are missing."""
    floor = case.best("floor")
    base = floor or min(case.rows, key=lambda row: row.median)
    names = contenders(entry for entry in (*case.rows, *case.gaps) if entry.contender != (floor and floor.contender))
    title = f"{'products alone' if floor else base.contender} {duration(base.median)}"
    return Panel(title if alone else _part(case, "shape", "batch"), [_bar(case, name, base) for name in names])


def _bar(case: Case, name: str, base: Row) -> Bar:
    row, gap = case.row(name), case.gap(name)
    if row is None:
        return Bar(name, None, gap_name(gap.kind) if gap else "")
    value = ratio(row, base)
    return Bar(name, value, number(value), bold=row.role in ("ours", "fit"))


def describe(case: Case) -> str:
    """Return the panel in words: ours against the products, and against the best peer."""
    ours, floor, peer = (case.best(role) for role in ("ours", "floor", "peer"))
    if ours is None:
        return f"{case_name(case.values)}: no figure of ours."
    said = [f"{factor(ratio(ours, floor))} the matrix products alone"] if floor else []
    said += [f"{factor(ratio(ours, peer))} the best peer, {peer.contender}"] if peer else []
    missing = listing(f"{gap.contender} {gap_name(gap.kind)}" for gap in case.gaps) if case.gaps else ""
    time = f"{case_name(case.values)}: {ours.contender} takes {duration(ours.median)} a step"
    return f"{time}{', ' if said else ''}{listing(said) if said else ''}.{f' Gaps: {missing}.' if missing else ''}"


def summary(cases: Sequence[Case]) -> str:
    """Return several panels in words: how far from the products, how often ahead of the best peer and how often not."""
    shared = cases[0].values.get("optimizer", "one optimizer")
    floors = [ratio(a, b) for case in cases if (a := case.best("ours")) and (b := case.best("floor"))]
    spreads = [ratio_spread(a, b) for case in cases if (a := case.best("ours")) and (b := case.best("peer"))]
    said = [f"Steps of {count(len(cases), 'network')} with {shared}."]
    if floors:
        said.append(f"The best of ours takes {between(floors, factor)} the time of the matrix products alone.")
    if spreads:
        ahead, behind = (sum(s.verdict == side for s in spreads) for side in ("ahead", "behind"))
        level = f"level in {len(spreads) - ahead - behind} of {len(spreads)}"
        times = between([s.median for s in spreads], factor)
        said.append(f"It is ahead of the best peer in {ahead}, behind in {behind} and {level}: {times} its time.")
    return " ".join(said)
