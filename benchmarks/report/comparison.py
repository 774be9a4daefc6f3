"""Two folders of results against each other: what became slower or faster by more than noise."""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.machine import facts, machine_line
from benchmarks.report.markup import Cell, Mark, Table, table, to_html
from benchmarks.report.pictures.ratios import Dot, dots
from benchmarks.report.results import Results, Row
from benchmarks.report.sheet import Section, details, document, figures, paragraph
from benchmarks.report.wording import case_name, count, duration, number

SLOWER, FASTER, NOISE = "slower", "faster", "within noise"
# Rounds within a run can't show the slow drifts of a shared machine (a neighbour, the clock, where memory came to lie),
# which move a whole run. How far they did is told from the contenders that no change of ours can move: a change must be
# larger than the largest of theirs, by a margin, since ours calls more functions a step and moves more than they do.
# (Of 300 pairs of one commit on a shared machine of two cores 18 were beyond the largest, 1 beyond it and the margin.)
LEAST_DRIFT = 0.03
MARGIN = 1.5  # of logarithms
# Without enough of them, or between two machines: of those 300 pairs one in six differed by more than this.
UNTOLD_DRIFT = 0.3
CONTROLS = ("peer", "loops")
ON_OUR_BLAS = "scikit-learn MLP"  # a peer that moves with NumPy's BLAS, as ours does
CONFIDENCE = 0.99
RESAMPLES = 2000
FEW = 20  # lines of what one side alone has
ENOUGH = 8  # rounds; the median of fewer lies outside all of them more often than once in a hundred


@dataclass(frozen=True)
class Pair:
    """The same case before (a) and after (b)."""

    a: Row
    b: Row
    low: float
    high: float
    drift: float

    @property
    def ratio(self) -> float:
        """How many times as long b takes as a."""
        return self.b.median / self.a.median

    @property
    def verdict(self) -> str:
        """What the interval and the drift of machines allow to be said."""
        if self.low > 1 and self.ratio > 1 + self.drift:
            return SLOWER
        return FASTER if self.high < 1 and self.ratio < 1 / (1 + self.drift) else NOISE

    @property
    def name(self) -> str:
        """Who was compared; both names where they differ."""
        return " → ".join(dict.fromkeys(_at(row) for row in (self.a, self.b)))


@dataclass(frozen=True)
class Comparison:
    """Everything that two folders share, and what only one of them has.

    Attributes
    ----------
    pairs : the same contender in the same case
    across : our best against our best where contender or device differ, as between a CPU and a GPU
    only_a, only_b : what has no counterpart
    a, b : the machines and commits in a line each
    drift : the change that is noise on this machine, between these two runs
    n_controls : the contenders that this was told from
    """

    pairs: tuple[Pair, ...]
    across: tuple[Pair, ...]
    only_a: tuple[Row, ...]
    only_b: tuple[Row, ...]
    a: str
    b: str
    drift: float
    n_controls: int


def compare(a: Results, b: Results) -> Comparison:
    """Return b held against a: a ratio above 1 is b being slower."""
    before, after = ({_key(row): row for row in results.rows} for results in (a, b))
    same = [(before[key], after[key]) for key in before if key in after]
    moved = _moved(same) if a.machine.get("name") == b.machine.get("name") else []
    drift = max(LEAST_DRIFT, math.expm1(MARGIN * max(moved))) if len(moved) >= ENOUGH else UNTOLD_DRIFT
    pairs, across = ([_pair(*rows, drift) for rows in found] for found in (same, _across(a, b)))
    paired = {id(row) for pair in across for row in (pair.a, pair.b)}
    only_a, only_b = (
        tuple(row for key, row in these.items() if key not in those and id(row) not in paired)
        for these, those in ((before, after), (after, before))
    )
    return Comparison(tuple(pairs), tuple(across), only_a, only_b, _line(a), _line(b), drift, len(moved))


def _key(row: Row) -> tuple[Any, ...]:
    return row.suite, row.key, row.contender


def _at(row: Row) -> str:
    return row.contender if row.device == "cpu" else f"{row.contender} ({row.device})"


