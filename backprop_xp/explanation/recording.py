"""A run with what it takes to explain it at chosen steps: of a small system, made here, or one that was recorded."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_xp.errors import InputError
from backprop_xp.explanation import Explanation, explain
from backprop_xp.explanation.systems import LOSS, System
from backprop_xp.network import Params, forward
from backprop_xp.optimizers import OptimizerState, sgd
from backprop_xp.recorded_run import Frame, RecordedRun
from backprop_xp.recorder import chosen_steps
from backprop_xp.step import make_step

Floats = NDArray[np.float64]

_ROWS = 32  # of a recorded run that are explained


class Recording(NamedTuple):
    """What was kept of a run.

    Parameters
    ----------
    learning_rate : float
    losses : array (n_points,)
        Of a system before each step and after the last one; of a recorded run each epoch's.
    at : array (n_points,)
        Updates made before each of them.
    steps : list of int
        Updates made before each explanation.
    explanations : list of Explanation
    note : str
        What a reader should know of the run.
    held_losses : array (n_points,), optional
        On validation rows.
    epochs : list of int, optional
        Of a recorded run, finished before each explanation.
    features, classes : list of str, optional
        Names of inputs, and of what each output stands for.
    """

    learning_rate: float
    losses: Floats
    at: NDArray[np.int64]
    steps: list[int]
    explanations: list[Explanation]
    note: str
    held_losses: Floats | None = None
    epochs: list[int] | None = None
    features: list[str] | None = None
    classes: list[str] | None = None


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
    note = f"{counted(n_steps, 'step')} of gradient descent on all rows at once."
    return Recording(rate, np.array(losses), np.arange(n_steps + 1), sorted(chosen), explanations, note)


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


def of_run(run: RecordedRun, n_kept: int) -> Recording:
    """Explain a recorded run at some of its epochs, the first and the last among them.

    Parameters
    ----------
    run : RecordedRun
    n_kept : int
        Explanations at most, two or more.

    Raises
    ------
    InputError
        If its loss or its optimizer is the user's own, or no parameters were recorded.
    """
    check_explainable(run)
    places = np.unique(np.linspace(0, len(run.frames) - 1, min(n_kept, len(run.frames))).round().astype(int))
    frames = [run.frames[place] for place in places]
    explanations = [explained_frame(run, frame) for frame in frames]
    epochs = run.history.get("epoch", np.empty(0)).astype(np.int64)
    losses, held = run.history.get("loss", np.empty(0)), run.history.get("val_loss")
    rate = float(explanations[0].updates.state_after.learning_rate)
    steps = [frame.step for frame in frames]
    return Recording(
        rate, losses, epochs * run.n_batches, steps, explanations, _told(run), held,
        [step // run.n_batches for step in steps], run.features, run.classes,
    )  # fmt: skip


def check_explainable(run: RecordedRun) -> None:
    """Raise InputError if a recorded run does not hold what an explanation takes."""
    if not run.frames:
        raise InputError("this run was recorded without parameters, its network being too large: report shows the rest")
    if run.loss is None or run.optimizer is None:
        own = "loss" if run.loss is None else "optimizer"
        raise InputError(f"this run was trained by {'a' if run.loss is None else 'an'} {own} that is not the package's")


def explained_frame(run: RecordedRun, frame: Frame, row: int | None = None) -> Explanation:
    """Explain a frame of a recorded run on up to 32 of its rows, or on one of them; the row counts from 1."""
    assert run.loss is not None  # see check_explainable
    rows = np.unique(np.linspace(0, len(run.probe[0]) - 1, _ROWS).round().astype(int))
    if row is not None:
        if not 1 <= row <= len(rows):
            raise InputError(f"--row must be one of 1 to {len(rows)}, the rows that were recorded, not {row}")
        rows = rows[row - 1 : row]
    X, Y, weight = (None if a is None else a[rows] for a in run.probe)
    if weight is not None and not weight.any():
        shown = "the rows shown have" if row is None else f"row {row} has"
        raise InputError(f"{shown} a sample weight of 0, and so no gradient: choose another --row")
    settings = run.header["settings"]
    return explain(
        run.network, frame.params, X, Y, run.loss,
        optimizer=run.optimizer, opt_state=frame.state, sample_weight=weight,
        l2=settings["l2"], clip_norm=settings["clip_norm"], multipliers=settings["multipliers"], first_row=row or 1,
    )  # fmt: skip


def _told(run: RecordedRun) -> str:
    """Return what a recorded run was, and what is shown of it."""
    settings, n_samples = run.header["settings"], int(run.header["n_samples"])
    batch, n_rows = min(settings["batch_size"], n_samples), min(_ROWS, len(run.probe[0]))
    n_epochs = len(run.history.get("epoch", ()))
    name, n_steps = run.header["optimizer"]["name"], run.n_batches
    note = f"{counted(n_epochs, 'epoch')} of {counted(n_steps, 'step')} of {name}, "
    if batch == n_samples == n_rows:
        note += "on all rows at once."
    else:
        note += f"each on {batch:,} of {n_samples:,} rows. Shown are {n_rows} training rows, evenly chosen, and the "
        note += "update that a step on these would make."
    if settings["dropout"]:
        note += " Dropout is left out."
    if run.target is not None and run.target.mean is not None:
        note += " Targets and outputs are shown as they were learned: less their mean, by their standard deviation."
    kept = int(run.header["kept_epoch"])
    return f"{note} The model that was kept is that of epoch {kept}." if 0 < kept < n_epochs else note


def counted(n: int, noun: str) -> str:
    """Return "1 step", "2 steps"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def at_rest(it: Explanation) -> Recording:
    """Return an explanation alone as a recording of no steps."""
    rate = float(it.updates.state_after.learning_rate)
    return Recording(rate, np.array([it.value]), np.zeros(1, np.int64), [0], [it], "A model as its file holds it.")


def surface(it: Explanation, low: Sequence[float], high: Sequence[float], n: int) -> Floats:
    """Return the first output (n, n) over a grid of a network with two inputs; the second input grows down the rows."""
    x, y = np.meshgrid(np.linspace(low[0], high[0], n), np.linspace(low[1], high[1], n))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    return np.asarray(forward(it.network, it.params, grid)[-1][:, 0].reshape(n, n))
