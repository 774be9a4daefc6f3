"""The stochastic solvers: epochs of minibatches, counted, shuffled, stopped and reported as scikit-learn does."""

import inspect
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer

from backprop_xp import backends, engines, packing, schedules
from backprop_xp.batches import IndexBatches, pieces_of
from backprop_xp.callbacks import Callback, PrintProgress, as_callback, batch_listener, tell
from backprop_xp.engines.tracing import leaves, rebuilt
from backprop_xp.errors import StopTraining
from backprop_xp.estimators.held_out import Held
from backprop_xp.estimators.objectives import head
from backprop_xp.namespaces import namespace_of
from backprop_xp.network import Array, Network, Params, propagate
from backprop_xp.optimizers import LearningRate, Optimizer, OptimizerState, adam, adamw, momentum, nesterov, rmsprop
from backprop_xp.step import make_step
from backprop_xp.training_data import TrainingData

# The names that `learning_rate` has beyond scikit-learn's; "constant" and "invscaling" are its own.
SCHEDULES = {name: plan for name, plan in schedules.PLANNED.items() if name not in ("constant", "inverse_scaling")}

# Measured with two cores: up to here an update of one row saves more calls than making the row costs.
_PACKED_UP_TO = 2**14  # parameters
_SETTINGS = (  # of the optimizer
    "solver", "learning_rate", "learning_rate_init", "power_t", "momentum", "nesterovs_momentum", "beta_1", "beta_2",
    "epsilon", "weight_decay", "max_iter",
)  # fmt: skip
_LEAST_RATE = 1e-6  # where "adaptive" ends, as in scikit-learn


