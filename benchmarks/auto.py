"""The rule of engine "auto": its costs as they are fitted to results, and what it would choose in every case."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from backprop_xp.engines import auto
from backprop_xp.engines.auto import Cost, Work
from backprop_xp.errors import InputError
from benchmarks.contenders import ENGINES
from benchmarks.report.results import Case, Results, Values, device
from benchmarks.report.wording import case_name

DTYPE = "float32"  # that the peers and loops suites measure engines with
ALLOWED = 1.05  # times the time of the best engine
MANY = 10**9  # steps, of which no start matters
_PARTS = Cost._fields[1:-1]
_STEPS = (0.8, 0.9, 0.97, 1.03, 1.1, 1.25)
_OF_ERRORS, _MOST = 0.1, 4.0
LEVEL = 1.05  # times the time of the best engine, which counts as being it


class Sample(NamedTuple):
    """Seconds a step of each engine in a case; inf for one that was left out of it."""

    name: str
    work: Work
    seconds: Mapping[str, float]


class Chosen(NamedTuple):
    """The engine taken in a case, the best one, and the time of the one over the other's: inf if it was left out."""

    name: str
    engine: str
    best: str
    times: float


def samples(results: Results, backend: str = "numpy") -> list[Sample]:
    """Return the cases of the peers and loops suites in which several engines were measured on arrays of a backend.

    Parameters
    ----------
    results : Results
    backend : str
    """
    found = []
    for case in (*results.measured("peers"), *results.measured("loops")):
        if not _is_of(case.values, backend):
            continue
        seconds = {engine: row.median for name, engine in ENGINES[backend].items() if (row := case.row(name))}
        if len(seconds) > 1:
            seconds |= {engine: math.inf for name, engine in ENGINES[backend].items() if case.gap(name)}
            found.append(Sample(case_name(case.values), _work(case, backend), seconds))
    return found


def _is_of(case: Values, backend: str) -> bool:
    """Return whether the engines had such arrays there: on CUDA, jax and torch had their own, under the same names."""
    return (device(case) == "cpu") == (backend == "numpy")


def _work(case: Case, backend: str) -> Work:
    shape = str(case.values.get("shape") or f"64-{case.values.get('hidden')}-10")
    return Work(tuple(map(int, shape.split("-"))), int(case.values["batch"]), MANY, DTYPE, backend)


def starts(results: Results, backend: str = "numpy") -> dict[str, float]:
    """Return each engine's seconds before its first step, the median over the cases that say so.

    Parameters
    ----------
    results : Results
    backend : str
    """
    found: dict[str, list[float]] = {}
    for row in results.rows:
        if row.contender in ENGINES[backend] and _is_of(row.case, backend) and row.extra.get("start") is not None:
            found.setdefault(ENGINES[backend][row.contender], []).append(float(row.extra["start"]))
    return {engine: median(seconds) for engine, seconds in found.items()}


def costs(found: Iterable[Sample], start: Mapping[str, float]) -> dict[str, Cost]:
    """Return the costs of every engine, none of them negative: least squares of relative errors, then `_to_choose`.

    An error counts in proportion to how near the engine is to the best one: far from it, nothing depends on it. One
    that is not the best at the largest sample is not chosen, and not fitted, beyond the largest at which it is.

    Parameters
    ----------
    found : iterable of Sample
    start : mapping of engine to seconds
    """
    found = list(found)
    largest = max(map(_millions, found))
    fitted = {}
    for engine in sorted({engine for sample in found for engine in sample.seconds}):
        best_at = [_millions(each) for each in found if each.seconds.get(engine, math.inf) <= LEVEL * _best(each)]
        most = largest if engine == "eager" else max(best_at, default=largest)
        some = [each for each in found if each.seconds.get(engine, math.inf) < math.inf and _millions(each) <= most]
        cost = _fitted(some, engine, start.get(engine, 0.0))
        fitted[engine] = cost if most == largest else cost._replace(most=float(f"{most:.6g}"))
    return _to_choose(found, fitted)


def _to_choose(found: Sequence[Sample], of: Mapping[str, Cost]) -> dict[str, Cost]:
    """Return the costs with each part moved, by some per cent at a time, while less time is `_lost`."""
    made = dict(of)
    least, moved = _lost(found, made), True
    while moved:
        moved = False
        for engine, part, by in product(made, _PARTS, _STEPS):
            other = made | {engine: made[engine]._replace(**{part: float(f"{getattr(made[engine], part) * by:.3g}")})}
            if (lost := _lost(found, other)) < least - 1e-6:
                made, least, moved = other, lost, True
    return made


