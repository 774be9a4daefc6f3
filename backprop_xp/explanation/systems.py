"""Small systems to explain: those of the tutorials, with the numbers they begin with."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_xp.network import Network, Params, init
from backprop_xp.optimizers import Multipliers

_PAIRS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


class System(NamedTuple):
    """A network and what it is to learn, by full batches of gradient descent.

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
        To begin with.
    X : array (n_samples, n_features)
    Y : array (n_samples, n_outputs)
    learning_rate : float
    n_steps : int
        Of a whole run.
    learning_rates : tuple of float
        To compare.
    multipliers : sequence of (float, float), optional
        Of the rate; 0 for what is not trained.
    """

    network: Network
    params: Params
    X: NDArray[np.float64]
    Y: NDArray[np.float64]
    learning_rate: float
    n_steps: int
    learning_rates: tuple[float, ...]
    multipliers: Multipliers | None = None


def _and() -> System:
    network = Network((2, 1), output="sigmoid")
    Y = np.array([[0.0], [0.0], [0.0], [1.0]])
    return System(
        network, init(network, 0, "uniform", bias_initializer="uniform"), _PAIRS, Y, 0.01, 10_000, (0.01, 0.1, 1.0)
    )


def _xor() -> System:
    network = Network((2, 2, 1), activation="sigmoid", output="sigmoid")
    Y = np.array([[0.0], [1.0], [1.0], [0.0]])
    # Of the seeds 0 to 11, three end in a local minimum by every rate; this one does not.
    return System(
        network, init(network, 2, "uniform", bias_initializer="uniform"), _PAIRS, Y, 0.1, 10_000, (0.1, 0.5, 2.0)
    )


def _two_by_two() -> System:
    network = Network((2, 2, 2), activation="sigmoid", output="sigmoid", bias=False)
    start = [([[0.15, 0.25], [0.20, 0.30]], None), ([[0.40, 0.50], [0.45, 0.55]], None)]
    X, Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
    return System(network, init(network, initializer=start), X, Y, 0.5, 100, (0.1, 0.2, 0.5, 0.8, 1.0, 2.0))


def _shared_bias() -> System:
    network = Network((2, 2, 2), activation="sigmoid", output="sigmoid", bias="shared")
    start = [([[0.1, 0.3], [0.2, 0.4]], [0.35]), ([[0.5, 0.7], [0.6, 0.8]], [0.60])]
    X, Y = np.array([[0.15, 0.85]]), np.array([[0.95, 0.25]])
    return System(network, init(network, initializer=start), X, Y, 0.5, 500, (0.5,), [(1.0, 0.0), (1.0, 0.0)])


LOSS = "half_squared_error"  # of all of them: the sum over samples and outputs of (y - p)^2 / 2
SYSTEMS: dict[str, Callable[[], System]] = {
    "and": _and,
    "xor": _xor,
    "two-by-two": _two_by_two,
    "shared-bias": _shared_bias,
}