def _line(results: Results) -> str:
    run = max(results.runs, key=lambda run: run.measured)
    known = facts(run)
    more = [f"{name} {known[name]}" for name in ("commit", "measured") if name in known]
    return ", ".join([machine_line(results), *more])


def _across(a: Results, b: Results) -> Iterable[tuple[Row, Row]]:
    """Yield our best of a with our best of b, case by case whatever the device, where those are not the same thing."""
    before, after = _best(a), _best(b)
    for place in before:
        if place in after and _at(before[place]) != _at(after[place]):
            yield before[place], after[place]


def _best(results: Results) -> dict[tuple[Any, ...], Row]:
    found: dict[tuple[Any, ...], Row] = {}
    for row in (row for row in results.rows if row.role == "ours"):
        place = row.suite, tuple(item for item in row.key if item[0] != "device")
        if place not in found or row.median < found[place].median:
            found[place] = row
    return found


def _moved(same: Iterable[tuple[Row, Row]]) -> list[float]:
    """Return how far, in logarithms, those moved that no change of ours can move; of few such, all but ours."""
    others = [(a, abs(math.log(b.median / a.median))) for a, b in same if a.role not in ("ours", "fit")]
    controls = [moved for a, moved in others if a.role in CONTROLS and a.contender != ON_OUR_BLAS]
    return controls if len(controls) >= ENOUGH else [moved for _, moved in others]


def _pair(a: Row, b: Row, drift: float) -> Pair:
    return Pair(a, b, *_interval(a, b), drift)


def _interval(a: Row, b: Row) -> tuple[float, float]:
    """Return the interval of b / a: by bootstrap; of a few rounds their whole range, of fewer nothing is known."""
    n_a, n_b = len(a.data), len(b.data)
    if min(n_a, n_b) >= ENOUGH:
        rng = np.random.default_rng(zlib.crc32(repr((_key(a), _key(b))).encode()))
        medians = [np.median(rng.choice(row.data, (RESAMPLES, len(row.data))), axis=1) for row in (a, b)]
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(medians[1] / medians[0], (tail, 1 - tail))
        return float(low), float(high)
    if 2 / math.comb(n_a + n_b, n_a) <= 1 - CONFIDENCE:  # how often two such samples lie apart by chance
        return min(b.data) / max(a.data), max(b.data) / min(a.data)
    return 0.0, math.inf


