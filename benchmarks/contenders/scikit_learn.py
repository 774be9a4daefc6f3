"""scikit-learn's MLPClassifier: steps by partial_fit, which is an epoch over its rows; and a whole job."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from backprop_xp.errors import InputError
from benchmarks.contenders import whole_jobs
from benchmarks.problems import EPSILON, Problem


class Steps:
    """Rows in order, no L2, no momentum: the same steps as everybody's."""

    def __init__(self, problem: Problem) -> None:
        if problem.widths[-1] == 2:
            raise InputError("scikit-learn has one output for two classes: another network")
        X, labels, _, params = problem.inputs()
        self.X, self.labels, self.batch = X.reshape(-1, X.shape[-1]), labels.reshape(-1), problem.batch
        self.model = MLPClassifier(
            problem.widths[1:-1],
            activation="logistic",
            solver=problem.optimizer,
            alpha=0.0,
            batch_size=problem.batch,
            learning_rate_init=problem.learning_rate,
            shuffle=False,
            momentum=0.0,
            nesterovs_momentum=False,
            epsilon=EPSILON,
        )
        self.classes = np.arange(problem.widths[-1])
        self.start_from(params)

    def start_from(self, params: Any) -> None:
        """Make the arrays by one epoch on a batch, then set them back to the first parameters."""
        self.model.partial_fit(self.X[: self.batch], self.labels[: self.batch], classes=self.classes)
        for own, leaves in zip((self.model.coefs_, self.model.intercepts_), zip(*params, strict=True), strict=True):
            for array, leaf in zip(own, leaves, strict=True):
                array[...] = leaf.reshape(array.shape)
        del self.model._optimizer  # its moments and its count of steps
        self.model.t_ = 0

    def run(self, n_steps: int) -> None:
        """Take the steps, an epoch a call."""
        while n_steps > 0:
            rows = slice(0, n_steps * self.batch)
            self.model.partial_fit(self.X[rows], self.labels[rows])
            n_steps -= len(self.X) // self.batch

    def params(self) -> list[Any]:
        """Return the parameters."""
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [leaf for layer in layers for leaf in layer]


class FitJob(whole_jobs.Fit):
    """MLPClassifier.fit; the curve by partial_fit, which is an epoch."""

    def loop(self, note: Callable[..., None] | None = None) -> None:
        """Train; call note, where there is one, after each epoch."""
        job, y = self.job, self.data.y.ravel()
        self.fitted = MLPClassifier(
            job.hidden,
            activation="relu",
            solver="adam",
            alpha=0.0,
            batch_size=job.batch,
            learning_rate_init=job.learning_rate,
            max_iter=job.epochs,
            n_iter_no_change=job.epochs + 1,  # all epochs, as the others
            random_state=np.random.RandomState(job.seed),
        )
        if note is None:
            self.fitted.fit(self.data.X, y)
            return
        classes = np.unique(y)
        for _ in range(job.epochs):
            self.fitted.partial_fit(self.data.X, y, classes=classes)
            note()

    def accuracy(self) -> float:
        """Return the share of validation rows that are told rightly."""
        return float(np.mean(self.fitted.predict(self.data.X_val) == self.data.y_val.ravel()))
