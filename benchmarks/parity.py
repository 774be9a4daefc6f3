"""The same numbers as scikit-learn's MLP, over a grid of settings: python -m benchmarks.parity. Nothing is timed.

A cell is an estimator, a data set, a solver, an activation, a data type and a variant: a way of fitting. In each,
scikit-learn's class and this package's are fitted with the same `random_state`, and everything that a user can read
from the one is held against the other: the fitted attributes, their types, shapes and data types; the predictions;
the warnings.

The *deviation* of an array is max |ours - theirs| / max |theirs|; a list of numbers counts as an array. A cell holds if
no array deviates by more than BOUNDS and everything else is equal. Where both classes refuse to fit, with the same type
of exception, the cell is a *same refusal*.

Inputs are standardised (those of diabetes with its target too, digits as CSR are grey levels in [0, 1]) and cast to the
cell's data type. Targets and sample weights stay in float64, as users have them.
"""

import argparse
import importlib.metadata
import itertools
import json
import math
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.datasets
import sklearn.neural_network
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import backprop_xp
from backprop_xp import environment
from benchmarks import machine

BOUNDS = {"float32": 1e-3, "float64": 1e-6}
DATA = {"classifier": ("digits", "breast_cancer", "iris"), "regressor": ("diabetes",)}
SOLVERS = "sgd", "adam", "lbfgs"
ACTIVATIONS = "identity", "logistic", "tanh", "relu"
# Of each variant, its settings. Patience is short where it has to run out within --quick's few iterations.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3},
    "adaptive": {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05},
    "invscaling": {"learning_rate": "invscaling"},
    "nesterov off": {"nesterovs_momentum": False},
    "sample weights": {},
    "several outputs": {},
    "warm start": {"warm_start": True},
    "partial_fit": {},
    "sparse": {},
}
PARTS = 5  # calls of partial_fit, each on every fifth row
FULL, QUICK = 200, 15  # iterations: scikit-learn's default, and a look
PREDICTIONS = "predict", "predict_proba"
ADDED = {"validation_loss_curve_"}  # fitted attributes that this package has beyond scikit-learn's
HOLDS, REFUSAL, DIFFERS = "holds", "same refusal", "differs"


@dataclass(frozen=True)
class Cell:
    """A point of the grid; its number is the seed."""

    number: int
    estimator: str
    data: str
    solver: str
    activation: str
    dtype: str
    variant: str

    def __str__(self) -> str:
        """Return all of it, as it is named in reports."""
        return f"{self.number} " + ", ".join([self.estimator, *self.point])

    @property
    def point(self) -> tuple[str, ...]:
        """What the cell is, but for the estimator."""
        return self.data, self.solver, self.activation, self.dtype, self.variant

    def settings(self, max_iter: int) -> dict[str, Any]:
        """Return the parameters that both classes are made with."""
        chosen = {"solver": self.solver, "activation": self.activation, **VARIANTS[self.variant]}
        return {"hidden_layer_sizes": (32,), "max_iter": max_iter, "random_state": self.number, **chosen}


@dataclass(frozen=True)
class Verdict:
    """What became of a cell.

    Parameters
    ----------
    cell : Cell
    outcome : HOLDS, REFUSAL or DIFFERS
    deviations : dict
        Of each array that both have.
    differences : list of str
        What else differs, in words.
    """

    cell: Cell
    outcome: str
    deviations: dict[str, float] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def worst(self) -> tuple[str, float]:
        """The array that deviates most, and by how much."""
        return max(self.deviations.items(), key=lambda item: item[1], default=("nothing", 0.0))

    def __str__(self) -> str:
        """Return a line: the cell, its largest deviation, and all that is not a number."""
        name, deviation = self.worst
        return "; ".join([f"{self.cell}: {name} deviates by {deviation:.1e}", *self.differences])


def grid() -> list[Cell]:
    """Return every combination."""
    data = [(estimator, name) for estimator, names in DATA.items() for name in names]
    points = itertools.product(data, SOLVERS, ACTIVATIONS, BOUNDS, VARIANTS)
    return [Cell(number, *estimator_and_data, *rest) for number, (estimator_and_data, *rest) in enumerate(points)]


def examine(cell: Cell, max_iter: int = FULL, ours: type | None = None) -> Verdict:
    """Fit scikit-learn's class and `ours`, by default this package's of the same name, and compare.

    Parameters
    ----------
    cell : Cell
    max_iter : int
        Iterations of each fit.
    ours : class, optional
        What takes the place of this package's class.
    """
    name = f"MLP{cell.estimator.capitalize()}"
    X, y, sample_weight = _arrays(cell)
    theirs, ours = getattr(sklearn.neural_network, name), ours or getattr(backprop_xp, name)
    with threadpool_limits(1):  # small products: threads would only wait for each other
        expected, seen = (_seen(cls, cell, max_iter, X, y, sample_weight) for cls in (theirs, ours))
    if isinstance(expected, Exception) and isinstance(seen, Exception):
        same = type(expected) is type(seen)
        return Verdict(cell, REFUSAL if same else DIFFERS, differences=[] if same else [f"{seen!r}, not {expected!r}"])
    if isinstance(expected, Exception) or isinstance(seen, Exception):
        return Verdict(cell, DIFFERS, differences=[f"ours: {_what(seen)}, scikit-learn's: {_what(expected)}"])
    return compare(cell, seen, expected)


