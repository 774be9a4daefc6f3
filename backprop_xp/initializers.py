"""Initial weights, drawn on the host by a seeded NumPy generator and moved afterwards: every backend starts equal.

An initializer is a function (generator, n_in, n_out) -> weights (n_in, n_out), float64.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Initializer = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def uniform(low: float = -1.0, high: float = 1.0) -> Initializer:
    """Return an initializer that draws from U(low, high)."""
    return lambda generator, n_in, n_out: generator.uniform(low, high, (n_in, n_out))


def normal(standard_deviation: float = 1.0) -> Initializer:
    """Return an initializer that draws from N(0, standard_deviation^2)."""
    return lambda generator, n_in, n_out: generator.normal(0.0, standard_deviation, (n_in, n_out))


def _uniform_of_variance(variance: Callable[[int, int], float]) -> Initializer:
    def draw(generator: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
        bound = math.sqrt(3.0 * variance(n_in, n_out))  # U(-c, c) has variance c^2 / 3
        return generator.uniform(-bound, bound, (n_in, n_out))

    return draw


def _normal_of_variance(variance: Callable[[int, int], float]) -> Initializer:
    def draw(generator: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
        return generator.normal(0.0, math.sqrt(variance(n_in, n_out)), (n_in, n_out))

    return draw


def zeros(generator: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Return zeros: the usual start of a bias."""
    return np.zeros((n_in, n_out))


def _glorot(n_in: int, n_out: int) -> float:
    """Var W = 2 / (n_in + n_out) (Glorot and Bengio 2010, equation 12)."""
    return 2.0 / (n_in + n_out)


def _he(n_in: int, n_out: int) -> float:
    """Var W = 2 / n_in (He, Zhang, Ren and Sun 2015, equation 10)."""
    return 2.0 / n_in


def _lecun(n_in: int, n_out: int) -> float:
    """Var W = 1 / n_in (LeCun, Bottou, Orr and Müller 1998, section 4.6)."""
    return 1.0 / n_in


INITIALIZERS: dict[str, Initializer] = {
    "uniform": uniform(),
    "normal": normal(),
    "zeros": zeros,
    "glorot_uniform": _uniform_of_variance(_glorot),
    "glorot_normal": _normal_of_variance(_glorot),
    "he_uniform": _uniform_of_variance(_he),
    "he_normal": _normal_of_variance(_he),
    "lecun_uniform": _uniform_of_variance(_lecun),
    "lecun_normal": _normal_of_variance(_lecun),
}
