"""One fit of a Trainer: where it stands, its epochs, and what it leaves."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends, engines, fingerprints
from backprop_xp.batches import EpochOrders, IndexBatches
from backprop_xp.callbacks import Callback, Record, as_history, batch_listener, tell
from backprop_xp.checkpoints import Folder, Progress
from backprop_xp.early_stopping import Best
from backprop_xp.engines.interrupts import deferred_interrupts, terminable
from backprop_xp.engines.tracing import leaves, of_step
from backprop_xp.errors import DivergedError, InputError, StopTraining
from backprop_xp.losses import TINY
from backprop_xp.metrics import higher_is_better
from backprop_xp.network import Params
from backprop_xp.training_data import TrainingData

if TYPE_CHECKING:
    from backprop_xp.training import Trainer

Array = Any

# Epochs are brief if several take some milliseconds, by multiplications, of which a step's calls are worth so many.
_BRIEF, _STEP = 2**24, {"loops": 2**9, "eager": 2**16}


class Run:
    """What a `Trainer.fit` needs while it lasts: the optimizer's state, the engine, the folder of checkpoints.

    Parameters
    ----------
    trainer : Trainer
        Its settings are read; what callbacks and users see of the run is set on it as the run goes.
    data, validation : TrainingData
        On the device; the second may be None.
    weight : array (n_samples,), optional
        The samples' weights on the host.
    held : array (n_validation,), optional
        Which of the rows that `fit` was given the validation rows are, if they are some of them.

    Attributes
    ----------
    monitor : str
        The figure that decides which epoch is best.
    data, validation : TrainingData
    progress : Progress
        Where the run stands.
    refused : bool
        Whether nothing has been trained yet.
    """

    def __init__(
        self,
        trainer: "Trainer",
        data: TrainingData,
        validation: TrainingData | None,
        weight: NDArray[Any] | None,
        held: NDArray[np.int64] | None = None,
    ) -> None:
        self._trainer, self.data, self.validation, self._weight = trainer, data, validation, weight
        self.held, self.refused, self._apart = held, True, False
        self.monitor = trainer.monitor or ("val_loss" if validation is not None else "loss")
        trainer.evaluation.check_monitor(self.monitor, validated=validation is not None)
        self._n_samples = data.X.shape[0]
        self._batch_size = min(trainer.batch_size, self._n_samples)
        self._orders = EpochOrders(trainer.seed, self._n_samples, trainer.epochs)
        self._folder: Folder | None = None
        # Once it has ended nothing refers back to the run, so that its arrays are let go of, however it ends.
        self._stop = partial(_stop, trainer)
        self._on_batch = batch_listener(trainer.callbacks, self._stop)
        # Where the run stands, and where it stood after the last epoch, whole or broken off, that has its figures.
        self.progress = self._result = self._begun()

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return IndexBatches(None, self._n_samples, self._batch_size).n_batches

    def train(self, resume: bool) -> Best:
        """Train until there is a reason to stop, and return the best epoch, which is of no epoch if there was none."""
        trainer = self._trainer
        with ExitStack() as stack:
            stack.callback(self._orders.close)
            if trainer.checkpoint is not None:
                stack.enter_context(terminable(self._stop))
                self._folder = stack.enter_context(trainer.checkpoint.opened())
                self.progress = self._result = self._found(self._folder, resume)
            stack.enter_context(self._announced())
            for line in () if self._folder is None else self._folder.told:
                _note(trainer, line)
            self._choose_engine()
            self.refused = False
            try:
                self._run_epochs()
            except KeyboardInterrupt:
                trainer.stopped = trainer.stopped or "interrupted"
            finally:
                self._conclude()
                self._keep()
            trainer.stopped = trainer.stopped or "epochs"
        return self._result.best

    def _begun(self) -> Progress:
        """Return the first step's place."""
        params = self._trainer.first_params
        return Progress(params, self._trainer.optimizer.init(params), Best(), 0, [], np.empty(0, self._trainer.dtype))

    def _found(self, folder: Folder, resume: bool) -> Progress:
        """Return the place of the newest checkpoint, or the first step's where there is none."""
        begun = self.progress
        folder.identity = self._identity(begun)
        if not resume:
            folder.check_empty()
            return begun
        progress = folder.resumed(begun, self.n_batches, self._trainer.backend)
        self._trainer.resumed = folder.newest
        return progress

    def _identity(self, begun: Progress) -> dict[str, Any]:
        """Return what a run must have in common with the one that it goes on with."""
        trainer, network = self._trainer, self._trainer.network
        batch = tuple(self.data.rows(slice(0, self._batch_size)))
        return {
            "network": f"{'-'.join(map(str, network.widths))}, {network.activation}, {network.output}, {network.bias}",
            "loss": trainer.loss.name,
            "batch_size": trainer.batch_size,
            "shuffle": trainer.shuffle,
            "seed": trainer.seed,
            "dtype": trainer.dtype,
            "precision": trainer.precision,
            "l2": trainer.l2,
            "clip_norm": trainer.clip_norm,
            "dropout": trainer.dropout,
            "patience": trainer.patience,
            "monitor": self.monitor,
            "min_delta": trainer.min_delta,
            "metrics": ", ".join(trainer.evaluation.names),
            "training data": [fingerprints.of_arrays(*self.data)],
            "validation data": [fingerprints.of_arrays(*(self.validation or ()))],
            "first parameters": [fingerprints.of_arrays(*leaves(begun.params))],
            "optimizer, its schedule or the loss": [
                of_step(trainer.step, (begun.params, begun.opt_state), batch),
                fingerprints.of_arrays(*leaves(begun.opt_state)),
            ],
        }

    def _choose_engine(self) -> None:
        """Choose the engine for these data, or that by which the run was begun."""
        trainer, paced = self._trainer, self._on_batch is None or self._on_batch.paced
        n_steps = trainer.epochs * self.n_batches
        work = engines.Work(
            trainer.network.widths, self._batch_size, n_steps, trainer.dtype, trainer.backend.name, trainer.precision,
            trainer.epochs, every_step=not paced,
        )  # fmt: skip
        choice = engines.choose(trainer.engine, work)
        begun_by = None if self._folder is None else self._folder.engine
        if trainer.engine == "auto" and begun_by in engines.ENGINES and begun_by != choice.engine:
            with suppress(InputError):  # it may not be installed here
                self._take(engines.Choice(str(begun_by), "the run was begun by it"))
                return
        try:
            self._take(choice)
        except InputError as error:  # its library is there, and cannot be imported
            if not self._may_fall_back:
                raise
            self._take(engines.Choice("eager", str(error)))

    @property
    def _may_fall_back(self) -> bool:
        """Whether eager may take an engine's place: it was chosen for the user, and not for its precision."""
        return self._trainer.engine == "auto" and self._trainer.precision == "float32"

    def _take(self, choice: engines.Choice) -> None:
        self._engine = engines.select(
            choice.engine, say=partial(_note, self._trainer), precision=self._trainer.precision
        )
        self._trainer.choice = choice
        if self._folder is not None:
            self._folder.engine = choice.engine
        _note(self._trainer, f"engine {choice.engine}: {choice.reason}")

    def _run_epochs(self) -> None:
        """Run epochs until there is a reason to stop; what an epoch leaves is set at once, after its last reading."""
        trainer = self._trainer
        while not trainer.stopped:
            if trainer.patience is not None and self.progress.stale >= trainer.patience:
                trainer.stopped = "patience"
            if trainer.stopped or self.progress.epoch >= trainer.epochs:
                return
            if self._brief_epochs():
                continue
            start = time.perf_counter()
            n_batches = self._epoch()
            if not len(self.progress.losses):
                return
            self._end_epoch(start, n_batches)

    def _brief_epochs(self) -> bool:
        """Run several epochs by one call of the engine, where they are brief; tell whether that was done."""
        trainer, begun, start = self._trainer, self.progress, time.perf_counter()
        n_epochs = min(self._at_once(), trainer.epochs - begun.epoch)
        if n_epochs < 2:
            return False
        if trainer.shuffle and self.n_batches > 1:
            order = self._orders.of(begun.epoch + 1, n_epochs)
        else:
            order = np.tile(np.arange(self._n_samples, dtype=np.int32), n_epochs)
        batches = IndexBatches(order, len(order), self._batch_size)
        params, opt_state, losses = self._steps(self.data, batches)
        if self._engine.interrupted:
            trainer.stopped = trainer.stopped or "interrupted"
            return True
        if not (np.isfinite(losses).all() and self._finite(params)):
            self._apart = True  # so that the last epoch before is left
            return False
        seconds = (time.perf_counter() - start) / n_epochs
        progress, records = begun._replace(params=params, opt_state=opt_state), list(begun.records)
        for epoch, of_epoch in enumerate(losses.reshape(n_epochs, -1), begun.epoch + 1):
            record = self._record(epoch, progress._replace(losses=of_epoch))
            records.append(record | {"seconds": seconds})
        self.progress = self._result = progress._replace(epoch=begun.epoch + n_epochs, records=records)
        trainer.params, trainer.kept_epoch = params, self.progress.epoch
        for record in records[begun.epoch :]:
            tell(trainer.callbacks, methodcaller("on_epoch_end", record), self._stop)
        return True

    def _at_once(self) -> int:
        """Return how many epochs the engine may run by one call: several brief ones if nothing looks in between."""
        trainer, steps = self._trainer, _STEP.get(self._engine.name, _BRIEF)
        looks = self.validation, trainer.metrics, trainer.checkpoint, trainer.patience, self._on_batch, self._apart
        listens = [c for c in trainer.callbacks if not c.paced and type(c).on_epoch_end is not Callback.on_epoch_end]
        alike = trainer.optimizer.steady and self._weight is None and self._n_samples % self._batch_size == 0
        if any(looks) or listens or not alike or trainer.backend.name != "numpy":
            return 1
        n_weights = sum(map(math.prod, pairwise(trainer.network.widths)))
        return max(1, int(_BRIEF // (self._n_samples * n_weights + self.n_batches * steps)))

    def _end_epoch(self, start: float, n_batches: int) -> None:
        """Set what an epoch leaves, whole or broken off, and tell of it."""
        trainer, progress, epoch = self._trainer, self.progress, self.progress.epoch + 1
        if not self._finite(progress.params):
            raise self._diverged(len(progress.losses), progress.opt_state, "parameters are")
        record = self._record(epoch, progress)
        record["seconds"] = time.perf_counter() - start
        self._result = self._after(progress, record)
        if len(progress.losses) == n_batches:
            self.progress = self._result
        trainer.params, trainer.kept_epoch = progress.params, epoch
        if trainer.checkpoint is not None and self.progress.epoch % trainer.checkpoint.every == 0:
            self._keep()
        tell(trainer.callbacks, methodcaller("on_epoch_end", record), self._stop)

    def _epoch(self) -> int:
        """Make the steps that are left of an epoch, a checkpoint after each part; return the steps of a whole one."""
        trainer, batches = self._trainer, self._batches()
        n_batches = batches.n_batches
        every = (trainer.checkpoint.every_steps if trainer.checkpoint is not None else None) or n_batches
        while not trainer.stopped and (done := len(self.progress.losses)) < n_batches:
            last = min(n_batches, (done // every + 1) * every)
            try:
                self._make_part(batches, done, last)
            except StopTraining:  # before the first step: nothing has changed
                break
            except KeyboardInterrupt:
                if not len(self.progress.losses):
                    raise
                trainer.stopped = trainer.stopped or "interrupted"
        return n_batches

    def _make_part(self, batches: IndexBatches, done: int, last: int) -> None:
        """Make the steps from `done` to before `last` of an epoch."""
        trainer = self._trainer
        if self._on_batch is not None:
            self._on_batch.first = done
        params, opt_state, losses = self._steps(*_part(self.data, batches, done, last))
        if self._engine.interrupted:
            trainer.stopped = trainer.stopped or "interrupted"
        losses = backends.to_host(losses)
        if not np.isfinite(losses).all():
            raise self._diverged(done + int(np.argmin(np.isfinite(losses))) + 1, opt_state)
        losses = np.append(self.progress.losses, losses)
        self.progress = self.progress._replace(params=params, opt_state=opt_state, losses=losses)
        if len(losses) < batches.n_batches:
            self._keep()

    def _batches(self) -> IndexBatches:
        """Return the batches of the epoch that comes."""
        trainer, order = self._trainer, None
        if trainer.shuffle and self._batch_size < self._n_samples:
            order = backends.to_device(self._orders.of(self.progress.epoch + 1), trainer.backend)
        return IndexBatches(order, self._n_samples, self._batch_size)

    def _steps(self, data: TrainingData, batches: IndexBatches) -> tuple[Params, Any, Array]:
        """Make these steps; an engine that was chosen for the user, and cannot run them, makes way for eager."""
        given = self._trainer.step, self.progress.params, self.progress.opt_state, data.X, data.Y, batches
        try:
            return self._engine.run(*given, weight=data.weight, on_batch=self._on_batch)
        except InputError as error:
            if not self._may_fall_back or self._engine.name == "eager":
                raise
            self._take(engines.Choice("eager", str(error)))
            return self._engine.run(*given, weight=data.weight, on_batch=self._on_batch)

    def _record(self, epoch: int, progress: Progress) -> Record:
        """Return the epoch's figures: the only reading of the device."""
        evaluation = self._trainer.evaluation
        record = {
            "epoch": float(epoch),
            "loss": self._epoch_loss(epoch, progress.losses),
            "learning_rate": float(progress.opt_state.learning_rate),
        }
        if self.validation is not None:
            record |= evaluation.figures(progress.params, self.validation, "val_", with_loss=True)
        elif self._trainer.metrics:
            record |= evaluation.figures(progress.params, self.data, with_loss=False)
        return record

    def _epoch_loss(self, epoch: int, losses: NDArray[Any]) -> float:
        """Put the steps' losses together as the loss is put together over samples: a sum, or a mean by weight."""
        if self._trainer.loss.over_samples == "sum" or len(losses) == 1:
            return float(losses.sum(dtype=np.float64))
        weight = self._weight
        if weight is not None and self._trainer.shuffle:
            weight = weight[self._orders.of(epoch)]
        if weight is None:
            shares = np.full(self.n_batches, self._batch_size, np.float64)
            shares[-1] -= self.n_batches * self._batch_size - self._n_samples  # the last batch may be short
        else:
            shares = np.add.reduceat(weight, np.arange(0, self._n_samples, self._batch_size), dtype=np.float64)
        shares = shares[: len(losses)]
        return float(losses @ shares / max(shares.sum(), TINY))

    def _after(self, progress: Progress, record: Record) -> Progress:
        """Return where the run stands after the epoch that was begun."""
        epoch, best = progress.epoch + 1, progress.best
        if self._trainer.patience is not None:
            value, higher = record[self.monitor], higher_is_better(self.monitor)
            best = best.after(epoch, value, progress.params, higher=higher, min_delta=self._trainer.min_delta)
        records = [*progress.records[: progress.epoch], record]
        return Progress(progress.params, progress.opt_state, best, epoch, records, progress.losses[:0])

    def _finite(self, params: Params) -> bool:
        """Tell whether every parameter is finite: by the sum of their squares, or one by one if that is too large."""
        xp = self._trainer.backend.xp
        with np.errstate(all="ignore"):
            flat = [xp.reshape(leaf, (-1,)) for leaf in leaves(params)]
            total = sum(xp.vecdot(leaf, leaf) for leaf in flat)
            return math.isfinite(total) or all(bool(xp.all(xp.isfinite(leaf))) for leaf in flat)

    def _diverged(self, step: int, opt_state: Any, what: str = "the loss is") -> DivergedError:
        self._keep()
        newest = None if self._folder is None else self._folder.newest
        rate = float(opt_state.learning_rate)
        return DivergedError(self.progress.epoch + 1, step, rate, self._left()[1], newest, what)

    def _keep(self) -> None:
        """Write a checkpoint of where the run stands, unless that is the beginning or not finite."""
        progress = self.progress
        if self._folder is not None and progress.place > (0, 0) and self._finite(progress.params):
            with deferred_interrupts():
                self._folder.save(progress)

    def _conclude(self) -> None:
        """Set what `fit` leaves."""
        trainer, result = self._trainer, self._result
        trainer.history = as_history(result.records[: result.epoch])
        trainer.params, trainer.kept_epoch = self._left()

    def _left(self) -> tuple[Params, int]:
        """Return the parameters that `fit` leaves, and their epoch: the last one's, or the best one's."""
        result = self._result
        if self._trainer.patience is not None and result.best.epoch:
            return result.best.params, result.best.epoch
        return result.params, result.epoch + bool(len(result.losses))  # resumed in mid-epoch, and ended before its end

    @contextmanager
    def _announced(self) -> Iterator[None]:
        """Tell the callbacks of the beginning, and of the end whatever happens."""
        with ExitStack() as ends:
            self._trainer.run = self
            ends.callback(setattr, self._trainer, "run", None)
            for callback in self._trainer.callbacks:
                tell([callback], methodcaller("on_train_begin", self._trainer), self._stop)
                ends.callback(callback.on_train_end, self._trainer)
            yield


def _stop(trainer: "Trainer", reason: str) -> None:
    """Note why training ends; the first reason stays."""
    trainer.stopped = trainer.stopped or reason


def _note(trainer: "Trainer", line: str) -> None:
    trainer.notes.append(line)
    for callback in trainer.callbacks:
        callback.on_note(line)


def _part(data: TrainingData, batches: IndexBatches, first: int, last: int) -> tuple[TrainingData, IndexBatches]:
    """Return what the steps from `first` to before `last` are made on."""
    if last - first == batches.n_batches:
        return data, batches
    rows = batches.rows(first, last)
    order = None if batches.order is None else batches.order[rows]
    part = IndexBatches(order, rows.stop - rows.start, batches.batch_size)
    return (data.rows(rows) if order is None else data), part
