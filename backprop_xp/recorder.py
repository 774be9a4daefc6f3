"""A training run in one file, for its report and its page: parameters along the way, figures, rows, surroundings."""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends, environment
from backprop_xp.batches import pieces_of
from backprop_xp.callbacks import Callback, Record, as_history
from backprop_xp.checkpoints import Progress
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import InputError
from backprop_xp.files import write_whole
from backprop_xp.losses import LOSSES, Loss, with_setting
from backprop_xp.model import network_to_json
from backprop_xp.network import propagate
from backprop_xp.optimizers import OPTIMIZERS, Optimizer, OptimizerState
from backprop_xp.recorded_run import VERSION, check_about, load_run
from backprop_xp.step import loss_head
from backprop_xp.tensor_files import packed
from backprop_xp.training_data import TrainingData

_EPOCHS = 120  # whose parameters are kept, at most
_BYTES = 2**27  # of what is kept of them, and a quarter of it of the outputs
_PROBE, _PROBE_NUMBERS = 256, 2**22  # training rows that gradients are shown on, and their numbers at most
_WORST = 20
_FIRST = 1.0  # seconds before the first writing
_SECONDS, _SHARE = 10.0, 50  # between two of them, at least, and so many times as long as the last one took

_SETTINGS = (
    "batch_size", "epochs", "shuffle", "seed", "dtype", "precision", "l2", "clip_norm", "multipliers", "dropout",
    "validation_fraction", "patience", "min_delta",
)  # fmt: skip


