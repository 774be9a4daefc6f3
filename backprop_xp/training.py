"""Trainer: epochs of minibatches on a device, validation, early stopping, history."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends, engines, footprint
from backprop_xp.callbacks import Callback, PrintProgress, Record, as_callback
from backprop_xp.checkpoints import Checkpoints
from backprop_xp.errors import InputError, check_integer, lookup
from backprop_xp.evaluation import Evaluation, UserMetric
from backprop_xp.initializers import Initializer
from backprop_xp.losses import LOSSES, Loss
from backprop_xp.model import Model, decided, host_outputs
from backprop_xp.network import Network, Params, init
from backprop_xp.optimizers import OPTIMIZERS, Multipliers, Optimizer, adam
from backprop_xp.step import make_step
from backprop_xp.training_data import prepared
from backprop_xp.training_run import Run

Array = Any
History = dict[str, NDArray[np.float64]]

# Up to so many numbers, labels are made one-hot before training and not in every step.
_ONE_HOT = 2**24

# What a fit leaves on its trainer.
_LEFT = ("params", "history", "kept_epoch", "n_samples", "choice", "notes", "stopped", "resumed")

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
        A recorded figure; default val_loss, or loss where there are no validation data. Of a function's figure more is
        better, unless its name ends in _loss, _error or _deviance.
    min_delta : float, default 0
        A smaller change is no improvement.
    checkpoint : path or Checkpoints, optional
        A folder in which the run's state is kept, so that `fit(..., resume=True)` goes on with it bit for bit. SIGTERM
        then ends training as Ctrl-C does, and the process with exit code 143, once a checkpoint is written.
    callbacks : sequence of Callback or function (record) -> None
    verbose : int, default 0
        1 prints a line an epoch, one a second at most.

    Attributes
    ----------
    first_params : tuple of (W, b)
        What every `fit` begins with, on the device.
    step : function (params, opt_state, X, Y, weight, ...) -> (params, opt_state, loss)
        See `make_step`.
    evaluation : Evaluation
        What is recorded beside the loss.
    params : tuple of (W, b)
        On the device; the first parameters before `fit`, and `predict` and `save` take them as they are.
    history : dict of str to array (n_epochs,)
    run : Run or None
        While `fit` lasts, for callbacks: its data, and where it stands.
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
        for name, value, least in (("batch_size", batch_size, 1), ("epochs", epochs, 0), ("seed", seed, 0)):
            check_integer(name, value, least)
        if patience is not None:
            check_integer("patience", patience, 1)
        if not 0 <= validation_fraction < 1:
            raise InputError(f"validation_fraction must be at least 0 and below 1, not {validation_fraction!r}")
        self.network = network
        loss = _DEFAULT_LOSS.get(network.output, "squared_error") if loss is None else loss
        self.loss = lookup("loss", loss, LOSSES) if isinstance(loss, str) else loss
        optimizer = lookup("optimizer", optimizer, OPTIMIZERS)() if isinstance(optimizer, str) else optimizer
        self.optimizer = adam() if optimizer is None else optimizer
        if isinstance(metrics, str):
            raise InputError(f"metrics must be a sequence, such as metrics=({metrics!r},)")
        if callable(callbacks) or isinstance(callbacks, Callback):
            raise InputError(f"callbacks must be a sequence, such as callbacks=[{callbacks!r}]")
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
        self.run: Run | None = None
        self.stopped: str | None = None
        self.resumed: Path | None = None
        self.first_params = self.params
        self.l2, self.clip_norm, self.multipliers, self.dropout = l2, clip_norm, multipliers, dropout
        self.notes: list[str] = []
        engines.check_precision(precision, dtype)
        if engine != "auto":
            engines.select(engine, precision=precision)  # what it needs may be missing
        else:
            engines.choose(engine, engines.Work(network.widths, 1, 0, dtype, self.backend.name, precision))
        self.step = make_step(
            network, self.loss, self.optimizer,
            l2=l2, clip_norm=clip_norm, multipliers=multipliers, dropout=dropout, seed=seed,
        )  # fmt: skip
        self.evaluation = Evaluation(network, self.loss, self.metrics, self.backend.xp)

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
        Ctrl-C ends training with a warning: the parameters and the history so far are kept. Where epochs take a moment,
        and nothing but the loss is looked at in between, on NumPy several are one call of the engine: Ctrl-C then
        leaves those before the call, and `seconds` are their mean.
        """
        if resume and self.checkpoint is None:
            raise InputError("there is nothing to resume from: give the Trainer checkpoint=FOLDER")
        data = prepared(self.network, self.loss, X, y, sample_weight, "the training data")
        validation, held = None, None
        if validation_data is not None:
            if len(validation_data) != 2:
                raise InputError(f"validation_data must be (X, y), not {len(validation_data)} arrays")
            validation = prepared(self.network, self.loss, *validation_data, None, "the validation data")
        elif self.validation_fraction:
            data, validation, held = data.split(self.validation_fraction, self.seed)
        self._check_memory(
            {"the data": sum(footprint.of_copy(a, self.backend, self.dtype) for a in data if a is not None)}
        )
        weight = None if data.weight is None else backends.to_host(data.weight)
        data = data.to(self.backend, self.dtype)
        if data.Y.ndim == 1 and data.Y.shape[0] * self.network.widths[-1] <= _ONE_HOT:
            data = data.one_hot(self.network.widths[-1])
        validation = None if validation is None else validation.to(self.backend, self.dtype)
        run = Run(self, data, validation, weight, held)
        before = {name: getattr(self, name) for name in _LEFT}
        self.params, self.stopped, self.history, self.resumed = self.first_params, None, {}, None
        self.n_samples, self.kept_epoch, self.notes = data.X.shape[0], 0, []
        try:
            best = run.train(resume)
        finally:
            if run.refused:  # what was trained before stays
                vars(self).update(before)
        if self.stopped == "interrupted":
            warnings.warn("training was interrupted; the model trained so far is kept", stacklevel=2)
        if self.patience is not None and self.history and not best.epoch:
            warnings.warn(
                f"{run.monitor} was never a number to compare; the last epoch's parameters are kept", stacklevel=2
            )
        return self.history

    def predict(self, X: Any) -> NDArray[Any]:
        """Return labels (n_samples,), or values (n_samples,) or (n_samples, n_outputs), as a host array.

        Parameters
        ----------
        X : array (n_samples, n_features)
        """
        return decided(self.loss.name, self.predict_proba(X))

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
