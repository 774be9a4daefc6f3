"""How time grows with size: fitted exponents, crossovers, regimes, and the share of the measured matrix rate."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.report.results import Case, Results, Row, contenders, device, ratio

DISPATCH, MEMORY, ARITHMETIC = "dispatch-bound", "memory-bound", "arithmetic-bound"


class Fit(NamedTuple):
    """Time ~ size ** exponent, fitted between two measured sizes."""

    exponent: float
    start: float
    end: float


def fit(times: Mapping[float, float]) -> Fit | None:
    """Return the slope of log time over log size by least squares; None for fewer than two sizes."""
    if len(times) < 2:
        return None
    slope = np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0]
    return Fit(float(slope), min(times), max(times))


def crossovers(
    a: Mapping[float, float], b: Mapping[float, float], level: Collection[float] = frozenset()
) -> list[float]:
    """Return the sizes at which two lines cross, straight on log-log paper between measured neighbours.

    Parameters
    ----------
    a, b : size -> seconds; only sizes that both have are looked at, and nothing beyond them
    level : the sizes at which neither can be said to be ahead: there the lines meet, and cross if they part otherwise
    """
    sizes = sorted(set(a) & set(b))
    gaps = [0.0 if size in level else math.log(a[size] / b[size]) for size in sizes]
    found, sign = [], 0.0
    for position, gap in enumerate(gaps):
        if gap and sign and math.copysign(1, gap) != sign:
            before = gaps[position - 1]
            share = before / (before - gap)
            found.append(float(sizes[position - 1] * (sizes[position] / sizes[position - 1]) ** share))
        sign = math.copysign(1, gap) if gap else sign
    return found


@dataclass(frozen=True)
class Axis:
    """One axis of the growth suite on one device: the case at each size, ascending."""

    name: str
    device: str
    cases: Mapping[float, Case]

    def contenders(self) -> list[str]:
        """Return who has figures here, ours first."""
        return contenders(row for case in self.cases.values() for row in case.rows)

    def ours(self) -> str | None:
        """Return our contender with the most figures, the first of equals."""
        names = [row.contender for case in self.cases.values() for row in case.rows if row.role == "ours"]
        return max(names, key=names.count, default=None)

    def rows(self, contender: str) -> dict[float, Row]:
        """Return a contender's figures by size."""
        found = {size: case.row(contender) for size, case in self.cases.items()}
        return {size: row for size, row in found.items() if row is not None}

    def times(self, contender: str) -> dict[float, float]:
        """Return a contender's seconds a unit by size."""
        return {size: row.median for size, row in self.rows(contender).items()}

    def regimes(self, contender: str) -> dict[float, str]:
        """Return what a step waits for at each size that has a floor to compare with.

        Dispatch: less than twice the time at the smallest size, so the size hardly matters. Arithmetic: the matrix
        products alone take at least half of the step. Memory: neither. Depth changes no regime: it adds equal layers.
        """
        rows = self.rows(contender) if self.name != "depth" else {}
        floors = {size: self.cases[size].best("floor") for size in rows}
        found = {}
        for size, row in rows.items():
            floor = floors[size]
            if floor is not None:
                found[size] = _regime(row, floor, rows[min(rows)].median)
        return found

    def fit(self, contender: str) -> Fit | None:
        """Return the exponent over the sizes where size matters, over all if there are fewer than three of those."""
        times = self.times(contender)
        grown = {size: time for size, time in times.items() if time >= 2 * times[min(times)]}
        return fit(grown if len(grown) > 2 else times)


def _regime(row: Row, floor: Row, smallest: float) -> str:
    if row.median < 2 * smallest:
        return DISPATCH
    return ARITHMETIC if ratio(floor, row) >= 0.5 else MEMORY


def axes(results: Results) -> list[Axis]:
    """Return the axes of the growth suite, without the one that measures the matrix rate."""
    found: dict[tuple[str, str], dict[float, Case]] = {}
    for case in results.cases("growth"):
        if case.rows and case.values.get("axis") != "rate":
            name, n = str(case.values.get("axis", "size")), float(case.values.get("size", 0))
            found.setdefault((name, device(case.values)), {})[n] = case
    return [Axis(*key, dict(sorted(cases.items()))) for key, cases in found.items()]


def rate(row: Row) -> float | None:
    """Return the floating-point operations a second of a row's matrix products, if their number was noted."""
    flops = row.extra.get("flops")
    return flops / row.median if flops else None


def matrix_rate(results: Results, where: str = "cpu") -> float | None:
    """Return the machine's measured matrix rate on a device: the best of the square products."""
    rows = [row for row in results.rows if row.suite == "growth" and row.case.get("axis") == "rate"]
    return max((rate(row) or 0.0 for row in rows if row.device == where), default=0.0) or None


def shares(results: Results, axis: Axis, contender: str) -> dict[float, float]:
    """Return the share of the measured matrix rate that a contender reaches, by size."""
    peak = matrix_rate(results, axis.device)
    rates = {size: rate(row) for size, row in axis.rows(contender).items()} if peak else {}
    return {size: value / peak for size, value in rates.items() if value and peak}


def runs_of(values: Sequence[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Return (first size, last size, value) for each run of equal values in neighbouring sizes."""
    found: list[tuple[float, float, str]] = []
    for size, value in values:
        if found and found[-1][2] == value:
            found[-1] = (found[-1][0], size, value)
        else:
            found.append((size, size, value))
    return found