def control(cell: Cell, seed: int) -> type:
    """Return scikit-learn's class of the cell with each first weight moved to the next number above or below.

    Where even this does not hold against scikit-learn, training magnifies roundings, and nothing else would hold.
    """
    cls: Any = getattr(sklearn.neural_network, f"MLP{cell.estimator.capitalize()}")

    class Moved(cls):  # type: ignore[misc]
        def _init_coef(self, n_in: int, n_out: int, dtype: Any) -> tuple[Any, Any]:
            W, b = super()._init_coef(n_in, n_out, dtype)
            ends = np.random.default_rng(seed).choice([-np.inf, np.inf], W.shape)
            return np.nextafter(W, ends.astype(dtype)), b

    return Moved


def compare(cell: Cell, ours: dict[str, Any], theirs: dict[str, Any]) -> Verdict:
    """Hold everything that was seen of our fitted model against what was seen of scikit-learn's."""
    differences = [f"{name} is missing" for name in theirs.keys() - ours.keys()]
    differences += [f"{name} is not scikit-learn's" for name in ours.keys() - theirs.keys() - ADDED]
    deviations = {}
    for name in theirs.keys() & ours.keys():
        if kind(ours[name]) != kind(theirs[name]):
            differences.append(f"{name} is {kind(ours[name])}, not {kind(theirs[name])}")
        elif _counts_or_words(theirs[name]):
            if ours[name] != theirs[name]:
                differences.append(f"{name} is {ours[name]}, not {theirs[name]}")
        else:
            deviations[name] = deviation(ours[name], theirs[name])
    same = not differences and max(deviations.values(), default=0.0) <= BOUNDS[cell.dtype]
    return Verdict(cell, HOLDS if same else DIFFERS, dict(sorted(deviations.items())), sorted(differences))


def deviation(ours: Any, theirs: Any) -> float:
    """Return max |ours - theirs| / max |theirs|; of a list of arrays the largest.

    It is 0 where both are equal, infinities and NaN at the same places included, and infinite where it is no number.
    """
    if isinstance(theirs, list) and theirs and isinstance(theirs[0], np.ndarray):
        return max(map(deviation, ours, theirs))
    a, b = np.asarray(ours), np.asarray(theirs)
    if np.array_equal(a, b, equal_nan=b.dtype.kind == "f"):
        return 0.0
    with np.errstate(all="ignore"):  # infinities and divisions by 0 end below
        ratio = np.max(np.abs(np.subtract(a, b, dtype="float64"))) / np.max(np.abs(b))
    return float(ratio) if np.isfinite(ratio) else math.inf


def kind(value: Any) -> str:
    """Return what must be the same however exact the numbers are: type, shape, data type; of a list, its members'."""
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isinstance(value, list):
        return f"a list of {len(value)}: {', '.join(dict.fromkeys(map(kind, value)))}"
    return type(value).__name__


def _counts_or_words(value: Any) -> bool:
    return value is None or isinstance(value, int | str | tuple)


def _what(seen: Any) -> str:
    return repr(seen) if isinstance(seen, Exception) else "a model"


