"""Whole fits: MLPClassifier of ours and scikit-learn's, told the same and shown to end at the same numbers."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.contenders import CLASSIFIERS, Contender
from benchmarks.contest import Outcome, Plan
from benchmarks.fits import Fit

SUITE, UNIT = "fits", "fit"
HIDDEN = (32, 64, 100, 512)
EPOCHS = {32: 15, 200: 25, 1024: 40}  # by batch size, so that a fit takes some 30 to 500 ms
LBFGS = Fit(64, 1797, "lbfgs", 50)  # whose batch is all rows, whatever it is told
PLANS = {"short": Plan(3, 0.05, 10.0), "full": Plan(15, 0.05, 60.0)}


def cases(scale: str) -> list[dict[str, Any]]:
    fits = [Fit(h, n, optimizer, EPOCHS[n]) for optimizer in ("sgd", "adam") for n in EPOCHS for h in HIDDEN]
    if scale == "short":
        fits = [fit for fit in fits if (fit.hidden, fit.batch) == (64, 32)]
    else:
        fits.append(Fit(64, 32, "adam", EPOCHS[32], "float32"))
    return [asdict(fit) for fit in (*fits, LBFGS)]


def contenders(case: dict[str, Any]) -> list[Contender]:
    return CLASSIFIERS


def task(case: dict[str, Any], folder: Path) -> Fit:
    return Fit(**case)


def plan(case: dict[str, Any], task: Fit, scale: str) -> Plan:
    return PLANS[scale]


def test_fit(measure: Callable[[], Outcome]) -> None:
    assert measure().seconds
