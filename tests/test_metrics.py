"""Metrics against scikit-learn's, with weights and without, on every backend."""

from functools import partial

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_pinball_loss, r2_score

from backprop_xp import Network, Trainer, metrics

RNG = np.random.default_rng(0)
P, Y, WEIGHT = RNG.uniform(size=(40, 3)), RNG.uniform(size=(40, 3)).round(), RNG.uniform(size=40)
LABELS = RNG.integers(0, 3, 40)


def test_accuracy(lib):
    of_labels = metrics.accuracy(lib.array(P), lib.array(LABELS, "int32"), lib.xp)
    assert float(lib.host(of_labels)) == pytest.approx(accuracy_score(LABELS, P.argmax(axis=1)))
    of_several = metrics.accuracy(lib.array(P), lib.array(Y), lib.xp)
    assert float(lib.host(of_several)) == pytest.approx(accuracy_score(Y > 0.5, P > 0.5))


@pytest.mark.parametrize("weighted", [False, True])
def test_r2(lib, weighted):
    weight = WEIGHT if weighted else None
    constant = np.column_stack([Y, np.ones(40)])  # of which nothing can be explained
    predicted = np.column_stack([P, P[:, 0]])
    found = metrics.r2(lib.array(predicted), lib.array(constant), lib.xp, None if weight is None else lib.array(weight))
    assert float(lib.host(found)) == pytest.approx(r2_score(constant, predicted, sample_weight=weight))


def test_a_function_with_its_arguments_keeps_its_name():
    X = np.linspace(-1, 1, 20)[:, None]
    trainer = Trainer(Network((1, 1)), metrics=(partial(mean_pinball_loss, alpha=0.9),), epochs=2)
    history = trainer.fit(X, X[:, 0])
    assert history["mean_pinball_loss"][-1] == pytest.approx(mean_pinball_loss(X[:, 0], trainer.predict(X), alpha=0.9))
    assert not metrics.higher_is_better("val_mean_pinball_loss")