def _seen(cls: type, cell: Cell, max_iter: int, X: Any, y: Any, sample_weight: Any) -> dict[str, Any] | Exception:
    """Return everything that a user can read from a fitted model, or the exception."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = cls(**cell.settings(max_iter))
            _fit(model, cell, X, y, sample_weight)
            seen = {name: getattr(model, name) for name in dir(model) if _fitted(name) and hasattr(model, name)}
            seen |= {f"{name}()": getattr(model, name)(X) for name in PREDICTIONS if hasattr(model, name)}
            seen["score()"] = model.score(X, y)
        except Exception as error:  # whatever it is, scikit-learn's has to be the same
            return error
    return {**seen, "warnings": tuple(warning.category.__name__ for warning in caught)}


def _fitted(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def _fit(model: Any, cell: Cell, X: Any, y: Any, sample_weight: Any) -> None:
    if cell.variant == "partial_fit":
        first = {"classes": np.unique(y)} if cell.estimator == "classifier" else {}
        for k in range(PARTS):
            model.partial_fit(X[k::PARTS], y[k::PARTS], **(first if k == 0 else {}))
    else:
        for _ in range(2 if cell.variant == "warm start" else 1):
            model.fit(X, y, sample_weight)


def _arrays(cell: Cell) -> tuple[Any, Any, Any]:
    """Return X, y and the sample weights, or None."""
    X, y = _load(cell.data)
    rng = np.random.default_rng(cell.number)
    sample_weight = rng.uniform(0.1, 2.0, len(y)) if cell.variant == "sample weights" else None
    if cell.variant == "several outputs":
        y = _bits(y) if cell.estimator == "classifier" else np.column_stack([y, y**2 - 1, np.sin(y)])
    X = (_with_zeros(cell.data) if cell.variant == "sparse" else X).astype(cell.dtype)
    return X, y, sample_weight


@cache
def _load(data: str) -> tuple[Any, Any]:
    X, y = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
    if data == "diabetes":
        y = (y - y.mean()) / y.std()
    return StandardScaler().fit_transform(X), y


def _with_zeros(data: str) -> Any:
    """Return the inputs as CSR with many exact zeros: digits as they are, others without what is small."""
    if data == "digits":
        return scipy.sparse.csr_matrix(sklearn.datasets.load_digits().data / 16)
    X, _ = _load(data)
    return scipy.sparse.csr_matrix(np.where(np.abs(X) < 0.5, 0.0, X))


def _bits(y: Any) -> Any:
    """Return labels (n_samples, n_labels) of several to a row: the bits of the class, and whether it isn't class 0."""
    bits = [y >> k & 1 for k in range(int(y.max()).bit_length())]
    return np.column_stack([*bits, y > 0])


def table(verdicts: Iterable[Verdict]) -> str:
    """Return a line for each estimator, solver and data type."""
    groups = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.cell.estimator, verdict.cell.solver, verdict.cell.dtype].append(verdict)
    lines = [f"{'estimator':<12}{'solver':<8}{'dtype':<10}{'cells':>6}{'hold':>6}{'refused':>9}  largest deviation"]
    for (estimator, solver, dtype), group in groups.items():
        outcomes = Counter(verdict.outcome for verdict in group)
        name, largest = max((verdict.worst for verdict in group), key=lambda worst: worst[1])
        counts = f"{len(group):>6}{outcomes[HOLDS]:>6}{outcomes[REFUSAL]:>9}"
        lines.append(f"{estimator:<12}{solver:<8}{dtype:<10}{counts}  {largest:.1e} {name if largest else ''}".rstrip())
    return "\n".join(lines)


def document(verdicts: list[Verdict], max_iter: int) -> str:
    """Return JSON: the definition, the machine, the counts, and a cell a line."""
    cells = [
        json.dumps(
            {
                **asdict(verdict.cell),
                "outcome": verdict.outcome,
                "largest": [verdict.worst[0], _number(verdict.worst[1])],
                "deviations": {name: _number(value) for name, value in verdict.deviations.items()},
                "differences": verdict.differences,
            }
        )
        for verdict in verdicts
    ]
    head = {
        "deviation": "max |ours - theirs| / max |theirs| over an array; null where that is infinite",
        "bounds": BOUNDS,
        "max_iter": max_iter,
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")},
        "processor": environment.processor(),
        "cores": machine.cores(),
        "blas": environment.blas(),
        "outcomes": Counter(verdict.outcome for verdict in verdicts),
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    return "{\n" + ",\n".join(lines) + ',\n "cells": [\n  ' + ",\n  ".join(cells) + "\n ]\n}\n"


def _number(value: float) -> float | None:
    """Return the number as JSON can hold it, with three digits."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def _with_progress(cells: list[Cell], max_iter: int, seed: int | None) -> Iterator[Verdict]:
    """Yield the verdicts, of the control if there is a seed for it, and count them on a terminal."""
    for done, cell in enumerate(cells, 1):
        yield examine(cell, max_iter, None if seed is None else control(cell, seed))
        if sys.stderr.isatty():
            print(f"\r{done} of {len(cells)} cells", end="\n" * (done == len(cells)), file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the grid, print its table, and return 1 if a cell does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} iterations a fit instead of {FULL}")
    parser.add_argument(
        "--control", type=int, metavar="SEED", help="scikit-learn against itself, its first weights moved by one ulp"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write every cell's deviations as well")
    given = parser.parse_args(arguments)
    max_iter = QUICK if given.quick else FULL
    if given.output and not given.output.parent.is_dir():
        parser.error(f"--output: there is no folder {given.output.parent}; make it first")
    verdicts = list(_with_progress(grid(), max_iter, given.control))
    if given.output:
        given.output.write_text(document(verdicts, max_iter), encoding="utf-8")
    failed = [verdict for verdict in verdicts if verdict.outcome == DIFFERS]
    print(table(verdicts))
    print(f"\n{len(failed)} of {len(verdicts)} cells do not hold", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
