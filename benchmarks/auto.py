"""The rule of engine "auto": made from results, and what it would choose in every case."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from backprop_xp.engines import auto
from backprop_xp.engines.auto import Cost, Measured, Rule, Work
from backprop_xp.errors import InputError
from benchmarks.contenders import ENGINES
from benchmarks.report.results import Case, Results, Values, device
from benchmarks.report.wording import case_name

DTYPE = "float32"  # that the peers and loops suites measure engines with
ALLOWED = 1.05  # times the time of the best engine
MANY = 10**9  # steps, of which no start matters
_PARTS = Cost._fields[1:-1]
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


def rule(found: Iterable[Sample], start: Mapping[str, float]) -> Rule:
    """Return the laws of the engines that are the best one somewhere, and of eager, with what was measured.

    A law's costs are least squares of relative errors, none of them negative; an error counts in proportion to how near
    the engine is to the best one: far from it, nothing depends on it. An engine that is not the best at the largest
    sample is not chosen, and its law not fitted, beyond the largest at which it is.

    Parameters
    ----------
    found : iterable of Sample
    start : mapping of engine to seconds
    """
    found = list(found)
    largest, costs = max(map(_millions, found)), {}
    for engine in sorted({engine for sample in found for engine in sample.seconds}):
        best_at = [_millions(each) for each in found if each.seconds.get(engine, math.inf) <= LEVEL * _best(each)]
        if not best_at and engine != "eager":
            continue
        most = largest if engine == "eager" else max(best_at)
        some = [each for each in found if each.seconds.get(engine, math.inf) < math.inf and _millions(each) <= most]
        cost = _fitted(some, engine, start.get(engine, 0.0))
        costs[engine] = cost if most == largest else cost._replace(most=float(f"{most:.6g}"))
    return Rule(costs, (Measured(each.work, _rounded(each.seconds, costs)) for each in found))


def _rounded(seconds: Mapping[str, float], costs: Mapping[str, Cost]) -> dict[str, float]:
    return {engine: float(f"{t:.4g}") for engine, t in seconds.items() if engine in costs and t < math.inf}


def _best(sample: Sample) -> float:
    return min(sample.seconds.values())


def _millions(sample: Sample) -> float:
    work = sample.work
    return work.batch_size * sum(n_in * n_out for n_in, n_out in pairwise(work.widths)) / 1e6


def _features(work: Work) -> list[float]:
    """Return what a step costs where one part of the costs is 1 and the others 0."""
    nothing = Cost(*[0.0] * len(Cost._fields[:-1]))
    return [nothing._replace(**{part: 1.0}).of_a_step(work) for part in _PARTS]


def _fitted(found: Sequence[Sample], engine: str, start: float) -> Cost:
    seconds = np.asarray([each.seconds[engine] for each in found])
    weights = np.asarray([_best(each) for each in found]) / seconds
    relative = np.asarray([_features(each.work) for each in found]) * (weights / seconds)[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-300)  # parts differ by nine orders of magnitude
    parts, _ = nnls(relative / scale, weights)
    return Cost(*(float(f"{value:.3g}") for value in (start, *parts / scale)))


def chosen(found: Iterable[Sample], by: Rule) -> list[Chosen]:
    """Return what the rule takes for long runs, case by case.

    Parameters
    ----------
    found : iterable of Sample
    by : Rule
    """
    choices = []
    for name, work, seconds in found:
        expected = {engine: by.seconds(engine, work) for engine in by.costs.keys() & seconds}
        engine, best = min(expected, key=expected.__getitem__), min(seconds, key=seconds.__getitem__)
        choices.append(Chosen(name, engine, best, seconds[engine] / seconds[best]))
    return choices


def chosen_unseen(found: Sequence[Sample], start: Mapping[str, float]) -> list[Chosen]:
    """Return what is taken in each case by the rule that is made from those of other sizes.

    Parameters
    ----------
    found : sequence of Sample
    start : mapping of engine to seconds
    """
    choices = []
    for sample in found:
        others = [each for each in found if each.work != sample.work]
        choices += chosen([sample], rule(others, start))
    return choices


def made(results: Results) -> dict[tuple[str, str], Rule]:
    """Return the rules by backend and data type.

    Parameters
    ----------
    results : Results

    Raises
    ------
    InputError
        If no two engines were measured in any case.
    """
    known = {backend: samples(results, backend) for backend in ENGINES}
    rules = {(backend, DTYPE): rule(found, starts(results, backend)) for backend, found in known.items() if found}
    if not rules:
        raise InputError("these results have no times of several engines: python -m benchmarks run peers loops")
    return rules


def as_json(rules: Mapping[tuple[str, str], Rule]) -> str:
    """Return the text of backprop_xp/engines/auto.json.

    Parameters
    ----------
    rules : mapping of (backend, data type) to Rule
    """
    parts = []
    for (backend, dtype), of in rules.items():
        costs = {engine: {k: v for k, v in cost._asdict().items() if v < math.inf} for engine, cost in of.costs.items()}
        head = json.dumps({"backend": backend, "dtype": dtype, "costs": costs})
        measured = ",\n".join(json.dumps([work.widths, work.batch_size, seconds]) for work, seconds in of.measured)
        parts.append(f'{head[:-1]}, "measured": [\n{measured}]}}')
    return f"[{', '.join(parts)}]\n"


def text(results: Results, rules: Mapping[tuple[str, str], Rule]) -> str:
    """Return what the rules made from the results, and those that are in use, would choose.

    Parameters
    ----------
    results : Results
    rules : mapping of (backend, data type) to Rule
    """
    said = []
    for (backend, dtype), of in rules.items():
        found = samples(results, backend)
        said += [*_said(f"on {backend}, as made here", chosen(found, of)), ""]
        said += [*_said("as made from other sizes", chosen_unseen(found, starts(results, backend))), ""]
        if now := auto.rules().get((backend, dtype)):
            said += [*_said(f"on {backend}, as it is", chosen(found, now)), ""]
    return "\n".join(said)


def _said(title: str, choices: list[Chosen]) -> list[str]:
    worst = max(choices, key=lambda choice: choice.times)
    over = sum(choice.times > ALLOWED for choice in choices)
    lines = [f"{choice.name:<44}{choice.engine:<12}{choice.best:<12}{choice.times:.3f}" for choice in choices]
    head = f"{'the rule ' + title:<44}{'takes':<12}{'best':<12}times the best"
    limit = f"{over} of {len(choices)} over {ALLOWED}; at worst {worst.times:.3f}, {worst.name}"
    return [head, *lines, limit]
