"""Trainer: epochs of minibatches on a device, validation, early stopping, history."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends, engines
from backprop_xp.batches import IndexBatches, epoch_order, pieces_of
from backprop_xp.callbacks import Callback, PrintProgress, Record, as_callback, batch_listener, tell
from backprop_xp.early_stopping import Best
from backprop_xp.errors import DivergedError, InputError, StopTraining, lookup
from backprop_xp.initializers import Initializer
from backprop_xp.losses import LOSSES, Loss
from backprop_xp.metrics import METRICS, higher_is_better
from backprop_xp.model import Model, decided, host_outputs
from backprop_xp.network import Network, Params, init, propagate
from backprop_xp.optimizers import OPTIMIZERS, Multipliers, Optimizer, adam
from backprop_xp.step import loss_head, make_step
from backprop_xp.training_data import TrainingData, prepared

Array = Any
UserMetric = Callable[[NDArray[Any], NDArray[Any]], float]
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
        Why training ended: "epochs", "patience", "interrupted", a callback's reason; None if it has not.

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
        self.callbacks = [*map(as_callback, callbacks), *([PrintProgress()] if verbose else [])]
        self.params: Params = self._on_device(_first_params(network, seed, initializer, bias_initializer, dtype))
        self.history: History = {}
        self.engine, self.precision, self.n_samples, self.kept_epoch = engine, precision, 0, 0
        self.choice: engines.Choice | None = None
        self.stopped: str | None = None
        self._first_params = self.params
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
        self._head = loss_head(network, self.loss)
        self._scores = [_score(metric, self.loss) for metric in self.metrics]
        names = ["epoch", "loss", "learning_rate", "seconds", *(name for name, _ in self._scores)]
        if len(set(names)) < len(names):
            raise InputError(f"metrics must have names of their own, not {', '.join(names[4:])}")

    def fit(
        self, X: Any, y: Any, *, sample_weight: Any = None, validation_data: tuple[Any, Any] | None = None
    ) -> History:
        """Train from the first parameters, and return the history.

        Parameters
        ----------
        X : array (n_samples, n_features)
        y : array
            For cross_entropy integer labels (n_samples,) from 0 on, or rows that sum to 1; otherwise (n_samples,) or
            (n_samples, n_outputs).
        sample_weight : array (n_samples,), optional
        validation_data : (X, y), optional

        Returns
        -------
        dict of str to array (n_epochs,)
            epoch; loss, over the epoch's samples as the steps saw them, each step's penalty included; learning_rate;
            seconds; val_loss and metrics.

        Raises
        ------
        InputError
            If the data do not fit the network and the loss.
        DivergedError
            If the loss or the parameters are no longer finite; `params` are then those of the epoch before, or of the
            best epoch if `patience` is set.

        Notes
        -----
        Ctrl-C ends training with a warning: the parameters and the history so far are kept.
        """
        data = prepared(self.network, self.loss, X, y, sample_weight, "the training data")
        validation = None
        if validation_data is not None:
            validation = prepared(self.network, self.loss, *validation_data, None, "the validation data")
        elif self.validation_fraction:
            data, validation = data.split(self.validation_fraction, self.seed)
        self._weight = None if data.weight is None else backends.to_host(data.weight)
        data = data.to(self.backend, self.dtype)
        if data.Y.ndim == 1 and data.Y.shape[0] * self.network.widths[-1] <= _ONE_HOT:
            data = data.one_hot(self.network.widths[-1])
        return self._fit(data, None if validation is None else validation.to(self.backend, self.dtype))

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

    def _fit(self, data: TrainingData, validation: TrainingData | None) -> History:
        self.params, self.stopped, self.history = self._first_params, None, {}
        self.n_samples, self.kept_epoch, self.notes = data.X.shape[0], 0, []
        monitor = self.monitor or ("val_loss" if validation is not None else "loss")
        self._check_monitor(monitor, validation is not None)
        best = Best(higher_is_better(monitor), self.min_delta)
        records: list[Record] = []
        with self._announced():
            self._choose_engine()
            try:
                self._run_epochs(data, validation, monitor, best, records)
            except KeyboardInterrupt:
                self.stopped = "interrupted"
            finally:
                self._engine = None  # and with it what it kept of the data
                self.history = {name: np.array([r[name] for r in records]) for name in (records or [{}])[0]}
                if self.patience is not None and best.epoch:
                    self.params, self.kept_epoch = best.params, best.epoch
            self.stopped = self.stopped or "epochs"
        if self.stopped == "interrupted":
            warnings.warn("training was interrupted; the model trained so far is kept", stacklevel=3)
        if self.patience is not None and records and not best.epoch:
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
        self._take(engines.choose(self.engine, work))

    def _take(self, choice: engines.Choice) -> None:
        self._engine = engines.select(choice.engine, say=self._note, precision=self.precision)
        self.choice = choice
        self._note(f"engine {choice.engine}: {choice.reason}")

    def _run(self, opt_state: Any, data: TrainingData, batches: IndexBatches) -> tuple[Params, Any, Array]:
        """Run an epoch; an engine that was chosen for the user, and cannot run this step, makes way for eager."""
        assert self._engine is not None
        given = self._step, self.params, opt_state, data.X, data.Y, batches
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

    def _run_epochs(
        self,
        data: TrainingData,
        validation: TrainingData | None,
        monitor: str,
        best: Best,
        records: list[Record],
    ) -> None:
        """Run epochs until there is a reason to stop; what is kept of each is set together, after its last reading."""
        opt_state = self.optimizer.init(self.params)
        for epoch in range(1, self.epochs + 1):
            start = time.perf_counter()
            params, opt_state, losses = self._epoch(epoch, data, opt_state)
            if losses is None:
                return
            last = self.stopped is not None or epoch == self.epochs
            if not np.isfinite(losses).all() or (last and not self._finite(params)):
                step = int(np.argmin(np.append(np.isfinite(losses), False)))
                raise DivergedError(epoch, min(step + 1, len(losses)), float(opt_state.learning_rate))
            record = self._record(epoch, params, losses, opt_state, data, validation)
            record["seconds"] = time.perf_counter() - start
            self.params, self.kept_epoch = params, epoch
            records.append(record)
            self._tell(record)
            if self.patience is not None and best.stale(epoch, record[monitor], params) >= self.patience:
                self.stopped = self.stopped or "patience"
            if self.stopped:
                return

    def _finite(self, params: Params) -> bool:
        """Tell whether every parameter is finite; within a run the next step's loss tells it for free."""
        xp = self.backend.xp
        return all(bool(xp.all(xp.isfinite(leaf))) for layer in params for leaf in layer if leaf is not None)

    def _epoch(self, epoch: int, data: TrainingData, opt_state: Any) -> tuple[Params, Any, NDArray[Any] | None]:
        """Run one epoch; return the losses of its steps on the host, or None if it ended before its first step."""
        n_samples = data.X.shape[0]
        batch_size = min(self.batch_size, n_samples)
        order = None
        if self.shuffle and batch_size < n_samples:
            order = backends.to_device(epoch_order(self.seed, epoch, n_samples), self.backend)
        batches = IndexBatches(order, n_samples, batch_size)
        try:
            params, opt_state, losses = self._run(opt_state, data, batches)
        except StopTraining:  # before the first step: nothing has changed
            return self.params, opt_state, None
        if self._engine is not None and self._engine.interrupted:
            self.stopped = self.stopped or "interrupted"
        return params, opt_state, backends.to_host(losses)

    def _record(
        self,
        epoch: int,
        params: Params,
        losses: NDArray[Any],
        opt_state: Any,
        data: TrainingData,
        validation: TrainingData | None,
    ) -> Record:
        """Return the epoch's figures: the only reading of the device."""
        record = {
            "epoch": float(epoch),
            "loss": self._epoch_loss(epoch, losses),
            "learning_rate": float(opt_state.learning_rate),
        }
        if validation is not None:
            record |= self._evaluate(params, validation, "val_", with_loss=True)
        elif self._scores:
            record |= self._evaluate(params, data, "", with_loss=False)
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

    def _evaluate(self, params: Params, data: TrainingData, prefix: str, *, with_loss: bool) -> Record:
        """Return the loss, without the penalty, and the metrics on these data."""
        xp = self.backend.xp
        pieces = [propagate(self.network, params, rows, None, xp)[2] for rows in pieces_of(data.X)]
        z = pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)
        P, Y = self.network.activations[-1].value(z, xp), data.Y
        if self.loss.name == "cross_entropy" and Y.ndim == 2:
            Y = xp.argmax(Y, axis=-1)
        figures = {prefix + name: float(score(P, Y, xp)) for name, score in self._scores}
        if with_loss:
            figures[prefix + "loss"] = float(self._head(z, data.Y, data.weight, xp)[0])
        return figures

    def _check_monitor(self, monitor: str, validated: bool) -> None:
        prefix = "val_" if validated else ""
        known = ["loss", *(["val_loss"] if validated else []), *(prefix + name for name, _ in self._scores)]
        lookup("monitor", monitor, dict.fromkeys(known))

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


def _score(metric: str | UserMetric, loss: Loss) -> tuple[str, Callable[[Array, Array, Any], Any]]:
    """Return a metric's name and its function (P, Y, xp); one of the user's own is given host arrays, decided."""
    if isinstance(metric, str):
        known = lookup("metric", metric, METRICS)
        if loss.name == "cross_entropy" and metric != "accuracy":
            raise InputError(f"metric {metric!r} compares numbers, and cross_entropy learns labels: use accuracy")
        return metric, known.function

    def on_host(P: Array, Y: Array, xp: Any) -> float:
        y_true, y_pred = backends.to_host(Y), decided(loss.name, backends.to_host(P))
        return float(metric(y_true[:, 0] if y_true.shape[1:] == (1,) else y_true, y_pred))

    return getattr(metric, "__name__", type(metric).__name__), on_host