class Recorder(Callback):
    """Writes a run's file: `backprop-xp report` makes a page on the run of it, `backprop-xp explain` one on its steps.

    The parameters of up to 120 epochs are kept, close together at the beginning, of 128 MiB at most; what can be
    computed from them is computed later, so that training is hardly slowed. The file is written after a second, then
    now and then, and at the end whatever ends training.

    Parameters
    ----------
    path : path
        Written anew, or continued by a run that was resumed.
    about : mapping, optional
        JSON for the pages: "data" and "target_name", texts; "target" and "preprocessing", as `Target.to_json` and an
        encoder's give them; "notes", a list of texts; "command", which repeats the run; "sha256", of the data.
    rows : function (places) -> list of dict, optional
        What the report shows of the rows that the network did worst on: "row", its number, by default the place and 1;
        "target" and "values" by column, as they were before preprocessing; "more", how many columns that leaves out.
        Places are those in the validation data that `fit` was given, or in X.

    Raises
    ------
    InputError
        If `about` is not that.
    """

    def __init__(
        self,
        path: str | Path,
        about: Mapping[str, Any] | None = None,
        rows: Callable[[NDArray[Any]], list[dict[str, Any]]] | None = None,
    ) -> None:
        self._path, self._about, self._rows = Path(path), dict(about or {}), rows
        self._trainer: Any = None
        try:
            check_about(json.loads(json.dumps(self._about)))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"about must be JSON that the pages can show: {error}") from None

    def on_train_begin(self, trainer: Any) -> None:
        """Keep the first parameters, choose the epochs to keep, and find out whether the file can be written."""
        if not hasattr(trainer, "first_params"):
            raise InputError("a Recorder records the run of a Trainer, and not of an estimator")
        run = trainer.run
        self._trainer, self._frames = trainer, dict[int, list[NDArray[Any]]]()
        self._probe, self._made_of = _probe(run.data), _made_of(trainer)
        size = sum(leaf.nbytes for leaf in _leaves(trainer, run.progress))
        self._chosen = chosen_steps(trainer.epochs, min(_EPOCHS, _BYTES // size)) if 2 * size <= _BYTES else set[int]()
        if trainer.resumed and self._path.is_file():
            before = _frames_before(self._path, self._made_of, self._probe, self._step())
            chosen = {epoch * run.n_batches for epoch in self._chosen}  # for more epochs they may be others
            self._frames = {step: before[step] for step in before if step in chosen}
        self._outcome: dict[str, Any] = {}
        self._ended = False
        self._keep()
        self._due = time.monotonic() + _FIRST
        try:
            with self._path.open("ab"):
                pass
        except OSError as error:
            raise InputError(f"cannot record the run in {str(self._path)!r}: {error.strerror}") from None

    def on_epoch_end(self, record: Record) -> None:
        """Keep the parameters if the epoch is one of those, and write the file now and then."""
        if record["epoch"] in self._chosen:
            self._keep()
        if time.monotonic() > self._due:
            self._attempt()

    def on_train_end(self, trainer: Any) -> None:
        """Look at what the network does on the validation rows, or the training rows if there are none, and write."""
        if self._trainer is None:  # it was refused in the beginning
            return
        self._ended = True
        self._keep()
        if trainer.history:
            self._outcome = self._on_rows(trainer.run.validation or trainer.run.data)
        self._attempt()
        self._trainer = None

    def _step(self) -> int:
        """Return how many updates were made."""
        run = self._trainer.run
        return int(run.progress.epoch * run.n_batches + len(run.progress.losses))

    def _keep(self) -> None:
        if self._chosen and self._step() not in self._frames:
            kept = _leaves(self._trainer, self._trainer.run.progress)
            if all(np.isfinite(leaf).all() for leaf in kept):
                self._frames[self._step()] = kept

    def _on_rows(self, data: TrainingData) -> dict[str, Any]:
        """Return outputs, targets and each row's loss, and the worst rows."""
        trainer = self._trainer
        most = max(1, _BYTES // 32 // trainer.network.widths[-1])
        data = data.rows(slice(0, min(most, data.X.shape[0])))
        outputs, of_rows = _outputs(trainer, data)
        worst = np.argsort(-of_rows, kind="stable")[:_WORST]
        places = worst if trainer.run.held is None else trainer.run.held[worst]
        arrays = {"outputs": outputs, "targets": backends.to_host(data.Y), "losses": of_rows, "worst": worst}
        return {"arrays": arrays, "worst": self._shown(places)}

    def _shown(self, places: NDArray[Any]) -> list[dict[str, Any]]:
        """Return what `rows` says of these rows; one that it cannot show does not cost the record of the run."""
        shown = [{"row": int(place) + 1} for place in places]
        if self._rows is None:
            return shown
        try:
            told = self._rows(places)
            if len(told) == len(shown):
                told = [row | each for row, each in zip(shown, told, strict=True)]
                packed("run", VERSION, {}, {"worst": told})  # as they will be written
                return told
            problem = f"gave {len(told)} rows for {len(shown)} places"
        except Exception as error:
            problem = f"cannot be shown: {type(error).__name__}: {error}"
        warnings.warn(f"the Recorder's `rows` {problem}", stacklevel=2)
        return shown

    def _attempt(self) -> None:
        """Write; a full disk stops the record, not the training."""
        try:
            self._write()
        except OSError as error:
            warnings.warn(f"the run is not recorded in {str(self._path)!r}: {error.strerror}", stacklevel=2)

    def _write(self) -> None:
        start = time.monotonic()
        try:
            write_whole(Path(os.path.realpath(self._path)), self._content())
        finally:
            now = time.monotonic()
            self._due = now + max(_SECONDS, _SHARE * (now - start))

    def _content(self) -> bytes:
        trainer, run, error = self._trainer, self._trainer.run, sys.exc_info()[1]
        history = trainer.history or as_history(run.progress.records)
        header = {
            **self._made_of,
            "n_validation": 0 if run.validation is None else int(run.validation.X.shape[0]),
            "backend": f"{trainer.backend.name} on {trainer.backend.label}",
            "engine": None if trainer.choice is None else [trainer.choice.engine, trainer.choice.reason],
            "notes": trainer.notes,
            "environment": environment.described(),
            "ended": self._ended,
            "stopped": trainer.stopped,
            "error": None if error is None or trainer.stopped else f"{type(error).__name__}: {error}",
            "kept_epoch": trainer.kept_epoch,
            "about": self._about,
            "worst": self._outcome.get("worst", []),
            "figures": list(history),
        }
        steps = sorted(self._frames)
        arrays = {
            **{f"history.{name}": a for name, a in history.items()},
            **{f"probe.{name}": a for name, a in self._probe.items()},
            **{f"rows.{name}": a for name, a in self._outcome.get("arrays", {}).items()},
            "steps": np.array(steps, np.int64),
        }
        for number, kept in enumerate(zip(*(self._frames[step] for step in steps), strict=True)):
            arrays[f"frames.{number}"] = np.stack(kept)
        return packed("run", VERSION, arrays, header)


def chosen_steps(n_steps: int, n_kept: int) -> set[int]:
    """Return at most so many steps, 2 or more, from 0 to `n_steps`: half of them evenly, half in equal ratios."""
    if n_steps < n_kept:
        return set(range(n_steps + 1))
    half = (n_kept - 2) // 2
    even, ratios = np.linspace(0, n_steps, half + 2)[1:-1], np.geomspace(1, n_steps, half + 1)[:-1]
    return {0, n_steps, *(int(step) for step in np.concatenate([even, ratios]).round())}


def _made_of(trainer: Any) -> dict[str, Any]:
    """Return the part of the header that a run has in common with the one that it goes on with."""
    loss, optimizer = trainer.loss, trainer.optimizer
    name = optimizer.name if _is_known_rule(optimizer) else ""
    made_of = {
        "network": network_to_json(trainer.network),
        "loss": {"name": loss.name, "parameter": loss.parameter, "known": _is_known_loss(loss)},
        "optimizer": {"name": name, "settings": dict(optimizer.settings)},
        "settings": {each: getattr(trainer, each) for each in _SETTINGS}
        | {"monitor": trainer.run.monitor, "metrics": trainer.evaluation.names},
        "n_samples": trainer.n_samples,
    }
    return dict(json.loads(json.dumps(made_of, default=float)))


def _is_known_loss(loss: Loss) -> bool:
    if loss.name not in LOSSES or (loss.parameter is None) != (LOSSES[loss.name].parameter is None):
        return False
    known = with_setting(loss.name, loss.parameter)
    # Each huber has functions of its own.
    return known == (loss if loss.parameter is None else loss._replace(value=known.value, gradient=known.gradient))


def _is_known_rule(optimizer: Optimizer) -> bool:
    """Tell whether it is one of the package's: their updates are all made by one function."""
    update = getattr(optimizer.update, "__code__", None)
    return optimizer.name in OPTIMIZERS and update is getattr(OPTIMIZERS[optimizer.name]().update, "__code__", "")


def _leaves(trainer: Any, progress: Progress) -> list[NDArray[Any]]:
    """Return parameters and optimizer state as host arrays; of an optimizer of the user's own the parameters alone."""
    state = _about_to_update(trainer, progress) if _is_known_rule(trainer.optimizer) else None
    return [np.array(backends.to_host(leaf)) for leaf in leaves((progress.params, state))]


def _about_to_update(trainer: Any, progress: Progress) -> OptimizerState:
    """Return the optimizer's state with the learning rate of the next update, as an update of one weight gives it."""
    state: OptimizerState = progress.opt_state
    one = ((progress.params[0][0][:1, :1], None),)
    moments = ((tuple(m[:1, :1] for m in state.moments[0][0]), ()),)
    _, after = trainer.optimizer.update(one, state._replace(moments=moments), one, xp=trainer.backend.xp)
    return state._replace(learning_rate=after.learning_rate)


def _frames_before(
    path: Path, made_of: dict[str, Any], probe: dict[str, NDArray[Any]], step: int
) -> dict[int, list[NDArray[Any]]]:
    """Return what a run that was resumed had kept up to a step; nothing if the file is of another run."""
    try:
        run = load_run(path)
    except InputError:
        return {}

    def common(header: Mapping[str, Any]) -> dict[str, Any]:
        return {name: header.get(name) for name in made_of} | {"settings": {**header["settings"], "epochs": None}}

    rows = zip(("X", "Y", "weight"), run.probe, strict=True)
    same = common(run.header) == common(made_of) and all(
        np.array_equal(probe.get(name, ()), () if a is None else a) for name, a in rows
    )
    return {frame.step: leaves(tuple(frame[1:])) for frame in run.frames if frame.step <= step} if same else {}


def _probe(data: TrainingData) -> dict[str, NDArray[Any]]:
    """Return some rows, evenly chosen, as host arrays."""
    n_rows, width = data.X.shape
    n_kept = max(1, min(_PROBE, n_rows, _PROBE_NUMBERS // width))
    places = np.unique(np.linspace(0, n_rows - 1, n_kept).round().astype(np.int64)).tolist()
    named = [(name, a) for name, a in zip(("X", "Y", "weight"), data, strict=True) if a is not None]
    return {name: np.stack([backends.to_host(a[k, ...]) for k in places]) for name, a in named}


def _outputs(trainer: Any, data: TrainingData) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the network's outputs and each row's own loss, a few thousand rows at a time."""
    network, xp, head = trainer.network, trainer.backend.xp, loss_head(trainer.network, trainer.loss)
    outputs, of_rows, done = [], [], 0
    for X in pieces_of(data.X):
        z, Y = propagate(network, trainer.params, X, None, xp)[2], data.Y[done : done + X.shape[0], ...]
        # Each row is a model of its own: the head then sums over no other.
        value, _ = head(z[:, None, :], Y[:, None, ...], None, xp)
        outputs.append(backends.to_host(network.activations[-1].value(z, xp)))
        of_rows.append(backends.to_host(value))
        done += X.shape[0]
    return np.concatenate(outputs), np.concatenate(of_rows)
