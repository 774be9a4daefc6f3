"""Trainer: epochs of minibatches on a device, validation, early stopping, history."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends, engines, fingerprints, footprint
from backprop_xp.batches import IndexBatches, epoch_order
from backprop_xp.callbacks import Callback, PrintProgress, Record, as_callback, batch_listener, tell
from backprop_xp.checkpoints import Checkpoints, Folder, Progress
from backprop_xp.early_stopping import Best
from backprop_xp.engines.interrupts import deferred_interrupts, terminable
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import DivergedError, InputError, StopTraining, lookup
from backprop_xp.evaluation import Evaluation, UserMetric
from backprop_xp.initializers import Initializer
from backprop_xp.losses import LOSSES, Loss
from backprop_xp.metrics import higher_is_better
from backprop_xp.model import Model, host_outputs
from backprop_xp.network import Network, Params, init
from backprop_xp.optimizers import OPTIMIZERS, Multipliers, Optimizer, adam
from backprop_xp.step import make_step
from backprop_xp.training_data import TrainingData, prepared

Array = Any
History = dict[str, NDArray[np.float64]]

# Up to so many numbers, labels are made one-hot before training and not in every step.
_ONE_HOT = 2**24

_DEFAULT_LOSS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy", "exp": "poisson"}


class Trainer:
    """Trains a network by minibatch gradient descent, on the CPU or a GPU by a flag.

    The same seed gives the same first parameters, order of rows and dropout masks on every backend. Data are moved to
    the device once, and losses are read back once an epoch.

    Parameters
    ----------
    network : Network
    loss : str or Loss, optional
        Default: cross_entropy for a softmax output, binary_cross_entropy for a sigmoid, poisson for exp, else
        squared_error.
    optimizer : Optimizer or str, default adam()
    device, backend : str
        See `backends.select`: "cpu", "cuda", "cuda:1", "auto"; "numpy", "cupy", "jax", "torch", "array_api_strict".
    engine : "auto" (default), "eager", "jax", "torch", "loops" or "cuda_graph"
        How steps are run: see `engines.choose`.
    precision : "float32" (default), "tf32" or "bfloat16"
        Of the matrix products of float32 arrays, where the engine has a choice; the weights stay float32.
    batch_size : int, default 32
        Rows a step; more than there are rows means all of them.
    epochs : int, default 20
    shuffle : bool, default True
        Take the rows in another order each epoch, drawn from `seed`.
    seed : int, default 0
    dtype : "float32" (default) or "float64"
    initializer, bias_initializer
        See `init`; given arrays continue training from there.
    l2, clip_norm, multipliers, dropout
        See `make_step`.
    metrics : sequence of str or function, default ()
        Names (accuracy, mse, rmse, mae, r2) or functions (y_true, y_pred) -> float such as scikit-learn's, which are
        given labels or values as `predict` returns them. Recorded each epoch, every row counting the same: on the
        validation data as val_NAME, on the training data as NAME where there are none.
    validation_fraction : float in [0, 1), default 0
        Share of the rows, drawn by `seed`, kept for validation when `fit` is given no validation data.
    patience : int, optional
        Stop after this many epochs without a better `monitor`, and take back the best epoch's parameters.
    monitor : str, optional
        A recorded figure; default val_loss, or loss where there are no validation data.
    min_delta : float, default 0
        A smaller change is no improvement.
    checkpoint : path or Checkpoints, optional
        A folder in which the run's state is kept, so that `fit(..., resume=True)` goes on with it bit for bit. SIGTERM
        then ends training as Ctrl-C does, and the process with exit code 143, once a checkpoint is written.
    callbacks : sequence of Callback or function (record) -> None
    verbose : int, default 0
        1 prints a line an epoch.

    Attributes
    ----------
    params : tuple of (W, b)
        On the device; the first parameters before `fit`, and `predict` and `save` take them as they are.
    history : dict of str to array (n_epochs,)
    n_samples : int
        Rows trained on.
    kept_epoch : int
        The epoch whose parameters these are: the best one's if `patience` is set, else the last one's.
    choice : engines.Choice
        The engine that `fit` took, and why.
    notes : list of str
        What the engine had to say: what was chosen, compiled, or taken in parts for lack of memory.
    stopped : str or None
        Why training ended: "epochs", "patience", "interrupted", "terminated", a callback's reason; None if it has not.
    resumed : path or None
        The checkpoint that the last `fit` went on from.

    Examples
    --------
    >>> import numpy as np
    >>> from backprop_xp import Network, Trainer, adam
    >>> X, y = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.asarray([0, 1, 1, 0])
    >>> net = Network((2, 8, 2), activation="tanh", output="softmax")
    >>> trainer = Trainer(net, loss="cross_entropy", optimizer=adam(0.05), epochs=200)
    >>> history = trainer.fit(X, y)
    >>> trainer.predict(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        network: Network,
        loss: str | Loss | None = None,
        optimizer: str | Optimizer | None = None,
        *,
        device: str = "cpu",
        backend: str | None = None,
        engine: str = "auto",
        precision: str = "float32",
        batch_size: int = 32,
        epochs: int = 20,
        shuffle: bool = True,
        seed: int = 0,
        dtype: str = "float32",
        initializer: str | Initializer | Sequence[tuple[Any, Any]] = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        l2: float = 0.0,
        clip_norm: float | None = None,
        multipliers: Multipliers | None = None,
        dropout: float = 0.0,
        metrics: Sequence[str | UserMetric] = (),
        validation_fraction: float = 0.0,
        patience: int | None = None,
        monitor: str | None = None,
        min_delta: float = 0.0,
        checkpoint: str | Path | Checkpoints | None = None,
        callbacks: Sequence[Callback | Callable[[Record], None]] = (),
        verbose: int = 0,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("epochs", epochs, 0),
            ("patience", patience, 1),
            ("seed", seed, 0),
        ):
            if (value is not None or name == "seed") and not (isinstance(value, int | np.integer) and value >= least):
                raise InputError(f"{name} must be an integer of at least {least}, not {value!r}")
        if not 0 <= validation_fraction < 1:
            raise InputError(f"validation_fraction must be at least 0 and below 1, not {validation_fraction!r}")
        self.network = network
        loss = _DEFAULT_LOSS.get(network.output, "squared_error") if loss is None else loss
        self.loss = lookup("loss", loss, LOSSES) if isinstance(loss, str) else loss
        optimizer = lookup("optimizer", optimizer, OPTIMIZERS)() if isinstance(optimizer, str) else optimizer
        self.optimizer = adam() if optimizer is None else optimizer
        self.backend = backends.select(device, engines.backend_for(engine, device, backend), dtype)
        self.batch_size, self.epochs, self.shuffle, self.seed, self.dtype = batch_size, epochs, shuffle, seed, dtype
        self.validation_fraction, self.patience, self.min_delta = validation_fraction, patience, min_delta
        self.metrics = tuple(metrics)
        self.monitor = monitor
        self.checkpoint = Checkpoints(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
        self.callbacks = [*map(as_callback, callbacks), *([PrintProgress()] if verbose else [])]
        self._check_memory({})
        self.params: Params = self._on_device(_first_params(network, seed, initializer, bias_initializer, dtype))
        self.history: History = {}
        self.engine, self.precision, self.n_samples, self.kept_epoch = engine, precision, 0, 0
        self.choice: engines.Choice | None = None
        self.stopped: str | None = None
        self.resumed: Path | None = None
        self._first_params = self.params
        self._rates = {"l2": l2, "clip_norm": clip_norm, "dropout": dropout}
        self._weight: NDArray[Any] | None = None
        self.notes: list[str] = []
        engines.check_precision(precision, dtype)
        self._engine: engines.Engine | None = None  # there is one while `fit` runs
        if engine != "auto":
            engines.select(engine, precision=precision)  # what it needs may be missing
        else:
            engines.choose(engine, engines.Work(network.widths, 1, 0, dtype, self.backend.name, precision))
        self._step = make_step(
            network, self.loss, self.optimizer,
            l2=l2, clip_norm=clip_norm, multipliers=multipliers, dropout=dropout, seed=seed,
        )  # fmt: skip
        self._evaluation = Evaluation(network, self.loss, self.metrics, self.backend.xp)

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        validation_data: tuple[Any, Any] | None = None,
        resume: bool = False,
    ) -> History:
        """Train from the first parameters, or from the newest checkpoint, and return the history.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : array
            For cross_entropy integer labels (n_samples,) from 0 on, or rows that sum to 1; otherwise (n_samples,) or
            (n_samples, n_outputs).
        sample_weight : array (n_samples,), optional
        validation_data : (X, y), optional
        resume : bool, default False
            Go on from the newest whole checkpoint; where there is none yet, begin. Data, network and settings must be
            those it was begun with; device, backend, engine and the number of epochs may be others.

        Returns
        -------
        dict of str to array (n_epochs,)
            epoch; loss, over the epoch's samples as the steps saw them, each step's penalty included; learning_rate;
            seconds; val_loss and metrics.

        Raises
        ------
        InputError
            If the data do not fit the network and the loss; if the checkpoints are of another run, another run writes
            to their folder, or there are some and `resume` is False.
        DivergedError
            If the loss or the parameters are no longer finite; `params` are then those of the epoch before, or of the
            best epoch if `patience` is set. What is not finite is not kept as a checkpoint.

        Notes
        -----
        Ctrl-C ends training with a warning: the parameters and the history so far are kept.
        """
        if resume and self.checkpoint is None:
            raise InputError("there is nothing to resume from: give the Trainer checkpoint=FOLDER")
        data = prepared(self.network, self.loss, X, y, sample_weight, "the training data")
        validation = None
        if validation_data is not None:
            validation = prepared(self.network, self.loss, *validation_data, None, "the validation data")
        elif self.validation_fraction:
            data, validation = data.split(self.validation_fraction, self.seed)
        self._check_memory(
            {"the data": sum(footprint.of_copy(a, self.backend, self.dtype) for a in data if a is not None)}
        )
        self._weight = None if data.weight is None else backends.to_host(data.weight)
        data = data.to(self.backend, self.dtype)
        if data.Y.ndim == 1 and data.Y.shape[0] * self.network.widths[-1] <= _ONE_HOT:
            data = data.one_hot(self.network.widths[-1])
        return self._fit(data, None if validation is None else validation.to(self.backend, self.dtype), resume)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return labels (n_samples,), or values (n_samples,) or (n_samples, n_outputs), as a host array.

        Parameters
        ----------
        X : array (n_samples, n_features)
        """
        return self.model.decide(self.predict_proba(X))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the network's outputs (n_samples, n_outputs), probabilities for a classifier, as a host array.

        Parameters
        ----------
        X : array (n_samples, n_features)
        """
        return host_outputs(self.network, self.params, X, self.backend)

    @property
    def model(self) -> Model:
        """The trained network, apart from its trainer: what `save` writes."""
        host = tuple((backends.to_host(W), None if b is None else backends.to_host(b)) for W, b in self.params)
        return Model(self.network, host, self.loss.name)

    def save(self, path: str | Path) -> None:
        """Write the model file; `backprop_xp.load` reads it.

        Parameters
        ----------
        path : path

        Raises
        ------
        InputError
            If the path cannot be written.
        """
        self.model.save(path)

    def _check_memory(self, data: dict[str, int]) -> None:
        """Refuse what cannot fit; a batch that does not is taken in parts."""
        scratch = footprint.of_training(self.network, self.dtype)
        advice = "give fewer rows" if data else "give narrower layers"
        footprint.check({"parameters and gradients": scratch, **data}, self.backend, advice)

    def _fit(self, data: TrainingData, validation: TrainingData | None, resume: bool) -> History:
        self.params, self.stopped, self.history, self.resumed = self._first_params, None, {}, None
        self.n_samples, self.kept_epoch, self.notes = data.X.shape[0], 0, []
        monitor = self.monitor or ("val_loss" if validation is not None else "loss")
        self._evaluation.check_monitor(monitor, validated=validation is not None)
        self._folder: Folder | None = None
        with ExitStack() as stack:
            if self.checkpoint is not None:
                stack.enter_context(terminable(self._stop))
                self._folder = stack.enter_context(self.checkpoint.opened())
            self._progress = self._result = self._beginning(data, validation, monitor, resume)
            stack.enter_context(self._announced())
            for line in () if self._folder is None else self._folder.told:
                self._note(line)
            self._choose_engine()
            try:
                self._run_epochs(data, validation, monitor)
            except KeyboardInterrupt:
                self.stopped = self.stopped or "interrupted"
            finally:
                self._engine = None  # and with it what it kept of the data
                self._conclude()
                self._keep()
            self.stopped = self.stopped or "epochs"
        if self.stopped == "interrupted":
            warnings.warn("training was interrupted; the model trained so far is kept", stacklevel=3)
        has_best = self._result.best.epoch > 0
        del self._progress, self._result  # and with them the optimizer's state
        if self.patience is not None and self.history and not has_best:
            warnings.warn(
                f"{monitor} was never a number to compare; the last epoch's parameters are kept", stacklevel=3
            )
        return self.history

    def _choose_engine(self) -> None:
        """Choose the engine for these data; one that is there already keeps what it has compiled."""
        batch_size = min(self.batch_size, self.n_samples)
        n_steps = self.epochs * -(-self.n_samples // batch_size)
        work = engines.Work(
            self.network.widths, batch_size, n_steps, self.dtype, self.backend.name, self.precision, self.epochs,
            every_step=self._on_batch is not None and not self._on_batch.paced,
        )  # fmt: skip
        choice = engines.choose(self.engine, work)
        begun_by = None if self._folder is None else self._folder.engine
        if self.engine == "auto" and begun_by in engines.ENGINES and begun_by != choice.engine:
            with suppress(InputError):  # it may not be installed here
                self._take(engines.Choice(str(begun_by), "the run was begun by it"))
                return
        self._take(choice)

    def _take(self, choice: engines.Choice) -> None:
        self._engine = engines.select(choice.engine, say=self._note, precision=self.precision)
        self.choice = choice
        if self._folder is not None:
            self._folder.engine = choice.engine
        self._note(f"engine {choice.engine}: {choice.reason}")

    def _run(self, data: TrainingData, batches: IndexBatches) -> tuple[Params, Any, Array]:
        """Make these steps; an engine that was chosen for the user, and cannot run them, makes way for eager."""
        assert self._engine is not None
        given = self._step, self._progress.params, self._progress.opt_state, data.X, data.Y, batches
        try:
            return self._engine.run(*given, weight=data.weight, on_batch=self._on_batch)
        except InputError as error:
            if self.engine != "auto" or self._engine.name == "eager":
                raise
            self._take(engines.Choice("eager", str(error)))
            return self._engine.run(*given, weight=data.weight, on_batch=self._on_batch)

    def _note(self, line: str) -> None:
        self.notes.append(line)
        for callback in self.callbacks:
            callback.on_note(line)

    def _run_epochs(self, data: TrainingData, validation: TrainingData | None, monitor: str) -> None:
        """Run epochs until there is a reason to stop; what an epoch leaves is set at once, after its last reading."""
        while not self.stopped:
            if self.patience is not None and self._progress.stale >= self.patience:
                self.stopped = "patience"
            if self.stopped or self._progress.epoch >= self.epochs:
                return
            start = time.perf_counter()
            n_batches = self._epoch(data)
            progress, epoch = self._progress, self._progress.epoch + 1
            if not len(progress.losses):
                return
            last = self.stopped is not None or epoch == self.epochs
            if last and not self._finite(progress.params):
                raise self._diverged(len(progress.losses), progress.opt_state)
            record = self._record(epoch, progress, data, validation)
            record["seconds"] = time.perf_counter() - start
            self._result = self._after(progress, record, monitor)
            if len(progress.losses) == n_batches:
                self._progress = self._result
            self.params, self.kept_epoch = progress.params, epoch
            if self.checkpoint is not None and self._progress.epoch % self.checkpoint.every == 0:
                self._keep()
            self._tell(record)

    def _after(self, progress: Progress, record: Record, monitor: str) -> Progress:
        """Return where the run stands after the epoch that was begun."""
        epoch, best = progress.epoch + 1, progress.best
        if self.patience is not None:
            higher = higher_is_better(monitor)
            best = best.after(epoch, record[monitor], progress.params, higher=higher, min_delta=self.min_delta)
        records = [*progress.records[: progress.epoch], record]
        return Progress(progress.params, progress.opt_state, best, epoch, records, progress.losses[:0])

    def _finite(self, params: Params) -> bool:
        """Tell whether every parameter is finite; within a run the next step's loss tells it for free."""
        xp = self.backend.xp
        return all(bool(xp.all(xp.isfinite(leaf))) for layer in params for leaf in layer if leaf is not None)

    def _epoch(self, data: TrainingData) -> int:
        """Make the steps that are left of an epoch, a checkpoint after each part; return the steps of a whole one."""
        batches, every = self._batches(), None if self.checkpoint is None else self.checkpoint.every_steps
        n_batches = batches.n_batches
        every = every or n_batches
        while not self.stopped and (done := len(self._progress.losses)) < n_batches:
            last = min(n_batches, (done // every + 1) * every)
            if self._on_batch is not None:
                self._on_batch.first = done
            try:
                params, opt_state, losses = self._run(*_part(data, batches, done, last))
            except StopTraining:  # before the first step: nothing has changed
                break
            if self._engine is not None and self._engine.interrupted:
                self.stopped = self.stopped or "interrupted"
            losses = backends.to_host(losses)
            if not np.isfinite(losses).all():
                raise self._diverged(done + int(np.argmin(np.isfinite(losses))) + 1, opt_state)
            losses = np.append(self._progress.losses, losses)
            self._progress = self._progress._replace(params=params, opt_state=opt_state, losses=losses)
            if len(losses) < n_batches:
                self._keep()
        return n_batches

    def _batches(self) -> IndexBatches:
        """Return the batches of the epoch that comes."""
        batch_size, order = min(self.batch_size, self.n_samples), None
        if self.shuffle and batch_size < self.n_samples:
            rows = epoch_order(self.seed, self._progress.epoch + 1, self.n_samples)
            order = backends.to_device(rows, self.backend)
        return IndexBatches(order, self.n_samples, batch_size)

    def _diverged(self, step: int, opt_state: Any) -> DivergedError:
        self._keep()
        newest = None if self._folder is None else self._folder.newest
        return DivergedError(self._progress.epoch + 1, step, float(opt_state.learning_rate), newest)

    def _beginning(self, data: TrainingData, validation: TrainingData | None, monitor: str, resume: bool) -> Progress:
        """Return the first step's place, or that of the newest checkpoint."""
        params = self._first_params
        begun = Progress(params, self.optimizer.init(params), Best(), 0, [], np.empty(0, self.dtype))
        if self._folder is None:
            return begun
        self._folder.identity = self._identity(begun, data, validation, monitor)
        if not resume:
            self._folder.check_empty()
            return begun
        n_batches = -(-self.n_samples // min(self.batch_size, self.n_samples))
        progress = self._folder.resumed(begun, n_batches, self.backend)
        self.resumed = self._folder.newest
        return progress

    def _identity(
        self, begun: Progress, data: TrainingData, validation: TrainingData | None, monitor: str
    ) -> dict[str, Any]:
        """Return what a run must have in common with the one that it goes on with."""
        network, state = self.network, (begun.params, begun.opt_state)
        batch = tuple(data.rows(slice(0, min(self.batch_size, self.n_samples))))
        return {
            "network": f"{'-'.join(map(str, network.widths))}, {network.activation}, {network.output}, {network.bias}",
            "loss": self.loss.name,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "dtype": self.dtype,
            "precision": self.precision,
            **self._rates,
            "patience": self.patience,
            "monitor": monitor,
            "min_delta": self.min_delta,
            "metrics": ", ".join(self._evaluation.names),
            "training data": [fingerprints.of_arrays(*data)],
            "validation data": [fingerprints.of_arrays(*(validation or ()))],
            "first parameters": [fingerprints.of_arrays(*leaves(begun.params))],
            "optimizer, its schedule or the loss": [
                fingerprints.of_step(self._step, state, batch),
                fingerprints.of_arrays(*leaves(begun.opt_state)),
            ],
        }

    def _keep(self) -> None:
        """Write a checkpoint of where the run stands, unless that is the beginning or not finite."""
        progress = self._progress
        if self._folder is not None and progress.place > (0, 0) and self._finite(progress.params):
            with deferred_interrupts():
                self._folder.save(progress)

    def _conclude(self) -> None:
        """Set what `fit` leaves: the last epoch's, or the best one's."""
        result = self._result
        records = result.records[: result.epoch]
        self.history = {name: np.array([r[name] for r in records]) for name in (records or [{}])[0]}
        self.params, self.kept_epoch = result.params, result.epoch
        if self.patience is not None and result.best.epoch:
            self.params, self.kept_epoch = result.best.params, result.best.epoch

    def _record(self, epoch: int, progress: Progress, data: TrainingData, validation: TrainingData | None) -> Record:
        """Return the epoch's figures: the only reading of the device."""
        params = progress.params
        record = {
            "epoch": float(epoch),
            "loss": self._epoch_loss(epoch, progress.losses),
            "learning_rate": float(progress.opt_state.learning_rate),
        }
        if validation is not None:
            record |= self._evaluation.figures(params, validation, "val_", with_loss=True)
        elif self.metrics:
            record |= self._evaluation.figures(params, data, with_loss=False)
        return record

    def _epoch_loss(self, epoch: int, losses: NDArray[Any]) -> float:
        """Put the steps' losses together as the loss is put together over samples: a sum, or a mean by weight."""
        if self.loss.over_samples == "sum" or len(losses) == 1:
            return float(losses.sum(dtype=np.float64))
        weight = self._weight
        if weight is not None and self.shuffle:
            weight = weight[epoch_order(self.seed, epoch, self.n_samples)]
        starts = np.arange(0, self.n_samples, self.batch_size)
        shares = np.diff(np.append(starts, self.n_samples)) if weight is None else np.add.reduceat(weight, starts)
        shares = shares[: len(losses)].astype(np.float64)
        return float(losses @ shares / shares.sum())

    @contextmanager
    def _announced(self) -> Iterator[None]:
        """Tell the callbacks of the beginning, and of the end whatever happens."""
        self._on_batch = batch_listener(self.callbacks, self._stop)
        with ExitStack() as ends:
            for callback in self.callbacks:
                callback.on_train_begin(self)
                ends.callback(callback.on_train_end, self)
            yield

    def _stop(self, reason: str) -> None:
        self.stopped = reason

    def _tell(self, record: Record) -> None:
        tell(self.callbacks, lambda callback: callback.on_epoch_end(record), self._stop)

    def _on_device(self, params: Params) -> Params:
        return tuple(
            (backends.to_device(W, self.backend), None if b is None else backends.to_device(b, self.backend))
            for W, b in params
        )


def _part(data: TrainingData, batches: IndexBatches, first: int, last: int) -> tuple[TrainingData, IndexBatches]:
    """Return what the steps from `first` to before `last` are made on."""
    if last - first == batches.n_batches:
        return data, batches
    rows = batches.rows(first, last)
    order = None if batches.order is None else batches.order[rows]
    part = IndexBatches(order, rows.stop - rows.start, batches.batch_size)
    return (data.rows(rows) if order is None else data), part


def _first_params(
    network: Network,
    seed: int,
    initializer: str | Initializer | Sequence[tuple[Any, Any]],
    bias_initializer: str | Initializer,
    dtype: str,
) -> Params:
    """Return first parameters on the host; given arrays may come from any device."""
    if not isinstance(initializer, str) and not callable(initializer):
        initializer = [(backends.to_host(W), None if b is None else backends.to_host(b)) for W, b in initializer]
    params = init(network, seed, initializer, bias_initializer=bias_initializer, dtype=dtype)
    if any(W.ndim != 2 for W, _ in params):
        raise InputError("a Trainer trains one network: for arrays with leading axes use make_step")
    return params