def ordered(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the slower ones first, then the faster ones, then the rest, each by how much."""
    order = (SLOWER, FASTER, NOISE)
    return sorted(pairs, key=lambda pair: (order.index(pair.verdict), -abs(math.log(pair.ratio))))


def summary(pairs: Iterable[Pair]) -> str:
    """Return how many of each verdict."""
    verdicts = Counter(pair.verdict for pair in pairs)
    return ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in (SLOWER, FASTER, NOISE))


_HEADS = ("suite", "case", "contender", "a", "b", "b / a", "99 % interval", "verdict")
_MARKS: Mapping[str, Mark] = {SLOWER: "behind", FASTER: "ahead", NOISE: "level"}


def numbers(pairs: Iterable[Pair]) -> Table:
    """Return a line a pair."""
    return table(_HEADS, map(_cells, ordered(pairs)), labels=3)


def _cells(pair: Pair) -> list[Cell | str]:
    known = f"{number(pair.low)} to {number(pair.high)}" if math.isfinite(pair.high) else "too few rounds"
    times = (duration(row.median) for row in (pair.a, pair.b))
    verdict = Cell(pair.verdict, _MARKS[pair.verdict])
    return [pair.a.suite, _place(pair), pair.name, *times, number(pair.ratio), known, verdict]


def _place(pair: Pair) -> str:
    """Return the case without its device, which stands in the name where it matters."""
    return case_name({name: value for name, value in pair.a.case.items() if name != "device"})


def only(rows: Iterable[Row]) -> Table:
    """Return what one side alone has."""
    cells = ([row.suite, case_name(row.case), row.contender, duration(row.median)] for row in rows)
    return table(["suite", "case", "contender", "time"], cells, labels=3)


def text(comparison: Comparison) -> str:
    """Return the comparison for a terminal."""
    parts = [f"a: {comparison.a}", f"b: {comparison.b}", f"noise: {_noise(comparison)}", ""]
    for title, pairs in _groups(comparison):
        parts += [f"{title} ({summary(pairs)})", *_aligned(numbers(pairs)), ""]
    for name, rows in (("a", comparison.only_a), ("b", comparison.only_b)):
        if len(rows) > FEW:
            parts += [f"only in {name} ({len(rows)}): a page (--output) lists them", ""]
        elif rows:
            parts += [f"only in {name} ({len(rows)})", *_aligned(only(rows)), ""]
    return "\n".join(parts)


def _groups(comparison: Comparison) -> list[tuple[str, tuple[Pair, ...]]]:
    groups = [("The same contender", comparison.pairs), ("Our best with our best", comparison.across)]
    return [group for group in groups if group[1]]


def _aligned(table: Table) -> list[str]:
    lines = [table.heads, *([cell.text for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    place: list[Callable[[str, int], str]] = [str.ljust] * table.labels
    place += [str.rjust] * (len(widths) - table.labels)
    return [
        "  ".join(put(cell, width) for put, cell, width in zip(place, line, widths, strict=True)).rstrip()
        for line in lines
    ]


def write(comparison: Comparison, path: Path) -> None:
    """Write the comparison as a page."""
    groups = enumerate(_groups(comparison), 1)
    sides = paragraph(f"a: {comparison.a}") + paragraph(f"b: {comparison.b}")
    sections = [Section("sides", "a and b", "What is compared", sides)]
    sections += [Section(f"pairs-{n}", title, title, _section(pairs, n)) for n, (title, pairs) in groups]
    if len(sections) == 1:
        nothing = paragraph("The two share no contender in any case.")
        sections.append(Section("nothing", "Nothing", "Nothing to compare", nothing))
    sections.append(Section("only", "In one alone", "What only one of them has", _only(comparison)))
    sections.append(Section("rule", "The rule", "When a change is called one", paragraph(_rule(comparison))))
    lead = "A ratio is b over a: above 1, b is the slower one."
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document("backprop_xp, compared", lead, sections), encoding="utf-8")


def _noise(comparison: Comparison) -> str:
    if comparison.n_controls >= ENOUGH:
        return f"changes of up to {comparison.drift:.0%}, as {comparison.n_controls} contenders show that are not ours"
    return f"changes of up to {comparison.drift:.0%}: too few contenders show how far the machine drifted"


def _rule(comparison: Comparison) -> str:
    return f"""The interval is a bootstrap of the ratio of medians, the rounds of each side drawn anew and
    independently; of fewer than {ENOUGH} rounds it is their whole range. A change is called slower or faster where the
    interval of {CONFIDENCE:.0%} excludes 1 and the change is beyond the drift of the machine between the two runs,
    which their rounds cannot show: here {_noise(comparison)}."""


def _section(pairs: tuple[Pair, ...], n: int) -> str:
    drawn = dots([_dot(pair) for pair in ordered(pairs)], f"ratios-{n}", summary(pairs), numbers(pairs))
    changed = [pair for pair in pairs if pair.verdict != NOISE]
    table = to_html(numbers(changed), "What changed") if changed else ""
    return f"{paragraph(summary(pairs))}\n{figures([drawn], large=True)}\n{table}"


def _dot(pair: Pair) -> Dot:
    name = pair.name.replace("backprop_xp, ", "")  # there is room for some fifty letters
    return Dot(f"{name}, {_place(pair)}", pair.ratio, pair.low, pair.high, _MARKS[pair.verdict])


def _only(comparison: Comparison) -> str:
    sides = [(name, rows) for name, rows in (("a", comparison.only_a), ("b", comparison.only_b)) if rows]
    parts = [
        details(f"only in {name}: {count(len(rows), 'figure')}", only(rows), f"Only in {name}") for name, rows in sides
    ]
    return "\n".join(parts) or paragraph("Nothing: both have the same contenders in the same cases.")
