"""Measured results as they lie on disk, read and checked, and the ratio of one to another."""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from backprop_xp.errors import InputError
from benchmarks.report.wording import listing, printable

SUITES = ("loops", "tutorial", "peers", "jobs", "fits", "growth")
Values = Mapping[str, str | int | float]
Made = TypeVar("Made")
Key = tuple[tuple[str, str | int | float], ...]
LEAST = 0.02  # of a ratio, from which a difference is called one


class Spread(NamedTuple):
    """A median between its quartiles."""

    low: float
    median: float
    high: float

    @property
    def verdict(self) -> Literal["ahead", "behind", "level"]:
        """Of a ratio: "ahead" or "behind" where its quartiles lie on one side of 1 and its median 2 % off, or "level".

        One process a contender, with a layout of memory of its own, carries no smaller difference.
        """
        if self.high < 1 and self.median < 1 / (1 + LEAST):
            return "ahead"
        return "behind" if self.low > 1 and self.median > 1 + LEAST else "level"


@dataclass(frozen=True)
class Entry:
    """Who, in which case of which suite."""

    suite: str
    case: Values
    contender: str
    role: str

    @property
    def key(self) -> Key:
        """The case, to look up by."""
        return tuple(sorted(self.case.items()))

    @property
    def device(self) -> str:
        """Where it ran; "cpu" unless the case says otherwise."""
        return device(self.case)


@dataclass(frozen=True)
class Row(Entry):
    """One contender's figures in one case.

    Attributes
    ----------
    unit : what one figure is the time of: "step", "epoch" or "fit"
    time : seconds a unit
    data : seconds a unit, one figure a round; empty where a file keeps none
    extra : what else was noted, such as accuracy or memory
    """

    unit: str
    time: Spread
    data: tuple[float, ...]
    extra: Mapping[str, Any]

    @property
    def median(self) -> float:
        """Seconds a unit."""
        return self.time.median


@dataclass(frozen=True)
class Gap(Entry):
    """A contender without a figure in a case, and why."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Case:
    """Everybody who was to run in one case."""

    values: Values
    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]

    def row(self, contender: str) -> Row | None:
        """Return the contender's figures, if it has any."""
        return next((row for row in self.rows if row.contender == contender), None)

    def gap(self, contender: str) -> Gap | None:
        """Return why the contender has no figures, if that was noted."""
        return next((gap for gap in self.gaps if gap.contender == contender), None)

    def best(self, role: str) -> Row | None:
        """Return the fastest of a role, if there is one."""
        return min((row for row in self.rows if row.role == role), key=lambda row: row.median, default=None)


@dataclass(frozen=True)
class Run:
    """One suite's file: where and from which commit it was measured."""

    suite: str
    measured: str
    machine: Mapping[str, Any]
    commit: Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """What a folder of results holds."""

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]

    @property
    def machine(self) -> Mapping[str, Any]:
        """What the last of the suites says of its machine."""
        return max(self.runs, key=lambda run: run.measured).machine

    @property
    def commit(self) -> Mapping[str, Any]:
        """The commit that the last of the suites measured."""
        return max(self.runs, key=lambda run: run.measured).commit

    def cases(self, suite: str) -> list[Case]:
        """Return the cases of a suite in the order of the file."""
        rows: dict[Key, list[Row]] = {}
        gaps: dict[Key, list[Gap]] = {}
        for row in (row for row in self.rows if row.suite == suite):
            rows.setdefault(row.key, []).append(row)
        for gap in (gap for gap in self.gaps if gap.suite == suite):
            gaps.setdefault(gap.key, []).append(gap)
        return [Case(dict(key), tuple(rows.get(key, ())), tuple(gaps.get(key, ()))) for key in {**rows, **gaps}]

    def measured(self, suite: str) -> list[Case]:
        """Return the cases in which somebody has a figure."""
        return [case for case in self.cases(suite) if case.rows]


def device(case: Values) -> str:
    """Return where a case ran."""
    return str(case.get("device") or "cpu")


def spread(figures: Iterable[float]) -> Spread:
    """Return median and quartiles."""
    low, median, high = np.quantile(list(figures), (0.25, 0.5, 0.75))
    return Spread(float(low), float(median), float(high))


