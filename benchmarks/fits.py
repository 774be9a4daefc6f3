"""A whole fit of an MLPClassifier, for contenders that end at the same numbers."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

# In parts of an array's norm. Equal work ends within 1e-6 in float32 and 1e-15 in float64, or 1e-11 where the line
# search of lbfgs magnifies another order of roundings. float32 in place of float64 is off by 1e-7 and more.
TOLERANCES = {"float64": 1e-9, "float32": 1e-5}


@dataclass(frozen=True)
class Fit:
    """One hidden layer fitted to digits, at scikit-learn's defaults but for what is named here.

    Parameters
    ----------
    hidden, batch : int
    optimizer : "sgd", "adam" or "lbfgs"
    max_iter : int
        Epochs, of lbfgs iterations: all are gone through, so that everybody's work is the same.
    dtype : "float32" or "float64"
    """

    hidden: int
    batch: int
    optimizer: str
    max_iter: int
    dtype: str = "float64"

    @property
    def work(self) -> int:
        """A fit takes a moment, and no time is predicted."""
        return 1

    @property
    def tolerance(self) -> float:
        """How far the fitted arrays may be from scikit-learn's, in parts of their norm."""
        return TOLERANCES[self.dtype]

    def settings(self) -> dict[str, Any]:
        """Return the parameters that every class is made with."""
        return {
            "hidden_layer_sizes": (self.hidden,),
            "solver": self.optimizer,
            "batch_size": self.batch,
            "max_iter": self.max_iter,
            "tol": 0.0,
            "n_iter_no_change": self.max_iter,
            "random_state": 0,
        }

    def arrays(self) -> tuple[Any, Any]:
        """Return X (1797, 64), grey levels in [0, 1], and labels (1797,)."""
        X, y = load_digits(return_X_y=True)
        return (X / 16).astype(self.dtype, copy=False), y

    def of_round(self, k: int) -> "Fit":
        """Return the same: every fit begins with the same weights."""
        return self

    def params(self) -> Any:
        """Return zeros: everybody draws the first weights, so what was fitted is held against its own norm."""
        return [[np.zeros_like(leaf) for leaf in _expected(self)]]

    def expected(self, n_steps: int) -> list[Any]:
        """Return what scikit-learn's fit ends with, however often it is repeated: W and b by turns."""
        return _expected(self)


@lru_cache(maxsize=1)  # every contender of a case is held against it
def _expected(fit: Fit) -> list[Any]:
    return fitted(MLPClassifier(**fit.settings()), *fit.arrays())


def fitted(model: Any, X: Any, y: Any) -> list[Any]:
    """Fit, and return the parameters, W (n_in, n_out) and b (n_out,) by turns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that max_iter ends every fit is meant
        model.fit(X, y)
    return [leaf for layer in zip(model.coefs_, model.intercepts_, strict=True) for leaf in layer]
