"""Metrics against scikit-learn's, with weights and without, on every backend."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from backprop_xp import metrics

RNG = np.random.default_rng(0)
P, Y, WEIGHT = RNG.uniform(size=(40, 3)), RNG.uniform(size=(40, 3)).round(), RNG.uniform(size=40)
LABELS = RNG.integers(0, 3, 40)


@pytest.mark.parametrize("weighted", [False, True])
def test_accuracy(lib, weighted):
    weight = WEIGHT if weighted else None
    given = None if weight is None else lib.array(weight)
    of_labels = metrics.accuracy(lib.array(P), lib.array(LABELS, "int32"), lib.xp, given)
    assert float(lib.host(of_labels)) == pytest.approx(accuracy_score(LABELS, P.argmax(axis=1), sample_weight=weight))
    of_several = metrics.accuracy(lib.array(P), lib.array(Y), lib.xp, given)
    assert float(lib.host(of_several)) == pytest.approx(accuracy_score(Y > 0.5, P > 0.5, sample_weight=weight))


@pytest.mark.parametrize("weighted", [False, True])
def test_r2(lib, weighted):
    weight = WEIGHT if weighted else None
    constant = np.column_stack([Y, np.ones(40)])  # of which nothing can be explained
    predicted = np.column_stack([P, P[:, 0]])
    found = metrics.r2(lib.array(predicted), lib.array(constant), lib.xp, None if weight is None else lib.array(weight))
    assert float(lib.host(found)) == pytest.approx(r2_score(constant, predicted, sample_weight=weight))