class StochasticFit:
    """One call of `fit` or `partial_fit` with a stochastic solver; to callbacks, the trainer.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Its fitted attributes are read and written.
    params : tuple of (W, b)
        On the device.
    data : TrainingData
        Floating, on the device.
    held : Held, optional
    place : Backend
    generator : RandomState
        Shuffles the rows.
    incremental : bool
        One epoch, with the optimizer's state as the last call left it.
    on_host : bool
        Whether the estimator's arrays are to be NumPy's, or stay on the device.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
    epochs : int
        At most so many.
    stopped : str or None
        Why it ended.
    resumed : None
        It never goes on from a checkpoint.
    """

    resumed = None

    def __init__(
        self,
        estimator: Any,
        network: Network,
        params: Params,
        data: TrainingData,
        held: Held | None,
        place: backends.Backend,
        generator: np.random.RandomState,
        *,
        incremental: bool,
        on_host: bool,
    ) -> None:
        self.estimator = estimator
        self.stopped: str | None = None
        self.epochs = 1 if incremental else estimator.max_iter
        self._data, self._held, self._place, self._generator = data, held, place, generator
        self._network, self._incremental, self._on_host = network, incremental, on_host
        self._n_samples = int(data.X.shape[0])
        self._batch_size = self._checked_batch_size()
        self._order = np.arange(self._n_samples)
        if not (incremental and hasattr(estimator, "_optimizer")):  # an optimizer keeps what it began with
            estimator._optimizer_settings = {name: getattr(estimator, name) for name in _SETTINGS}
        self._settings = SimpleNamespace(**estimator._optimizer_settings)
        rule = _optimizer(self._settings, self._batch_size, self._n_samples)
        n_weights = sum(W.shape[0] * W.shape[1] for W, _ in params)
        self._packed = n_weights <= _PACKED_UP_TO and not rule.weight_decay
        self._unpack = packing.unpacker(network.shapes)
        self._state: Any = packing.pack(params) if self._packed else params
        self._opt_state = self._first_state(rule)
        self._head = head(estimator.loss, network, _epsilon(data.Y), divided=True)
        self._step = make_step(
            network, self._head, rule, l2=estimator.alpha, l2_per_batch=True, clip_norm=estimator.clip_norm,
            dropout=estimator.dropout, seed=estimator._dropout_seed, packed=self._packed,
        )  # fmt: skip
        self._engine = engines.select("eager" if estimator.engine == "auto" else estimator.engine, say=self._note)
        self._score = _scorer(estimator)
        callbacks = [as_callback(callback) for callback in estimator.callbacks or ()]
        self._callbacks = [*callbacks, *([PrintProgress()] if estimator.progress else [])]
        self._on_batch = batch_listener(self._callbacks, self._stop)
        # Weights that no score ever bettered are scikit-learn's first ones, or in a warm start the last.
        self._best: Params | None = params if estimator.early_stopping and not estimator.t_ else None

    @property
    def params(self) -> Params:
        """The parameters, (W, b) a layer, on the device."""
        return self._unpack(self._state, self._place.xp) if self._packed else self._state

    def run(self) -> None:
        """Train, and leave what was learned on the estimator."""
        estimator = self.estimator
        estimator.n_iter_ = 0
        try:
            self._tell(lambda callback: callback.on_train_begin(self))
            while estimator.n_iter_ < self.epochs and self.stopped is None:
                self._epoch()
            if self.stopped is None and not self._incremental:
                self.stopped = "epochs"
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization "
                    "hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        except KeyboardInterrupt:
            self.stopped = "interrupted"
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            self._publish(self._best if self._best is not None else self.params)
            estimator._optimizer = self._opt_state
            for callback in self._callbacks:
                callback.on_train_end(self)

    def _epoch(self) -> None:
        estimator, start = self.estimator, time.perf_counter()
        loss = self._take_steps()
        if loss is None:
            return
        estimator.n_iter_ += 1
        estimator.loss_ = loss
        estimator.t_ += self._n_samples
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        record = {"epoch": float(estimator.n_iter_), "loss": loss, "learning_rate": self._rate}
        if self._callbacks or callable(self._score):
            self._publish(self.params)
        if self._held is not None:
            record |= self._judged(self._held)
        if estimator.early_stopping:
            self._note_score(record["val_score"])
        else:
            self._note_loss(loss)
        settings = self._settings
        if settings.solver == "sgd" and settings.learning_rate == "invscaling":
            self._rate = settings.learning_rate_init / (estimator.t_ + 1) ** settings.power_t
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._stop_or_slow_down()
        record["seconds"] = time.perf_counter() - start
        self._tell(lambda callback: callback.on_epoch_end(record))
        if np.isnan(loss) and not estimator.early_stopping and not estimator._is_finite(self.params):
            self.stopped = "diverged"  # nothing comes back from NaN, and `fit` says so

    def _take_steps(self) -> np.float64 | None:
        """Run the epoch's steps and return its loss, a mean over its samples; None if it ended before the first.

        Raises
        ------
        KeyboardInterrupt
            If the user ended it; what the finished steps learned is kept.
        """
        order = None
        if self.estimator.shuffle:
            places = np.arange(self._n_samples)
            self._generator.shuffle(places)
            self._order = self._order[places]  # each epoch shuffles the last one's order, as scikit-learn's
            order = backends.to_device(self._order, self._place)
        batches = IndexBatches(order, self._n_samples, self._batch_size)
        data = self._data
        try:
            self._state, self._opt_state, losses = self._engine.run(
                self._step, self._state, self._opt_state, data.X, data.Y, batches, weight=data.weight,
                on_batch=self._on_batch,
            )  # fmt: skip
        except StopTraining as stop:  # before the first step
            self.stopped = str(stop) or "callback"
            return None
        n_done = losses.shape[0]
        if self._engine.interrupted:
            raise KeyboardInterrupt
        sizes = np.full(n_done, self._batch_size)
        sizes[-1] = min(self._batch_size, self._n_samples - (n_done - 1) * self._batch_size)
        return np.float64(backends.to_host(losses).astype(np.float64) @ sizes / sizes.sum())

    def _judged(self, held: Held) -> dict[str, float]:
        """Return loss and score of the held-out rows."""
        estimator, (X, Y, weight) = self.estimator, held.data
        xp, params = self._place.xp, self.params
        pieces = [propagate(self._network, params, X_piece, None, namespace_of(X))[2] for X_piece in pieces_of(X)]
        z = pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)
        loss = float(self._head(z, Y, weight, xp)[0])
        estimator.validation_loss_curve_.append(loss)
        if self._score == "loss":
            score = -loss
        elif callable(self._score):
            score = self._scored(held)
        else:
            score = float(estimator._score_outputs(self._network.activations[-1].value(z, xp), Y, weight, xp))
        if estimator.validation_scores_ is None:
            estimator.validation_scores_ = []
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        return {"val_loss": loss, "val_score": score}

    def _scored(self, held: Held) -> float:
        """Return what the scorer says, with weights if there are any and it takes them."""
        takes = inspect.signature(self._score).parameters
        weights = {"sample_weight": held.weight} if held.weight is not None and "sample_weight" in takes else {}
        with warnings.catch_warnings():  # rows that were held out of a frame have lost its names
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            return float(self._score(self.estimator, held.X, held.y, **weights))

    def _note_score(self, score: float) -> None:
        estimator = self.estimator
        stale = score < estimator.best_validation_score_ + estimator.tol
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if stale else 0
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_, self._best = score, self.params

    def _note_loss(self, loss: float) -> None:
        estimator = self.estimator
        stale = loss > estimator.best_loss_ - estimator.tol
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if stale else 0
        if loss < estimator.best_loss_:
            estimator.best_loss_ = loss

    def _stop_or_slow_down(self) -> None:
        estimator = self.estimator
        figure = "Validation score" if estimator.early_stopping else "Training loss"
        why = (
            f"{figure} did not improve more than tol={estimator.tol:f} "
            f"for {estimator.n_iter_no_change} consecutive epochs."
        )
        then = "Stopping."
        if self._settings.solver == "sgd" and self._settings.learning_rate == "adaptive":
            then = "Learning rate too small. Stopping."
            if self._rate > _LEAST_RATE:
                self._rate /= 5.0
                then = f"Setting learning rate to {self._rate:f}"
        if then.endswith("Stopping."):
            self.stopped = "patience"
        else:
            estimator._no_improvement_count = 0
        if estimator.verbose:
            print(f"{why} {then}")

    @property
    def _rate(self) -> float:
        return float(self._opt_state.learning_rate)

    @_rate.setter
    def _rate(self, rate: float) -> None:
        old = self._opt_state.learning_rate
        fresh = backends.to_device(np.asarray(rate), self._place, str(backends.to_host(old).dtype))
        self._opt_state = self._opt_state._replace(learning_rate=fresh)

    def _first_state(self, rule: Optimizer) -> OptimizerState:
        """Return the optimizer's state: in `partial_fit` the last call's, wherever that lay."""
        old = getattr(self.estimator, "_optimizer", None)
        fresh: OptimizerState = rule.init(self._state)
        if not self._incremental or old is None:
            return fresh
        state: OptimizerState = rebuilt(fresh, (backends.to_device(array, self._place) for array in leaves(old)))
        return state

    def _checked_batch_size(self) -> int:
        n_samples = self._n_samples
        if self.estimator.batch_size == "auto":
            return min(200, n_samples)
        size = int(self.estimator.batch_size)
        if size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=5
            )
        return min(size, n_samples)

    def _publish(self, params: Params) -> None:
        self.estimator._keep(params, on_host=self._on_host)

    def _note(self, line: str) -> None:
        for callback in self._callbacks:
            callback.on_note(line)

    def _stop(self, reason: str) -> None:
        self.stopped = reason

    def _tell(self, news: Callable[[Callback], None]) -> None:
        tell(self._callbacks, news, self._stop)


