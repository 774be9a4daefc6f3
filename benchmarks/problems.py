"""What a contender is given: a network, a rule and data, the same numbers for every one of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import backprop_xp as bx

# Adam's epsilon stands beside sqrt(v) before its bias correction here and in scikit-learn, after it in PyTorch and JAX;
# one so small is the same in both places, and takes the same time.
EPSILON = 1e-12
OPTIMIZERS: dict[str, Callable[..., bx.Optimizer]] = {"sgd": bx.sgd, "adam": partial(bx.adam, epsilon=EPSILON)}


def batches_within(numbers: int, widths: tuple[int, ...], batch: int) -> int:
    """Return the batches of an epoch: 1 to 1,024, and so many that their inputs are no more than these numbers."""
    return max(1, min(1024, numbers // (batch * widths[0])))


class Inputs(NamedTuple):
    """What is drawn or stacked for a problem.

    Parameters
    ----------
    X : array (n_batches, batch, n_in)
    labels : array (n_batches, batch), integers
    Y : array (n_batches, batch, n_out)
        One-hot; the labels themselves where there is one output.
    params : for each layer (W, b)
    """

    X: Any
    labels: Any
    Y: Any
    params: Any


@dataclass(frozen=True)
class Problem:
    """Steps of gradient descent of one network on batches that are gone through in order, again and again.

    Parameters
    ----------
    widths : tuple of int
    batch : int
        Rows of a step.
    n_batches : int
        Of an epoch.
    optimizer : "sgd" or "adam"
    output, loss : str
    dtype : "float32" or "float64"
    data : "normal" or "and"
        Normal inputs and random labels; or the truth table of AND, over and over, with 0 and 1 as the target.
    """

    widths: tuple[int, ...]
    batch: int
    n_batches: int = 1
    optimizer: str = "sgd"
    output: str = "softmax"
    loss: str = "cross_entropy"
    dtype: str = "float32"
    data: str = "normal"
    learning_rate: float = 0.01

    @property
    def network(self) -> bx.Network:
        """The network: sigmoid hidden layers, which every contender has."""
        return bx.Network(self.widths, activation="sigmoid", output=self.output)

    @property
    def rule(self) -> bx.Optimizer:
        """The optimizer."""
        return OPTIMIZERS[self.optimizer](self.learning_rate)

    @property
    def work(self) -> int:
        """Weights times rows: the multiplications of a forward pass."""
        return self.batch * sum(n_in * n_out for n_in, n_out in pairwise(self.widths))

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products: a W, a^T delta, and delta W^T but for the inputs."""
        return 6 * self.work - 2 * self.batch * self.widths[0] * self.widths[1]

    @property
    def tolerance(self) -> float:
        """How far an update may be from the one expected, in parts of its norm.

        float32 differs by some 1e-6 to 1e-4 after two steps, a rate that is off by 1 % by 1e-2.
        """
        return 2e-3

    def inputs(self) -> Inputs:
        """Return the data and the first parameters, the same at every call."""
        X, labels = _truth_table(self) if self.data == "and" else _normal(self)
        Y = np.eye(self.widths[-1], dtype=self.dtype)[labels] if self.widths[-1] > 1 else labels[..., None]
        return Inputs(X.astype(self.dtype, copy=False), labels, Y.astype(self.dtype, copy=False), self.params())

    def params(self) -> Any:
        """Return the first parameters, on the host."""
        return bx.init(self.network, seed=0, bias_initializer="uniform", dtype=self.dtype)

    def of_round(self, k: int) -> "Problem":
        """Return the same: every round takes the same steps."""
        return self

    def expected(self, n_steps: int) -> list[Any]:
        """Return the parameters after that many steps, W and b by turns: by the core on NumPy in float64."""
        return _expected(self, n_steps)


@lru_cache(maxsize=1)  # every contender of a case is held against it
def _expected(problem: Problem, n_steps: int) -> list[Any]:
    X, _, Y, _ = replace(problem, dtype="float64").inputs()
    step = bx.make_step(problem.network, problem.loss, problem.rule)
    params = tuple((W.astype("float64"), b.astype("float64")) for W, b in problem.params())
    state = problem.rule.init(params)
    for k in range(n_steps):
        params, state, _ = step(params, state, X[k % problem.n_batches], Y[k % problem.n_batches])
    return [leaf for layer in params for leaf in layer]


def _normal(problem: Problem) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    shape = problem.n_batches, problem.batch
    X = rng.standard_normal((*shape, problem.widths[0]), dtype=np.float32)
    return X, rng.integers(0, problem.widths[-1], shape)


def _truth_table(problem: Problem) -> tuple[Any, Any]:
    table = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    X = np.resize(table, (problem.n_batches, problem.batch, 2))
    return X, (X.sum(axis=-1) == 2).astype(int)
