"""A run of a small system with what it takes to explain it at chosen steps."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_xp.explanation import Explanation, explain
from backprop_xp.explanation.systems import LOSS, System
from backprop_xp.network import Params, forward
from backprop_xp.optimizers import OptimizerState, sgd
from backprop_xp.recorder import chosen_steps
from backprop_xp.step import make_step


class Recording(NamedTuple):
    """What was kept of a run.

    Parameters
    ----------
    learning_rate : float
    losses : array (n_steps + 1,)
        Before each step, and after the last one.
    steps : list of int
        Updates made before each explanation.
    explanations : list of Explanation
    """

    learning_rate: float
    losses: NDArray[np.float64]
    steps: list[int]
    explanations: list[Explanation]


@np.errstate(over="ignore", invalid="ignore")  # a rate too high shows as a loss that is not finite
def record(system: System, n_steps: int, learning_rate: float | None = None, n_kept: int = 120) -> Recording:
    """Train a system, and explain it at steps that lie close together at the beginning.

    Parameters
    ----------
    system : System
    n_steps : int
    learning_rate : float, optional
        Default: the system's.
    n_kept : int
        Explanations at most.
    """
    rate = system.learning_rate if learning_rate is None else learning_rate
    chosen, kept, losses = chosen_steps(n_steps, n_kept), [], []
    for k, (params, state, value) in enumerate(trained(system, n_steps, rate)):
        if k in chosen:
            kept.append((params, state))  # a step changes none of its arguments
        losses.append(value)
    explanations = [explained_step(system, rate, params, state) for params, state in kept]
    return Recording(rate, np.array(losses), sorted(chosen), explanations)


def trained(system: System, n_steps: int, learning_rate: float) -> Iterator[tuple[Params, OptimizerState, float]]:
    """Yield parameters, optimizer state and the loss before each step, and after the last one."""
    rule = sgd(learning_rate)
    step = make_step(system.network, LOSS, rule, multipliers=system.multipliers)
    params, state = system.params, rule.init(system.params)
    for _ in range(n_steps + 1):
        params_after, state_after, value = step(params, state, system.X, system.Y)
        yield params, state, float(value)
        params, state = params_after, state_after


def explained_step(
    system: System, learning_rate: float, params: Params, state: OptimizerState, row: int | None = None
) -> Explanation:
    """Explain a system's step, on all rows or one; the row counts from 1."""
    rows = slice(None) if row is None else slice(row - 1, row)
    return explain(
        system.network, params, system.X[rows], system.Y[rows], LOSS,
        optimizer=sgd(learning_rate), opt_state=state, multipliers=system.multipliers, first_row=row or 1,
    )  # fmt: skip


def at_rest(it: Explanation) -> Recording:
    """Return an explanation alone as a recording of no steps."""
    rate = float(it.updates.state_after.learning_rate)
    return Recording(rate, np.array([it.value]), [0], [it])


def surface(it: Explanation, low: Sequence[float], high: Sequence[float], n: int) -> NDArray[np.float64]:
    """Return the first output (n, n) over a grid of a network with two inputs; the second input grows down the rows."""
    x, y = np.meshgrid(np.linspace(low[0], high[0], n), np.linspace(low[1], high[1], n))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    return np.asarray(forward(it.network, it.params, grid)[-1][:, 0].reshape(n, n))