def _optimizer(given: Any, batch_size: int, n_samples: int) -> Optimizer:
    """Return the update rule that the estimator's parameters name."""
    rate: LearningRate = given.learning_rate_init
    if callable(given.learning_rate):
        rate = _as_array(given.learning_rate)
    elif given.learning_rate in SCHEDULES:
        n_updates = given.max_iter * -(-n_samples // batch_size)
        rate = SCHEDULES[given.learning_rate](given.learning_rate_init, n_updates)
    if given.solver == "sgd":
        return (nesterov if given.nesterovs_momentum else momentum)(rate, given.momentum)
    if given.solver == "rmsprop":
        return rmsprop(rate, given.beta_2, given.epsilon)
    betas = given.beta_1, given.beta_2, given.epsilon
    return adam(rate, *betas) if given.solver == "adam" else adamw(rate, given.weight_decay, *betas)


def _as_array(rate: Callable[[Array, Any], Any]) -> schedules.Schedule:
    """Return the function with an array for its value, were it a number."""
    return lambda count, xp: count * 0.0 + rate(count, xp)


def _scorer(estimator: Any) -> Any:
    """Return "loss", None for the estimator's own score, or scikit-learn's scorer."""
    scoring = estimator.scoring
    return scoring if scoring in (None, "loss") or callable(scoring) else get_scorer(scoring)


def _epsilon(array: Array) -> float:
    return float(np.finfo(str(backends.to_host(array[:1, ...]).dtype)).eps)