def ratio_spread(row: Row, other: Row) -> Spread:
    """Return how many times as long `row` takes as `other`.

    The contenders of one case took turns, so the ratio is taken within each round: a change of the machine's speed
    meets both. Across cases, or where rounds were not kept, it is the ratio of medians.
    """
    within = [a / b for a, b in zip(row.data, other.data, strict=False)] if row.key == other.key else []
    return spread(within or [row.median / other.median])


def ratio(row: Row, other: Row) -> float:
    """Return the median over rounds of `row` / `other`: 2.0 is twice as slow."""
    return ratio_spread(row, other).median


def contenders(entries: Iterable[Entry]) -> list[str]:
    """Return the names in the order in which they are shown: ours, ours in a fit, by hand, loops, peers, the floor."""
    order = ("ours", "fit", "hand", "loops", "peer")
    roles = {entry.contender: entry.role for entry in entries}
    return sorted(roles, key=lambda name: order.index(roles[name]) if roles[name] in order else len(order))


def load(folder: Path) -> Results:
    """Read every suite's file of a folder.

    Raises
    ------
    InputError
        If the folder is missing or holds no results, or a file is broken; the message names it.
    """
    paths = [folder / f"{suite}.json" for suite in SUITES]
    files = [(path.stem, _read(path), path) for path in paths if path.exists()]
    if not files:
        raise InputError(_nothing(folder))
    runs = tuple(_run(suite, document) for suite, document, _ in files)
    return Results(runs, tuple(_entries(files, "benchmarks", _row)), tuple(_entries(files, "gaps", _gap)))


def _nothing(folder: Path) -> str:
    if folder.is_file():
        return f"{str(folder)!r} is a file; name the folder that it lies in"
    if not folder.is_dir():
        return f"no folder of results {str(folder)!r}; make one with: python -m benchmarks run"
    inside = sorted(
        path.name for path in folder.iterdir() if any((path / f"{suite}.json").exists() for suite in SUITES)
    )
    way = f"name one of the machines in it: {listing(inside)}" if inside else "make them with: python -m benchmarks run"
    return f"the folder {str(folder)!r} holds none of {listing([f'{suite}.json' for suite in SUITES])}; {way}"


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as JSON ({error}); measure that suite again") from None
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise InputError(f"{str(path)!r} has no list of benchmarks; measure that suite again")
    if not all(isinstance(document.get(name) or {}, dict) for name in ("machine_info", "commit_info")):
        raise InputError(f"{str(path)!r} says of its machine or commit what is no record; measure that suite again")
    return document


def _entries(
    files: list[tuple[str, dict[str, Any], Path]], kind: str, make: Callable[[Mapping[str, Any]], Made]
) -> Iterator[Made]:
    for _, document, path in files:
        for position, entry in enumerate(document.get(kind) or ()):
            try:
                yield make(entry)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                raise InputError(
                    f"{str(path)!r}: entry {position} of {kind} {what}; measure that suite again"
                ) from None


def _run(suite: str, document: dict[str, Any]) -> Run:
    machine, commit = (document.get(name) or {} for name in ("machine_info", "commit_info"))
    return Run(suite, printable(document.get("datetime") or ""), machine, commit)


def _who(entry: Mapping[str, Any]) -> tuple[str, dict[str, str | int | float], str, str]:
    case = {printable(name): _value(value) for name, value in entry["case"].items() if value is not None}
    return printable(entry["suite"]), case, printable(entry["contender"]), printable(entry.get("role", ""))


def _value(value: Any) -> str | int | float:
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return printable(value)
    raise ValueError(f"has {value!r} in its case, neither a text nor a number")


def _row(entry: Mapping[str, Any]) -> Row:
    stats, extra = entry["stats"], entry["extra_info"]
    data = tuple(float(figure) for figure in stats.get("data") or ())
    if data:
        time = spread(data)
    else:
        median = float(stats["median"])
        time = Spread(float(stats.get("q1", median)), median, float(stats.get("q3", median)))
    if not all(math.isfinite(figure) and figure > 0 for figure in (*data, *time)):
        raise ValueError("has a time that is no positive number")
    return Row(*_who(extra), printable(extra.get("unit", "step")), time, data, extra)


def _gap(entry: Mapping[str, Any]) -> Gap:
    return Gap(*_who(entry), printable(entry["kind"]), printable(entry.get("reason", "")))


def middle(figures: Any) -> float | None:
    """Return the median of what was reached, None where nothing was."""
    reached = [figure for figure in figures or () if figure is not None]
    return statistics.median(reached) if reached else None
