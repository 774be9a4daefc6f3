"""What MLPClassifier and MLPRegressor share: fitting, outputs, moving between devices, pickling."""

import inspect
import warnings
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from backprop_xp import backends
from backprop_xp.batches import pieces_of
from backprop_xp.engines import ENGINES
from backprop_xp.engines.tracing import leaves, rebuilt
from backprop_xp.errors import InputError
from backprop_xp.estimators import inputs, lbfgs
from backprop_xp.estimators.held_out import Held, split
from backprop_xp.estimators.labels import DeviceLabels
from backprop_xp.estimators.stochastic import SCHEDULES, StochasticFit
from backprop_xp.namespaces import is_sparse, namespace_of
from backprop_xp.network import Array, Network, Params, forward
from backprop_xp.optimizers import OptimizerState
from backprop_xp.training_data import TrainingData

# scikit-learn's name of an activation -> the core's, where they differ.
_CORE = {"logistic": "sigmoid"}
_HIDDEN = {
    "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus",
}  # fmt: skip


class MultilayerPerceptron(BaseEstimator):  # type: ignore[misc]
    """The common part of the two estimators, which see."""

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  (scikit-learn's name and habit)
        **BaseMultilayerPerceptron._parameter_constraints,
        "activation": [StrOptions(_HIDDEN)],
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw", "rmsprop"})],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", *SCHEDULES}), callable],
        "device": [str, None],
        "backend": [StrOptions({"numpy", "cupy", "jax", "torch", "array_api_strict"}), None],
        "engine": [StrOptions(set(ENGINES))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "scoring": [str, callable, None],
        "callbacks": [list, tuple, None],
        "progress": ["boolean"],
    }
    _dropout_seed = 0
    _y_numeric: bool

    def to(self, device: str, backend: str | None = None) -> Self:
        """Move the fitted arrays, and compute there from now on.

        Parameters
        ----------
        device : str
            "cpu", "cuda", "cuda:1", ... or "auto"; it becomes the parameter `device`.
        backend : str, optional
            None is NumPy on the CPU and CuPy on CUDA; it becomes the parameter `backend`.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If the device or the library is not there; nothing is moved then.
        """
        place = backends.select(device, backend, _dtype_of(getattr(self, "coefs_", [np.empty(0)])[0]))
        self._map_arrays(lambda array: backends.to_device(array, place))
        return self.set_params(device=device, backend=backend)  # type: ignore[no-any-return]

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator: a safetensors file, which `load` and `backprop_xp.load` read.

        Parameters
        ----------
        path : path
            Written whole or not at all.

        Raises
        ------
        InputError
            If the path cannot be written, or a parameter is an object that JSON does not have.
        NotFittedError
            If there is nothing to save.
        """
        from backprop_xp.estimators import files  # which imports the model's file format

        check_is_fitted(self)
        files.save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the estimator in a file that `save` wrote. Nothing in the file is executed.

        It predicts, and goes on training with the moments of its optimizer at zero.

        Parameters
        ----------
        path : path

        Raises
        ------
        InputError
            If it is no such file, or of the other estimator.
        """
        from backprop_xp.estimators import files

        return files.load(cls, path)  # type: ignore[no-any-return]

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any] | None = None, incremental: bool = False
    ) -> Self:
        hidden = self._hidden_widths()
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = inputs.checked(self, X, y, y_numeric=self._y_numeric, reset=first)
        Y, dtype = self._targets(y, incremental), _dtype_of(X)
        place = inputs.place_of(self, X, dtype)
        weight = inputs.checked_weight(sample_weight, X)
        generator = check_random_state(self.random_state)
        self.n_outputs_ = Y.shape[1]
        if not first and len(hidden) + 1 != len(self.coefs_):
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes!r}: `coefs_` have {len(self.coefs_)} layers")
        if first:
            self._initialize((X.shape[1], *hidden, self.n_outputs_), generator, dtype)
        if not incremental:
            self.__dict__.pop("_optimizer", None)  # whose state is of the fit before
        if self.dropout and (first or not self._dropout_seed):
            self._dropout_seed = int(generator.randint(1, 2**31 - 1))
        elif not incremental:
            self._dropout_seed += 1  # a warm start counts its steps anew, and would see the same masks
        data = TrainingData(X, Y, self._with_class_weight(Y, weight))
        if self.solver == "lbfgs":
            self._fit_lbfgs(data, place, validation)
        else:
            self._fit_stochastic(data, place, dtype, generator, validation, incremental)
        if not self._is_finite(self._layers()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed."
            )
        return self

    def _check_schedule(self) -> None:
        """Raise if the learning rate is planned over a whole fit, of which `partial_fit` knows nothing.

        The optimizer of a fit that was planned so is at its plan's end: another begins.
        """
        if self.learning_rate in SCHEDULES:
            raise ValueError(
                f"learning_rate={self.learning_rate!r} is not for partial_fit: give a function of the update"
            )
        if getattr(self, "_optimizer_settings", {}).get("learning_rate") in SCHEDULES:
            self.__dict__.pop("_optimizer", None)

    def _hidden_widths(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _initialize(self, widths: tuple[int, ...], generator: np.random.RandomState, dtype: str) -> None:
        """Draw the first weights and biases: uniform within sqrt(6 / (n_in + n_out)), with 2 for 6 if logistic."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_, self.out_activation_ = len(widths), self._output()
        factor = 2.0 if self.activation == "logistic" else 6.0
        self.coefs_: list[Array] = []
        self.intercepts_: list[Array] = []
        for n_in, n_out in pairwise(widths):
            bound = np.sqrt(factor / (n_in + n_out))
            self.coefs_.append(generator.uniform(-bound, bound, (n_in, n_out)).astype(dtype, copy=False))
            self.intercepts_.append(generator.uniform(-bound, bound, n_out).astype(dtype, copy=False))
        if self.solver != "lbfgs":
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            stopping = self.early_stopping
            self.best_loss_ = None if stopping else np.inf
            self.best_validation_score_ = -np.inf if stopping else None
            self.validation_scores_: list[float] | None = [] if stopping else None
            self.validation_loss_curve_: list[float] = []

    def _fit_lbfgs(self, data: TrainingData, place: backends.Backend, validation: Any) -> None:
        unfit = {"dropout": self.dropout, "clip_norm": self.clip_norm, "scoring": self.scoring}
        for name, given in {**unfit, "callbacks": self.callbacks, "X_val": validation}.items():
            if given:
                raise InputError(f"solver='lbfgs' has no steps for {name}: leave it out, or use solver='adam'")
        on_host, dtype = inputs.on_host(data.X), _dtype_of(data.X)
        if place.name == "numpy":
            dtype = str(np.result_type(data.X.dtype, self.coefs_[0].dtype))
        else:
            data = inputs.moved(data, place, dtype)
        objective = lbfgs.Objective(self._network(), self.loss, self.alpha, data, place, dtype)
        host = tuple((backends.to_host(W), backends.to_host(b)) for W, b in self._layers())
        x, self.loss_, self.n_iter_ = lbfgs.minimise(
            objective,
            host,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            verbose=bool(self.verbose or self.progress),
        )
        self._keep(objective.params(x, on_host=on_host), on_host=on_host)

    def _fit_stochastic(
        self,
        data: TrainingData,
        place: backends.Backend,
        dtype: str,
        generator: np.random.RandomState,
        validation: tuple[Any, Any] | None,
        incremental: bool,
    ) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        rows: TrainingData | None = None
        if validation is not None:
            rows = self._given(*validation)
        elif self.early_stopping:
            stratify = is_classifier(self) and self.n_outputs_ == 1
            data, rows = split(data, self.validation_fraction, stratify, generator)
            if rows.weight is not None and not np.any(backends.to_host(rows.weight)):
                raise ValueError(
                    "Sample weights must contain at least one non-zero number: the rows held out have none."
                )
        held = None
        if rows is not None:
            held = Held(inputs.moved(rows, place, dtype), rows.X, self._decoded_targets(rows.Y), rows.weight)
        if is_sparse(data.X):
            data = data._replace(X=data.X.tocsr())  # whose rows are found at once
        StochasticFit(
            self, self._network(), self._layers(place, dtype), inputs.moved(data, place, dtype), held, place, generator,
            incremental=incremental, on_host=inputs.on_host(data.X),
        ).run()  # fmt: skip

    def _given(self, X: Any, y: Any) -> TrainingData:
        """Return validation data of the user's own, checked against those of training."""
        X, y = inputs.checked(self, X, y, y_numeric=self._y_numeric, reset=False)
        return TrainingData(X, self._targets_of_known(y))

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs (n_samples, n_outputs), on the host if X is there, else beside it."""
        check_is_fitted(self)
        dtype = _dtype_of(self.coefs_[0])
        place, on_host = inputs.place_of(self, X, dtype), inputs.on_host(X)
        if on_host:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        else:
            X = inputs.checked_rows(self, X, reset=False)
        network = self._network()
        params = self._layers(place)
        if place.name == "numpy" and is_sparse(X):
            X = X.tocsr()
        pieces = [
            forward(network, params, X_piece if place.name == "numpy" else inputs.moved_rows(X_piece, place, dtype))[-1]
            for X_piece in pieces_of(X)
        ]
        P = pieces[0] if len(pieces) == 1 else namespace_of(pieces[0]).concat(pieces, axis=0)
        return backends.to_host(P) if on_host else P

    def _network(self) -> Network:
        widths = (self.coefs_[0].shape[0], *(W.shape[1] for W in self.coefs_))
        hidden, output = (_CORE.get(name, name) for name in (str(self.activation), str(self.out_activation_)))
        return Network(tuple(map(int, widths)), hidden, output)

    def _layers(self, place: backends.Backend | None = None, dtype: str | None = None) -> Params:
        """Return the fitted parameters as the core has them, on the device if one is named."""
        pairs = ((W, b[None, :]) for W, b in zip(self.coefs_, self.intercepts_, strict=True))
        if place is None:
            return tuple(pairs)
        return tuple((backends.to_device(W, place, dtype), backends.to_device(b, place, dtype)) for W, b in pairs)

    def _keep(self, params: Params, *, on_host: bool) -> None:
        """Make these parameters the fitted ones."""
        if on_host:
            params = tuple((np.array(backends.to_host(W)), np.array(backends.to_host(b))) for W, b in params)
        self.coefs_, self.intercepts_ = [W for W, _ in params], [b[0, ...] for _, b in params if b is not None]

    def _is_finite(self, params: Params) -> bool:
        xp = namespace_of(params[0][0])
        return all(bool(xp.all(xp.isfinite(leaf))) for layer in params for leaf in layer)

    def _map_arrays(self, function: Any) -> None:
        """Replace every fitted array by the function's value."""
        self.__dict__.update(mapped_arrays(self.__dict__, function))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with its arrays on the host, so that a machine without the device can load it."""
        return mapped_arrays(super().__getstate__(), backends.to_host)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state of this class, or of scikit-learn's class of the same name."""
        for name, parameter in inspect.signature(type(self)).parameters.items():
            state.setdefault(name, parameter.default)
        if not isinstance(state.get("_optimizer", OptimizerState(0, 0, ())), OptimizerState):
            del state["_optimizer"]  # scikit-learn's own; training goes on with moments at zero
        if "coefs_" in state:
            state.setdefault("validation_loss_curve_", [])
        super().__setstate__(state)
        told = state["device"] is not None or state["backend"] is not None
        if told and "coefs_" in state:  # one that has not been fitted is yet to be refused
            try:
                inputs.place_of(self, np.empty((1, 1)), _dtype_of(self.coefs_[0]))
            except InputError as error:
                warnings.warn(f"{error}; this estimator computes on the CPU from now on", stacklevel=2)
                self.device, self.backend, self.engine = None, None, "auto"

    def __sklearn_tags__(self) -> Any:
        """Return what the estimator can do, for scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def mapped_arrays(state: dict[str, Any], function: Any) -> dict[str, Any]:
    """Return the state of an estimator with the function's value in place of each fitted array."""
    mapped = dict(state)
    for name in {"coefs_", "intercepts_"} & state.keys():
        mapped[name] = [function(array) for array in state[name]]
    if "_optimizer" in state:
        old = state["_optimizer"]
        mapped["_optimizer"] = rebuilt(old, map(function, leaves(old)))
    labels = state.get("_label_binarizer")
    if isinstance(labels, DeviceLabels):
        mapped["classes_"] = function(labels.classes_)
        mapped["_label_binarizer"] = DeviceLabels(mapped["classes_"], labels.y_type_)
    return mapped


def _dtype_of(X: Any) -> str:
    return "float32" if "float32" in str(X.dtype) else "float64"
