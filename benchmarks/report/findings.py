"""What was found, in a few numbers computed from the results: what is won and what is lost."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report.grids import heats
from benchmarks.report.pictures.growth import exponent, named
from benchmarks.report.pictures.loops import lost
from benchmarks.report.results import Case, Results, Row, device, middle, ratio, ratio_spread
from benchmarks.report.scaling import axes, shares
from benchmarks.report.standards import STANDARDS
from benchmarks.report.tables import job_name
from benchmarks.report.wording import TIMES, between, case_name, count, factor, listing, number, percent


@dataclass(frozen=True)
class Finding:
    """A number in large type and the sentences that say what it means."""

    number: str
    text: str


def findings(results: Results) -> list[Finding]:
    """Return what every suite that was run has to say."""
    parts: list[Callable[[Results], list[Finding]]] = [_loops, _tutorial, _peers, _jobs, _fits, _growth]
    return [finding for part in parts for finding in part(results)]


def _short(value: float) -> str:
    return number(value, 2)


def _loops(results: Results) -> list[Finding]:
    found = []
    for heat in heats(results):
        values = [value.median for value in heat.factors.values()]
        text = f"as fast as {heat.slow}: a step of {heat.fast}, from the worst cell to the best. {lost(heat)}"
        found.append(Finding(between(values, _short) + TIMES, text))
    return found


def _tutorial(results: Results) -> list[Finding]:
    found = []
    for case in results.measured("tutorial")[:1]:
        looped, vectorised, ours = case.best("loops"), case.best("hand"), case.best("ours")
        if not looped or not vectorised:
            continue
        less = (
            f" {ours.contender}, made for any network, takes {factor(ratio(ours, vectorised))} its time."
            if ours
            else ""
        )
        text = f"{looped.contender} over {vectorised.contender}, {case_name(case.values)}.{less}"
        found.append(Finding(factor(ratio(looped, vectorised)), text))
    return found


def _peers(results: Results) -> list[Finding]:
    found = []
    for where in dict.fromkeys(device(case.values) for case in results.measured("peers")):
        cases = [case for case in results.measured("peers") if device(case.values) == where]
        on = "" if where == "cpu" else f" on {where}"
        found += _against_peers(cases, on)
        for standard in STANDARDS:
            ratios = [ratio(*pair) for case in cases if (pair := standard.pair(case))]
            if ratios:
                text = f"the time of {standard.words}: a step of {standard.ours}{on}."
                found.append(Finding(between(ratios) + TIMES, text))
    return found


def _against_peers(cases: list[Case], on: str) -> list[Finding]:
    """Return how often the best of ours is ahead of the best peer, and the best and the worst of it."""
    pairs = [(a, b) for case in cases if (a := case.best("ours")) and (b := case.best("peer"))]
    if not pairs:
        return []
    spreads = [ratio_spread(*pair) for pair in pairs]
    ahead, behind = (sum(s.verdict == side for s in spreads) for side in ("ahead", "behind"))
    counts = f"ahead of the best peer{on} in {ahead}, behind in {behind}, level in {len(pairs) - ahead - behind}."
    ends = sorted(zip(spreads, pairs, strict=True), key=lambda end: end[0].median)
    ends = [ends[0], ends[-1]] if len(ends) > 1 else ends
    said = [f"{factor(s.median)} the time of {b.contender} ({case_name(b.case)})" for s, (_, b) in ends]
    text = f"{counts} {'From ' * (len(said) > 1)}{' to '.join(said)}. {_peer_by_peer(cases)}"
    return [Finding(f"{ahead} of {len(pairs)}", text)]


def _peer_by_peer(cases: list[Case]) -> str:
    """Return in how many networks ours is ahead of each peer."""
    met: dict[str, list[bool]] = {}
    for case in cases:
        ours = case.best("ours")
        for row in case.rows if ours else ():
            if ours and row.role == "peer":
                met.setdefault(row.contender, []).append(ratio_spread(ours, row).verdict == "ahead")
    said = (f"{name} in {sum(wins)} of {len(wins)}" for name, wins in met.items())
    return f"Peer by peer, ahead of {'; '.join(said)}."


def _jobs(results: Results) -> list[Finding]:
    pairs = [(a, b) for case in results.measured("jobs") if (a := case.best("ours")) and (b := case.best("peer"))]
    if not pairs:
        return []
    said = [f"{factor(ratio(a, b))} for {job_name(a.case)} ({b.contender}{_accuracy(a, b)})" for a, b in pairs]
    ratios = [ratio(a, b) for a, b in pairs]
    return [Finding(between(ratios) + TIMES, f"the time of the fastest peer to fit: {listing(said)}.")]


def _accuracy(ours: Row, peer: Row) -> str:
    figures = [middle(row.extra.get("accuracy")) for row in (ours, peer)]
    known = [f"{figure:.3f}" for figure in figures if figure is not None]
    return f"; accuracy {known[0]} against {known[1]}" if len(known) == 2 else ""


def _fits(results: Results) -> list[Finding]:
    return _against_peers(results.measured("fits"), " at whole fits")


def _growth(results: Results) -> list[Finding]:
    reached = []
    for axis in axes(results):
        name = axis.ours()
        share = shares(results, axis, name) if name else {}
        reached += [(value, at, axis) for at, value in share.items()]
    fits = [
        f"{exponent(fit)} {named(axis)}" for axis in axes(results) if (name := axis.ours()) and (fit := axis.fit(name))
    ]
    grows = f" Time grows with exponent {listing(fits)}." if fits else ""
    if not reached:
        return []
    best, worst = (end(reached, key=lambda found: found[0]) for end in (max, min))
    at, low = (f"{size:,.0f} {named(axis)}" for _, size, axis in (best, worst))
    text = f"of the matrix rate measured here at best, at {at}; {percent(worst[0])} at worst, at {low}."
    return [Finding(percent(best[0]), f"{text}{grows}")]


def in_all(results: Results) -> str:
    """Return how much was measured."""
    figures, gaps = count(len(results.rows), "figure"), count(len(results.gaps), "gap")
    return f"{figures} and {gaps} in {count(len(results.runs), 'suite')}"
