"""What `explain` may be given: a small system, a recorded run, a model file; each as an explanation and as a page."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from backprop_xp import flags
from backprop_xp.cli.use import encoded
from backprop_xp.errors import InputError
from backprop_xp.explanation import Explanation
from backprop_xp.explanation import explain as explained
from backprop_xp.explanation.page import MAX_WEIGHTS, n_frames
from backprop_xp.explanation.recording import (
    Recording,
    at_rest,
    check_explainable,
    explained_frame,
    explained_step,
    of_run,
    record,
    trained,
)
from backprop_xp.explanation.systems import SYSTEMS
from backprop_xp.losses import with_setting
from backprop_xp.model import load as load_model
from backprop_xp.network import Network
from backprop_xp.optimizers import sgd
from backprop_xp.recorded_run import load_run

_PAGE_ROWS = 32


class Subject(Protocol):
    """What can be explained.

    Attributes
    ----------
    title : str
        Of its page.
    told : tuple of str
        Lines on which step was explained, where it may be another than was asked for.
    remedy : str
        What to do where numbers are not finite.
    """

    title: str
    told: tuple[str, ...]
    remedy: str

    def explanation(self) -> Explanation:
        """Explain one step."""
        ...

    def recordings(self) -> list[Recording]:
        """Return what its page shows."""
        ...


@dataclass
class SmallSystem:
    """One of the tutorials' systems, trained anew."""

    name: str
    step: int | None
    row: int | None
    rates: list[float]
    title: str = field(init=False)
    told: tuple[str, ...] = ()
    remedy: str = "try a lower --learning-rate, or fewer steps"

    def __post_init__(self) -> None:
        self.title = f"{self.name}: where its gradients come from"

    def explanation(self) -> Explanation:
        """Train for so many steps, and explain the next one."""
        if len(self.rates) > 1:
            raise InputError("several learning rates are for the page of a small system: give one, or --html PAGE")
        system = SYSTEMS[self.name]()
        rows_of(self.row, len(system.X))
        rate = self.rates[0] if self.rates else system.learning_rate
        with np.errstate(over="ignore", invalid="ignore"):  # a rate too high shows in the numbers
            *_, (params, state, _) = trained(system, self.step or 0, rate)
            return explained_step(system, rate, params, state, self.row)

    def recordings(self) -> list[Recording]:
        """Train by each learning rate."""
        if self.row is not None:
            raise InputError("the page of a small system shows every row: leave out --row")
        system = SYSTEMS[self.name]()
        n_steps = system.n_steps if self.step is None else self.step
        return [record(system, n_steps, rate) for rate in self.rates or system.learning_rates]


@dataclass
class TrainedRun:
    """What `train --record` wrote."""

    file: str
    step: int | None
    row: int | None
    title: str = field(init=False)
    told: tuple[str, ...] = ()
    remedy: str = "the run had left all bounds; look at its earlier steps in the terminal, by --step"

    def __post_init__(self) -> None:
        self.title = f"{Path(self.file).stem}: where its gradients come from"
        self._run = load_run(self.file)
        check_explainable(self._run)

    def explanation(self) -> Explanation:
        """Explain the step after the kept epoch nearest to the one asked for, or the last."""
        run = self._run
        steps = [frame.step for frame in run.frames]
        wanted = steps[-1] if self.step is None else self.step
        frame = run.frames[int(np.abs(np.array(steps) - wanted).argmin())]
        it = explained_frame(run, frame, self.row)
        on = f"{len(it.X)} training rows, evenly chosen" if self.row is None else "one of its rows"
        epoch, within = divmod(frame.step, run.n_batches)
        where = f"{within} steps into epoch {epoch + 1:,}" if within else f"the end of epoch {epoch:,}"
        without = "; without dropout" if run.header["settings"]["dropout"] else ""
        self.told = (f"after step {frame.step:,}, {where}; on {on}{without}",)
        return it

    def recordings(self) -> list[Recording]:
        """Explain as many epochs as a page holds."""
        if self.row is not None or self.step is not None:
            raise InputError("the page of a run shows every recorded row and step: leave out --row and --step")
        n_weights = check_size(self._run.network)
        state = self._run.frames[0].state
        n_moments = 0 if state is None else len(state.moments[0][0])
        return [of_run(self._run, n_frames(n_weights, n_moments))]


@dataclass
class ModelFile:
    """What `train` wrote, on rows from elsewhere."""

    file: str
    data: str | None
    target: str | None
    row: int | None
    rates: list[float]
    title: str = field(init=False)
    told: tuple[str, ...] = ()
    remedy: str = "are the rows like those that the model was trained on?"

    def __post_init__(self) -> None:
        self.title = f"{Path(self.file).name} on {self.data}"
        if len(self.rates) > 1:
            raise InputError("several learning rates are for the page of a small system: give one")
        self._model = load_model(self.file)

    def explanation(self) -> Explanation:
        """Explain the step that gradient descent would make on these rows."""
        if self.data is None:
            raise InputError("a model file holds no rows: give --data FILE with the inputs and targets to explain")
        model = self._model
        X, values = encoded(model, self.data, self.target, need_target=True)
        assert model.target is not None  # or encoded() refuses
        rows = rows_of(self.row, len(X))
        Y, loss = model.target.encode(values)[rows], with_setting(model.loss)
        if loss.parameter is not None:
            setting = model.extra.get("loss_setting")
            if not isinstance(setting, float | int):
                raise InputError(
                    f"the model file does not say by what setting of {model.loss} it was trained: train it again"
                )
            loss = flags.loss(f"{model.loss}:{setting}")
        rule = sgd(self.rates[0] if self.rates else 0.1)
        return explained(model.network, model.params, X[rows], Y, loss, optimizer=rule, first_row=self.row or 1)

    def recordings(self) -> list[Recording]:
        """Explain it as it is."""
        it = self.explanation()
        check_size(it.network)
        if len(it.X) > _PAGE_ROWS:
            raise InputError(
                f"a page holds up to {_PAGE_ROWS} rows, not {len(it.X):,}: choose a row with --row, or look in the "
                "terminal"
            )
        return [at_rest(it)]


def check_size(network: Network) -> int:
    """Return the number of weights, once a page holds them."""
    n_weights = sum(n_in * n_out for (n_in, n_out), _ in network.shapes)
    if n_weights > MAX_WEIGHTS:
        raise InputError(f"a page holds up to {MAX_WEIGHTS:,} weights, not {n_weights:,}: look in the terminal")
    return n_weights


def rows_of(row: int | None, n_rows: int) -> slice:
    """Return all rows, or the one that counts from 1."""
    if row is None:
        return slice(None)
    if not 1 <= row <= n_rows:
        raise InputError(f"--row must be one of 1 to {n_rows:,}, not {row}")
    return slice(row - 1, row)
