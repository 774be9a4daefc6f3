"""MLPRegressor: scikit-learn's, to the same numbers, on any device."""

from typing import Any, Self

from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import column_or_1d

from backprop_xp import backends, metrics
from backprop_xp.estimators import inputs
from backprop_xp.estimators.perceptron import MultilayerPerceptron
from backprop_xp.namespaces import namespace_of

Array = Any


class MLPRegressor(RegressorMixin, MultilayerPerceptron):  # type: ignore[misc]
    """A multilayer perceptron that learns one number or several, with scikit-learn's interface.

    Every parameter of scikit-learn's class of this name has its name, default and meaning, and gives its numbers; those
    from `device` on are more, and off by default.

    Parameters
    ----------
    loss : str, default "squared_error"
        squared_error; poisson (the output is then exp, and y must not be negative); also absolute_error, huber,
        pinball.
    hidden_layer_sizes : sequence of int, default (100,)
        Units of each hidden layer.
    activation : str, default "relu"
        Of the hidden layers: identity, logistic, tanh, relu; also leaky_relu, elu, selu, gelu, silu, mish, softplus.
    solver : "adam" (default), "sgd", "lbfgs"; also "adamw", "rmsprop"
        rmsprop's decay is `beta_2`.
    alpha : float, default 1e-4
        Weight of the L2 penalty; its share of a step is divided by the batch's sum of weights.
    batch_size : int or "auto", default "auto"
        "auto" is min(200, n_samples).
    learning_rate : str or function, default "constant"
        For sgd "constant", "invscaling" (learning_rate_init / t_^power_t, once an epoch) or "adaptive" (a fifth, when
        nothing improves). For every stochastic solver also "step", "exponential", "cosine", "warmup_cosine",
        "one_cycle", from `learning_rate_init` over `max_iter` epochs, or a function (updates made, namespace) -> rate:
        see `schedules`.
    learning_rate_init, power_t : float, defaults 1e-3, 0.5
    max_iter : int, default 200
        Epochs; for lbfgs iterations.
    shuffle : bool, default True
    random_state : int, RandomState or None
        Draws first weights, held-out rows and the order of rows, as in scikit-learn.
    tol, n_iter_no_change : float, int, defaults 1e-4, 10
        Training ends when loss or score has not been better by `tol` for more epochs than that.
    verbose : bool, default False
        A line an epoch.
    warm_start : bool, default False
        `fit` goes on from the last one's weights.
    momentum, nesterovs_momentum : float, bool, defaults 0.9, True
        Of sgd.
    early_stopping, validation_fraction : bool, float, defaults False, 0.1
        Hold out that share of the rows, end when their score does not improve, and take back the best weights.
    beta_1, beta_2, epsilon : float, defaults 0.9, 0.999, 1e-8
        Of adam and adamw.
    max_fun : int, default 15000
        Evaluations that lbfgs may make.
    device : str, optional
        "cpu", "cuda", "cuda:1", "auto": where NumPy's input is computed; NumPy comes back. Arrays of other libraries
        are computed where they lie.
    backend : str, optional
        "numpy", "cupy", "jax", "torch", "array_api_strict". None is NumPy on the CPU and CuPy on CUDA.
    engine : "auto" (default), "eager", "jax", "torch", "loops" or "cuda_graph"
        How the steps of sgd, rmsprop, adam and adamw are run. "auto" is "eager": scikit-learn's very numbers.
    dropout : float in [0, 1), default 0
        Share of each hidden layer's units dropped in each step.
    clip_norm : float, optional
        Gradients are scaled down to this norm.
    weight_decay : float, default 0.01
        Of adamw.
    scoring : str or function, optional
        What `early_stopping` watches: "loss", a name or scorer of scikit-learn's, or a function (estimator, X, y) ->
        float, which is given `sample_weight` if it takes it. Default: R^2.
    callbacks : list, optional
        `callbacks.Callback`s, or functions of the epoch's record; see `Trainer`.
    progress : bool, default False
        At most one line a second.

    Attributes
    ----------
    coefs_ : list of array (n_in, n_out)
    intercepts_ : list of array (n_out,)
    loss_, best_loss_, loss_curve_
        The last and the least loss, penalty included, and that of every epoch.
    validation_scores_, best_validation_score_, validation_loss_curve_
        Of the held-out rows, an epoch each; their loss leaves the penalty out.
    n_iter_, t_ : int
        Epochs of the last call; samples seen by all.
    n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As scikit-learn has them.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from backprop_xp import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True, scaled=True)
    >>> X, y = 20 * X, y / 100
    >>> regressor = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", alpha=10, max_iter=500, random_state=0)
    >>> round(regressor.fit(X, y).score(X, y), 1)
    0.6
    """

    _parameter_constraints = {  # noqa: RUF012
        **MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber", "pinball"})],
    }
    _y_numeric = True

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        device: str | None = None,
        backend: str | None = None,
        engine: str = "auto",
        dropout: float = 0.0,
        clip_norm: float | None = None,
        weight_decay: float = 0.01,
        scoring: Any = None,
        callbacks: Any = None,
        progress: bool = False,
    ) -> None:
        given = dict(locals())
        self.__dict__.update({name: given[name] for name in given if name not in ("self", "__class__")})

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train, and return the estimator.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
        y : array (n_samples,) or (n_samples, n_outputs)
        sample_weight : array (n_samples,), optional
        X_val, y_val : optional
            Rows to validate with instead of held-out ones, each counting the same; without `early_stopping` only
            recorded.

        Raises
        ------
        ValueError
            If the data do not fit each other, or training ended with weights that are not finite.
        InputError
            If the device or library asked for is not there.

        Notes
        -----
        Ctrl-C ends training with a warning; what was learned so far is kept.
        """
        return self._fit(X, y, sample_weight, inputs.pair(X_val, y_val))

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, from where the last call ended (with lbfgs, as in scikit-learn, for all of `max_iter`).

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Raises
        ------
        ValueError
            As `fit`; also with `early_stopping`.
        """
        self._check_schedule()
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted values, (n_samples,) or (n_samples, n_outputs).

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
        """
        P = self._outputs(X)
        return P[:, 0] if P.shape[1] == 1 else P

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination R^2, the mean of several outputs'.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        if inputs.on_host(X) and inputs.on_host(y):
            return float(super().score(X, y, sample_weight))
        P = self._outputs(X)
        place, dtype = backends.of(P), str(backends.to_host(P[:1, :1]).dtype)
        Y = backends.to_device(y, place, dtype)
        Y = Y if Y.ndim == 2 else Y[:, None]
        inputs.check_same_shape(Y, P)
        if sample_weight is not None:
            sample_weight = backends.to_device(inputs.checked_weight(sample_weight, X), place, dtype)
        return float(metrics.r2(P, Y, place.xp, sample_weight))

    def _output(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _targets(self, y: Any, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1 and inputs.on_host(y):
            y = column_or_1d(y, warn=True)
        Y, xp = y if y.ndim == 2 else y[:, None], namespace_of(y)
        if getattr(Y.dtype, "kind", "f") in "SU":
            raise ValueError(f"y must be numbers, not {Y.dtype}")
        if self.loss == "poisson" and bool(xp.any(Y < 0)):
            raise ValueError("loss='poisson' is of counts and rates: y must not be negative")
        return Y

    def _targets_of_known(self, y: Any) -> Array:
        Y = self._targets(y, False)
        if Y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {Y.shape[1]} outputs, not the {self.n_outputs_} of training")
        return Y

    def _decoded_targets(self, Y: Array) -> Array:
        return Y[:, 0] if Y.shape[1] == 1 else Y

    def _with_class_weight(self, Y: Array, weight: Array) -> Array:
        return weight

    def _score_outputs(self, P: Array, Y: Array, weight: Array, xp: Any) -> Array:
        return metrics.r2(P, Y, xp, weight) if bool(xp.all(xp.isfinite(P))) else float("nan")
