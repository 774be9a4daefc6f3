"""The loops suite as it is looked at: factors over hidden size x batch, and lines along each of the two."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.report.results import Gap, Results, Row, Spread, contenders, ratio_spread

NUMPY = "backprop_xp on NumPy"
_USUAL = {"hidden": 64, "batch": 32}  # where the other of the two is varied most finely
Place = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """Who was measured, or left out, at each (hidden, batch)."""

    rows: Mapping[Place, Mapping[str, Row]]
    gaps: Mapping[Place, Mapping[str, Gap]]

    @property
    def contenders(self) -> list[str]:
        """The names in the order in which they are shown."""
        named = {name: row for at in self.rows.values() for name, row in at.items()}
        order = contenders(named.values())
        return sorted(named, key=lambda name: order.index(named[name].contender))

    def of_role(self, role: str) -> list[str]:
        """Return the contenders of a role that were measured anywhere."""
        return [
            name for name in self.contenders if any(at[name].role == role for at in self.rows.values() if name in at)
        ]

    @property
    def ours(self) -> str | None:
        """The contender of ours that the others are held against: on NumPy, where that was measured."""
        ours = self.of_role("ours")
        return NUMPY if NUMPY in ours else next(iter(ours), None)


@dataclass(frozen=True)
class Heat:
    """How many times as long `slow` takes as `fast` in each cell of a grid."""

    slow: str
    fast: str
    hidden: list[float]
    batch: list[float]
    factors: Mapping[Place, Spread]
    gaps: Mapping[Place, str]

    @property
    def lost(self) -> list[Place]:
        """The cells in which `fast` is the slower one."""
        return [place for place, factor in self.factors.items() if factor.median < 1]

    @property
    def n_cells(self) -> int:
        """The number of cells, measured or not."""
        return len(self.hidden) * len(self.batch)


@dataclass(frozen=True)
class AxisLines:
    """Each contender's figures by size along one axis, the rest held: in words, such as "batch 32"."""

    axis: str
    held: str
    rows: Mapping[str, Mapping[float, Row]]


def grid(results: Results) -> Grid:
    """Return the loops suite by place; a contender on several devices stands once for each."""
    here = [entry for entry in (*results.rows, *results.gaps) if entry.suite == "loops"]
    on_cpu = {entry.contender for entry in here if entry.device == "cpu"}
    rows: dict[Place, dict[str, Row]] = {}
    gaps: dict[Place, dict[str, Gap]] = {}
    for entry in here:
        if not {"hidden", "batch"} <= set(entry.case):
            continue
        place = float(entry.case["hidden"]), float(entry.case["batch"])
        elsewhere = entry.device != "cpu" and entry.contender in on_cpu
        name = f"{entry.contender} ({entry.device})" if elsewhere else entry.contender
        if isinstance(entry, Row):
            rows.setdefault(place, {})[name] = entry
        elif isinstance(entry, Gap):
            gaps.setdefault(place, {})[name] = entry
    return Grid(rows, gaps)


def heats(results: Results) -> list[Heat]:
    """Return each kind of loops against ours on NumPy, and ours on NumPy against ours on each GPU."""
    everything = grid(results)
    ours = everything.ours
    if ours is None:
        return []
    loops = [(slow, ours) for slow in everything.of_role("loops")]
    on_gpu = [name for name in everything.of_role("ours") if name != ours and _runs_on_gpu(everything, name)]
    made = [_heat(everything, slow, fast) for slow, fast in [*loops, *((ours, fast) for fast in on_gpu)]]
    return [heat for heat in made if heat.factors]


def _runs_on_gpu(everything: Grid, name: str) -> bool:
    """Return whether the case or the name says so: CuPy runs nowhere else, and may share its cases with the others."""
    return "CuPy" in name or any(at[name].device != "cpu" for at in everything.rows.values() if name in at)


def _heat(everything: Grid, slow: str, fast: str) -> Heat:
    places = sorted({*everything.rows, *everything.gaps})
    hidden, batch = _grid_sizes(places)
    factors, gaps = {}, {}
    for place in ((h, b) for h in hidden for b in batch):
        rows, missing = everything.rows.get(place, {}), everything.gaps.get(place, {})
        if slow in rows and fast in rows:
            factors[place] = ratio_spread(rows[slow], rows[fast])
        else:
            gap = next((missing[name] for name in (slow, fast) if name in missing), None)
            gaps[place] = gap.kind if gap else "not measured"
    return Heat(slow, fast, hidden, batch, factors, gaps)


def _grid_sizes(places: list[Place]) -> tuple[list[float], list[float]]:
    """Return the sizes that span the grid: those met at more than one size of the other kind, all if none is."""
    counts = Counter(h for h, _ in places), Counter(b for _, b in places)
    hidden, batch = (sorted(size for size, n in count.items() if n > 1) for count in counts)
    return hidden or sorted(counts[0]), batch or sorted(counts[1])


def along(results: Results, axis: str) -> AxisLines | None:
    """Return the lines along "hidden" or "batch", at the value of the other one that has most sizes."""
    everything, held = grid(results), "batch" if axis == "hidden" else "hidden"
    first = axis == "hidden"
    counts = Counter(place[1] if first else place[0] for place in everything.rows)
    if not counts:
        return None
    at = max(counts, key=lambda value: (counts[value], value == _USUAL[held], -value))
    there = sorted((place[0 if first else 1], rows) for place, rows in everything.rows.items() if place[first] == at)
    lines = {name: {size: rows[name] for size, rows in there if name in rows} for name in everything.contenders}
    return AxisLines(axis, f"{held} {at:,.0f}", {name: line for name, line in lines.items() if line})
