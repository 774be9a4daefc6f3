"""The benchmark of whole fits: both end at scikit-learn's numbers, and who does not is not timed."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from benchmarks.bench_fits import cases, task
from benchmarks.contenders import CLASSIFIERS, Contender
from benchmarks.contenders.classifiers import Classifier
from benchmarks.contest import CHECKED_STEPS, Harness, Plan, distance
from benchmarks.fits import Fit, fitted

SMALL = Fit(8, 200, "adam", 3)
QUICK = Plan(2, 0.0, 10.0)


class OtherRate(Classifier):
    """Its learning rate is larger by one part in a million."""

    def __init__(self, fit, library):
        super().__init__(fit, library)
        self.make = partial(self.make, learning_rate_init=1e-3 * (1 + 1e-6))


class LessPrecise(Classifier):
    """Computes in float32 whatever it is told."""

    def __init__(self, fit, library):
        super().__init__(replace(fit, dtype="float32"), library)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("library", [contender.options["library"] for contender in CLASSIFIERS])
def test_both_end_at_scikit_learns_numbers(library, optimizer, dtype):
    fit = Fit(8, 200, optimizer, 5, dtype)
    taking_part = Classifier(fit, library)
    taking_part.run(2)
    assert distance(fit, taking_part.params(), CHECKED_STEPS) < fit.tolerance / 10


def test_a_contender_that_ends_elsewhere_is_refused_before_timing():
    wrong = [
        Contender(cls.__name__, "peer", f"tests.test_fits:{cls.__name__}", {"library": "backprop_xp"})
        for cls in (OtherRate, LessPrecise)
    ]
    with Harness(threads=1) as harness:
        outcomes = harness.hold(SMALL, [*CLASSIFIERS, *wrong], QUICK)
    assert {name: (outcome.gap, len(outcome.seconds)) for name, outcome in outcomes.items()} == {
        **{contender.name: (None, 2) for contender in CLASSIFIERS},
        **{contender.name: ("refused", 0) for contender in wrong},
    }
    assert "differs from the others'" in outcomes["OtherRate"].reason


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_that_is_off_by_a_hundredth_is_seen(optimizer, dtype):
    fit = Fit(64, 32, optimizer, 2, dtype)
    found = fitted(MLPClassifier(**fit.settings(), learning_rate_init=1.01e-3), *fit.arrays())
    assert distance(fit, found, CHECKED_STEPS) > 10 * fit.tolerance


@pytest.mark.parametrize("case", cases("short"), ids=lambda case: case["optimizer"])
def test_every_iteration_is_gone_through(case):
    fit = task(case, None)
    model = MLPClassifier(**fit.settings())
    fitted(model, *fit.arrays())
    assert model.n_iter_ == fit.max_iter


def test_the_cases_are_those_that_users_choose_between():
    full = [task(case, None) for case in cases("full")]
    assert len(set(full)) == len(full)
    grid = {(fit.hidden, fit.batch, fit.optimizer) for fit in full if fit.dtype == "float64"}
    assert grid >= {(h, n, rule) for h in (32, 64, 100, 512) for n in (32, 200, 1024) for rule in ("sgd", "adam")}
    assert {fit.optimizer for fit in full} == {"sgd", "adam", "lbfgs"}
    assert np.unique([fit.dtype for fit in full]).tolist() == ["float32", "float64"]
