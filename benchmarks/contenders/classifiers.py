"""MLPClassifier.fit from first weights to the last iteration, of scikit-learn and of what takes its place."""

import importlib
from functools import partial
from typing import Any

from benchmarks.fits import Fit, fitted


class Classifier:
    """The class of that name in a library; a step is a whole fit."""

    def __init__(self, fit: Fit, library: str) -> None:
        self.make = partial(importlib.import_module(library).MLPClassifier, **fit.settings())
        self.data = fit.arrays()
        self.fitted: list[Any] = []

    def run(self, n_steps: int) -> None:
        """Fit anew, again and again."""
        for _ in range(n_steps):
            self.fitted = fitted(self.make(), *self.data)

    def params(self) -> list[Any]:
        """Return the parameters of the last fit."""
        return self.fitted
