"""From loaded arrays to a fitted model: backprop_xp's Trainer, and what the jobs of the peers share with it.

`run` fits once, as users do; `facts` says how well, and fits again, looking at the accuracy after each epoch. A short
fit comes first, since libraries load parts of themselves when they are first used.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import backprop_xp as bx
from benchmarks.jobs import Arrays, Curve, Job


class Fit:
    """Trainer.fit."""

    def __init__(self, job: Job, device: str = "cpu", engine: str = "eager") -> None:
        self.fitted: Any = None
        self.engine = engine
        self.job, self.device, data = replace(job, epochs=1), device, job.arrays()
        self.data = Arrays(*(array[: 4 * job.batch] for array in data))
        self.run(1)
        self.job, self.data = job, data

    def run(self, n_steps: int) -> None:
        """Fit."""
        self.loop()

    def curve(self) -> Curve:
        """Fit, looking on."""
        curve = Curve(self.accuracy)
        self.loop(curve.note)
        return curve

    def loop(self, note: Callable[..., None] | None = None) -> None:
        """Train; call note, where there is one, after each epoch."""
        job = self.job
        several = job.n_outputs > 1
        widths = (self.data.X.shape[1], *job.hidden, job.n_outputs)
        self.fitted = bx.Trainer(
            bx.Network(widths, activation="relu", output="softmax" if several else "sigmoid"),
            "cross_entropy" if several else "binary_cross_entropy",
            bx.adam(job.learning_rate),
            batch_size=job.batch,
            epochs=job.epochs,
            seed=job.seed,
            device=self.device,
            engine=self.engine,
            callbacks=[note] if note else [],
        )
        self.fitted.fit(self.data.X, self.data.y)

    def accuracy(self) -> float:
        """Return the share of validation rows that are told rightly."""
        return right(self.fitted.predict_proba(self.data.X_val), self.data.y_val)

    def facts(self) -> dict[str, Any]:
        """Return the accuracy of the fit, and the curve of another."""
        return {"accuracy": self.accuracy(), **self.curve().facts()}

    def params(self) -> None:
        """Random first weights: nothing to compare."""


def right(P: Any, y: Any) -> float:
    """Return the share of rows whose most probable class is y; of one output, whether it is over a half."""
    labels = P.argmax(axis=1) if P.shape[1] > 1 else P[:, 0] > 0.5
    return float(np.mean(labels == y.ravel()))