def _lost(found: Sequence[Sample], of: Mapping[str, Cost]) -> float:
    """Return the mean logarithm of what the choices take of the best engines' times, and a tenth of the costs' errors.

    The errors keep a cost the time that it stands for, so that it holds for other sizes too.
    """
    total = 0.0
    for _, work, seconds in found:
        expected = {name: (of[name].of(work) - of[name].start) / MANY for name in of.keys() & seconds}
        best = min(seconds.values())
        total += math.log(min(seconds[min(expected, key=lambda name: expected[name])] / best, _MOST))
        errors = [
            abs(math.log(expected[name] / seconds[name])) * best / seconds[name]
            for name in expected
            if max(expected[name], seconds[name]) < math.inf
        ]
        total += _OF_ERRORS * sum(errors) / len(expected)
    return total / len(found)


def _best(sample: Sample) -> float:
    return min(sample.seconds.values())


def _millions(sample: Sample) -> float:
    work = sample.work
    return work.batch_size * sum(n_in * n_out for n_in, n_out in pairwise(work.widths)) / 1e6


def _features(work: Work) -> list[float]:
    """Return what a step costs where one part of the costs is 1 and the others 0."""
    nothing, step = Cost(*[0.0] * len(Cost._fields[:-1])), work._replace(n_steps=1)
    return [nothing._replace(**{part: 1.0}).of(step) for part in _PARTS]


def _fitted(found: Sequence[Sample], engine: str, start: float) -> Cost:
    seconds = np.asarray([each.seconds[engine] for each in found])
    weights = np.asarray([_best(each) for each in found]) / seconds
    relative = np.asarray([_features(each.work) for each in found]) * (weights / seconds)[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-300)  # parts differ by nine orders of magnitude
    parts, _ = nnls(relative / scale, weights)
    return Cost(*(float(f"{value:.3g}") for value in (start, *parts / scale)))


def chosen(found: Iterable[Sample], of: Mapping[str, Cost]) -> list[Chosen]:
    """Return what the rule takes for long runs, case by case.

    Parameters
    ----------
    found : iterable of Sample
    of : mapping of engine to Cost
    """
    made = []
    for name, work, seconds in found:
        engine = min(of.keys() & seconds, key=lambda engine: of[engine].of(work))
        best = min(seconds, key=lambda engine: seconds[engine])
        made.append(Chosen(name, engine, best, seconds[engine] / seconds[best]))
    return made


def text(results: Results) -> str:
    """Return the costs as the literal that stands in backprop_xp/engines/auto.py, and the choices that follow.

    Parameters
    ----------
    results : Results

    Raises
    ------
    InputError
        If no two engines were measured in any case.
    """
    literal, choices = [], []
    for backend in ENGINES:
        if found := samples(results, backend):
            of = costs(found, starts(results, backend))
            literal += [
                f'    ("{backend}", "{DTYPE}"): {{',
                *(f'        "{name}": {str(of[name]).replace(", most=inf", "")},' for name in of),
                "    },",
            ]
            choices += ["", *_said(f"on {backend}, as fitted here", chosen(found, of))]
            if (backend, DTYPE) in auto.COSTS:
                choices += ["", *_said(f"on {backend}, as it is", chosen(found, auto.COSTS[backend, DTYPE]))]
    if not literal:
        raise InputError("these results have no times of several engines: python -m benchmarks run peers loops")
    return "\n".join(["COSTS: dict[tuple[str, str], dict[str, Cost]] = {", *literal, "}", *choices])


def _said(title: str, choices: list[Chosen]) -> list[str]:
    worst = max(choices, key=lambda choice: choice.times)
    over = sum(choice.times > ALLOWED for choice in choices)
    lines = [f"{choice.name:<44}{choice.engine:<12}{choice.best:<12}{choice.times:.3f}" for choice in choices]
    head = f"{'the rule ' + title:<44}{'takes':<12}{'best':<12}times the best"
    limit = f"{over} of {len(choices)} over {ALLOWED}; at worst {worst.times:.3f}, {worst.name}"
    return [head, *lines, limit]
