"""A training run in one file, for its report and its page: parameters along the way, figures, rows, surroundings."""

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
from backprop_xp.files import write_output
from backprop_xp.model import network_to_json
from backprop_xp.network import Network, propagate
from backprop_xp.optimizers import OPTIMIZERS, OptimizerState
from backprop_xp.recorded_run import VERSION, load_run
from backprop_xp.step import loss_head
from backprop_xp.tensor_files import packed
from backprop_xp.training_data import TrainingData

_EPOCHS = 120  # whose parameters are kept, at most
_BYTES = 2**27  # of what is kept of them, and a quarter of it of the outputs
_PROBE, _PROBE_NUMBERS = 256, 2**22  # training rows that gradients are shown on, and their numbers at most
_WORST = 20
_SECONDS = 10.0  # between two writings, at least, and so many times as long as the last one took
_SHARE = 50

_SETTINGS = (
    "batch_size", "epochs", "shuffle", "seed", "dtype", "precision", "l2", "clip_norm", "dropout", "patience",
    "min_delta",
)  # fmt: skip


class Recorder(Callback):
    """Writes a run's file: `backprop-xp report` makes a page on the run of it, `backprop-xp explain` one on its steps.

    The parameters of up to 120 epochs are kept, close together at the beginning, of 128 MiB at most; what can be
    computed from them is computed later, so that training is hardly slowed. The file is there from the first epoch on.

    Parameters
    ----------
    path : path
        Written anew, or continued by a run that was resumed.
    about : mapping, optional
        JSON that the report shows: "data", "target", "preprocessing", "command".
    rows : function (places) -> list of dict, optional
        What the report shows of the rows that the network did worst on: the row's number and its raw values.
    """

    def __init__(
        self,
        path: str | Path,
        about: Mapping[str, Any] | None = None,
        rows: Callable[[NDArray[Any]], list[dict[str, Any]]] | None = None,
    ) -> None:
        self._path, self._about, self._rows = Path(path), dict(about or {}), rows

    def on_train_begin(self, trainer: Any) -> None:
        """Keep the first parameters, and choose the epochs to keep."""
        run = trainer.run
        self._trainer, self._frames = trainer, dict[int, list[NDArray[Any]]]()
        if trainer.resumed and self._path.is_file():
            self._frames = _frames_before(self._path, trainer.network, run.progress.epoch)
        size = sum(leaf.nbytes for leaf in _leaves(trainer, run.progress))
        self._chosen = chosen_steps(trainer.epochs, min(_EPOCHS, _BYTES // size)) if 2 * size <= _BYTES else set[int]()
        self._probe = _probe(run.data)
        self._outcome: dict[str, Any] = {}
        self._ended, self._written, self._took = False, time.monotonic(), 0.0
        self._keep(run.progress)

    def on_epoch_end(self, record: Record) -> None:
        """Keep the parameters if the epoch is one of those, and write the file now and then."""
        progress = self._trainer.run.progress
        if progress.epoch in self._chosen:
            self._keep(progress)
            if time.monotonic() - self._written > max(_SECONDS, _SHARE * self._took):
                self._write()

    def on_train_end(self, trainer: Any) -> None:
        """Look at what the network does on the validation rows, or the training rows if there are none, and write."""
        progress, self._ended = trainer.run.progress, True
        if self._chosen:
            self._keep(progress)
        if trainer.history:
            self._outcome = self._on_rows(trainer.run.validation or trainer.run.data)
        self._write()
        del self._trainer

    def _keep(self, progress: Progress) -> None:
        if self._chosen and progress.epoch not in self._frames:
            kept = _leaves(self._trainer, progress)
            if all(np.isfinite(leaf).all() for leaf in kept):
                self._frames[progress.epoch] = kept

    def _on_rows(self, data: TrainingData) -> dict[str, Any]:
        """Return outputs, targets and each row's loss, and the worst rows."""
        trainer = self._trainer
        most = max(1, _BYTES // 32 // trainer.network.widths[-1])
        data = data.rows(slice(0, min(most, data.X.shape[0])))
        outputs, of_rows = _outputs(trainer, data)
        worst = np.argsort(-of_rows, kind="stable")[:_WORST]
        shown = [{"row": int(place) + 1} for place in worst] if self._rows is None else self._rows(worst)
        Y = backends.to_host(data.Y)
        arrays = {"outputs": outputs, "targets": Y, "losses": of_rows, "worst": worst}
        return {"arrays": arrays, "worst": shown, "validated": trainer.run.validation is not None}

    def _write(self) -> None:
        start = time.monotonic()
        try:
            write_output(self._path, self._content())
        except InputError as error:  # a full disk stops the record, not the training
            warnings.warn(f"the run is not recorded: {error}", stacklevel=2)
        self._written, self._took = time.monotonic(), time.monotonic() - start

    def _content(self) -> bytes:
        trainer, run = self._trainer, self._trainer.run
        choice = trainer.choice
        header = {
            "network": network_to_json(trainer.network),
            "loss": {"name": trainer.loss.name, "parameter": trainer.loss.parameter},
            "optimizer": {"name": trainer.optimizer.name, "settings": dict(trainer.optimizer.settings)},
            "settings": {name: getattr(trainer, name) for name in _SETTINGS} | {"monitor": run.monitor},
            "n_samples": trainer.n_samples,
            "n_validation": 0 if run.validation is None else int(run.validation.X.shape[0]),
            "backend": f"{trainer.backend.name} on {trainer.backend.label}",
            "engine": None if choice is None else [choice.engine, choice.reason],
            "notes": trainer.notes,
            "environment": environment.described(),
            "stopped": trainer.stopped,
            "ended": self._ended,
            "kept_epoch": trainer.kept_epoch,
            "about": self._about,
            "worst": self._outcome.get("worst", []),
            "validated": self._outcome.get("validated", run.validation is not None),
        }
        history = trainer.history or as_history(run.progress.records)
        arrays = {
            **{f"history.{name}": values for name, values in history.items()},
            **{f"probe.{name}": a for name, a in self._probe.items()},
            **{f"rows.{name}": a for name, a in self._outcome.get("arrays", {}).items()},
            "epochs": np.array(sorted(self._frames), np.int64),
        }
        for number, kept in enumerate(zip(*(self._frames[epoch] for epoch in sorted(self._frames)), strict=True)):
            arrays[f"frames.{number}"] = np.stack(kept)
        return packed("run", VERSION, arrays, header)


def chosen_steps(n_steps: int, n_kept: int) -> set[int]:
    """Return at most so many steps from 0 to `n_steps`: half of them evenly, half in equal ratios."""
    if n_steps < n_kept:
        return set(range(n_steps + 1))
    half = max(1, n_kept // 2)
    even = np.linspace(0, n_steps, half)
    ratios = np.geomspace(1, max(1, n_steps), half)
    return {0, n_steps, *(int(step) for step in np.concatenate([even, ratios]).round())}


def _leaves(trainer: Any, progress: Progress) -> list[NDArray[Any]]:
    """Return parameters and optimizer state as host arrays; of an optimizer of the user's own the parameters alone."""
    state = _about_to_update(trainer, progress) if trainer.optimizer.name in OPTIMIZERS else None
    return [backends.to_host(leaf) for leaf in leaves((progress.params, state))]


def _about_to_update(trainer: Any, progress: Progress) -> OptimizerState:
    """Return the optimizer's state with the learning rate of the next update, as an update of one weight gives it."""
    state: OptimizerState = progress.opt_state
    one = ((progress.params[0][0][:1, :1], None),)
    moments = ((tuple(m[:1, :1] for m in state.moments[0][0]), ()),)
    _, after = trainer.optimizer.update(one, state._replace(moments=moments), one, xp=trainer.backend.xp)
    return state._replace(learning_rate=after.learning_rate)


def _frames_before(path: Path, network: Network, epoch: int) -> dict[int, list[NDArray[Any]]]:
    """Return what a run that was resumed had kept of its epochs up to this one."""
    try:
        run = load_run(path)
    except InputError:
        return {}
    frames = run.frames if run.network == network else []
    return {frame.epoch: leaves(tuple(frame[1:])) for frame in frames if frame.epoch <= epoch}


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
