"""MLPClassifier: scikit-learn's, to the same numbers, on any device."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from backprop_xp import backends, metrics
from backprop_xp.estimators import inputs
from backprop_xp.estimators.labels import DeviceLabels
from backprop_xp.estimators.perceptron import MultilayerPerceptron
from backprop_xp.namespaces import namespace_of

Array = Any


class MLPClassifier(ClassifierMixin, MultilayerPerceptron):  # type: ignore[misc]
    """A multilayer perceptron that learns classes, or several labels at once, with scikit-learn's interface.

    Every parameter of scikit-learn's class of this name has its name, default and meaning, and gives its numbers; those
    from `device` on are more, and off by default.

    Parameters
    ----------
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
    loss : "log_loss" (default) or "squared_error"
        squared_error: of the probabilities (the Brier score).
    class_weight : dict, "balanced" or None
        A factor of the sample weights for each class; "balanced" is n_samples / (n_classes * samples of the class).
    dropout : float in [0, 1), default 0
        Share of each hidden layer's units dropped in each step.
    clip_norm : float, optional
        Gradients are scaled down to this norm.
    weight_decay : float, default 0.01
        Of adamw.
    scoring : str or function, optional
        What `early_stopping` watches: "loss", a name or scorer of scikit-learn's, or a function (estimator, X, y) ->
        float, which is given `sample_weight` if it takes it. Default: accuracy.
    callbacks : list, optional
        `callbacks.Callback`s, or functions of the epoch's record; see `Trainer`.
    progress : bool, default False
        At most one line a second.

    Attributes
    ----------
    classes_ : array (n_classes,)
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
    >>> from sklearn.datasets import load_digits
    >>> from backprop_xp import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = MLPClassifier((64,), batch_size=32, random_state=0).fit(X[:1200], y[:1200])
    >>> round(classifier.score(X[1200:], y[1200:]), 2)
    0.92
    """

    _parameter_constraints = {  # noqa: RUF012
        **MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({"log_loss", "squared_error"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _y_numeric = False

    def __init__(
        self,
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
        loss: str = "log_loss",
        class_weight: Any = None,
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
        y : array (n_samples,) of labels, or (n_samples, n_labels) of zeros and ones
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

    @available_if(lambda self: self._has_steps())  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array (n_classes,)
            All labels there will be; needed in the first call.

        Raises
        ------
        ValueError
            As `fit`; also without `classes` in the first call, and with `early_stopping`.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' is not for partial_fit, which sees a part: give a dict of weights"
            )
        self._check_schedule()
        if classes is not None:
            classes = backends.to_host(classes)
        known = getattr(self, "classes_", None)
        if known is not None:
            known = backends.to_host(known)  # scikit-learn's check takes a device's for others
            if classes is not None and not np.array_equal(known, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}"
                )
        elif _check_partial_fit_first_call(self, classes):
            self._label_binarizer = self._labels_of(y, classes)
            self.classes_ = self._label_binarizer.classes_
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted labels, (n_samples,) or (n_samples, n_labels).

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
        """
        P = self._outputs(X)
        return self._decoded(P[:, 0] if self.n_outputs_ == 1 else P)

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities (n_samples, n_classes), in the order of `classes_`.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
        """
        P = self._outputs(X)
        if self.n_outputs_ > 1:
            return P
        return namespace_of(P).concat([1 - P, P], axis=1)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
        """
        P = self.predict_proba(X)
        return namespace_of(P).log(P)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, of several labels the share of rows with all of them right.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        if inputs.on_host(X) and inputs.on_host(y):
            return float(super().score(X, y, sample_weight))
        predicted = self.predict(X)
        place = backends.of(predicted)
        y = backends.to_device(_one_column(np.asarray(y) if inputs.on_host(y) else y), place)
        inputs.check_same_shape(y, predicted)
        right = predicted == y if y.ndim == 1 else place.xp.all(predicted == y, axis=1)
        if sample_weight is None:
            return float(place.xp.sum(place.xp.astype(right, place.xp.int32))) / int(y.shape[0])
        weight = backends.to_device(inputs.checked_weight(sample_weight, X), place)
        return float(place.xp.sum(place.xp.where(right, weight, 0 * weight)) / place.xp.sum(weight))

    def _has_steps(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def _output(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _targets(self, y: Any, incremental: bool) -> Array:
        """Learn the classes, or check the labels against them, and return them encoded (n_samples, n_outputs)."""
        y = _one_column(y)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = self._labels_of(y)
            self.classes_ = self._label_binarizer.classes_
            return self._encoded(y)
        if self.warm_start:
            present, known = _unique(y), backends.to_host(self.classes_)
            if set(present) != set(known):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {known}, `y` has {present}"
                )
        return self._targets_of_known(y)

    def _targets_of_known(self, y: Any) -> Array:
        y = _one_column(y)
        present, known = _unique(y), backends.to_host(self.classes_)
        multilabel = self._label_binarizer.y_type_ == "multilabel-indicator"
        if (y.ndim == 2) != multilabel or (multilabel and y.shape[1] != len(known)):
            raise ValueError(f"`y` has shape {tuple(y.shape)}, which is not of the labels in `self.classes_`: {known}")
        if len(np.setdiff1d(present, known)):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {present}.")
        return self._encoded(y)

    def _encoded(self, y: Any) -> Array:
        """Return bool (n_samples, n_outputs), where `y` lies."""
        labels = self._label_binarizer
        if inputs.on_host(y) == isinstance(labels, DeviceLabels):  # fitted elsewhere than these lie
            labels = DeviceLabels(self.classes_, labels.y_type_)
        return labels.transform(y).astype(bool) if inputs.on_host(y) else labels.transform(y)

    def _labels_of(self, y: Any, classes: Any = None) -> LabelBinarizer | DeviceLabels:
        """Return what encodes labels where `y` lies, having learned all of `classes`."""
        if inputs.on_host(y):
            return LabelBinarizer().fit(y if classes is None or type_of_target(y).startswith("multilabel") else classes)
        if classes is None or (y.ndim == 2 and y.shape[1] > 1):
            return DeviceLabels().fit(y)
        return DeviceLabels().fit(backends.to_device(np.asarray(classes), backends.of(y)))

    def _decoded(self, P: Array) -> Array:
        labels = self._label_binarizer
        if isinstance(labels, DeviceLabels):
            return labels.inverse_transform(P)
        if inputs.on_host(P) or labels.classes_.dtype.kind not in "biuf":
            return labels.inverse_transform(backends.to_host(P))
        return DeviceLabels(labels.classes_, labels.y_type_).inverse_transform(P)

    def _decoded_targets(self, Y: Array) -> Array:
        P = namespace_of(Y).astype(Y, namespace_of(Y).float32)
        return self._decoded(P[:, 0] if P.shape[1] == 1 else P)

    def _with_class_weight(self, Y: Array, weight: Array) -> Array:
        """Return the sample weights, each times its class's."""
        if self.class_weight is None:
            return weight
        if self._label_binarizer.y_type_ == "multilabel-indicator":
            raise ValueError("class_weight needs one label a row: for several labels at once give sample_weight")
        xp, place = namespace_of(Y), backends.of(Y)
        Y = xp.astype(Y, xp.int32)
        classes = xp.argmax(Y, axis=1) if Y.shape[1] > 1 else Y[:, 0]
        factors = backends.to_device(self._weights_of_classes(backends.to_host(xp.sum(Y, axis=0)), Y.shape[0]), place)
        chosen = xp.take(factors, classes, axis=0)
        return chosen if weight is None else backends.to_device(weight, place) * chosen

    def _weights_of_classes(self, counts: NDArray[np.integer[Any]], n_samples: int) -> NDArray[np.float64]:
        """Return each class's factor; `counts` has the rows of each, or of the second of two."""
        classes = backends.to_host(self.classes_)
        if self.class_weight == "balanced":
            if len(counts) == 1:
                counts = np.asarray([n_samples - counts[0], counts[0]])[: len(classes)]
            return np.asarray(n_samples / (len(classes) * np.maximum(counts, 1)))
        unknown = set(self.class_weight) - set(classes.tolist())
        if unknown:
            raise ValueError(f"class_weight names {sorted(unknown, key=str)}, but the classes are {classes.tolist()}")
        return np.array([float(self.class_weight.get(label, 1.0)) for label in classes.tolist()])

    def _score_outputs(self, P: Array, Y: Array, weight: Array, xp: Any) -> float:
        if Y.shape[1] > 1 and self.out_activation_ == "softmax":
            Y = xp.argmax(Y, axis=-1)
        if self.classes_.shape[0] == 1:  # which is predicted whatever P is
            P = xp.zeros_like(P)
        right = metrics.right(P, Y, xp)
        if weight is None:  # counted, as scikit-learn does: a mean in float32 has roundings that stopping would see
            return float(xp.sum(xp.astype(right, xp.int32))) / int(right.shape[0])
        return float(np.average(backends.to_host(right), weights=backends.to_host(weight)))

    def __sklearn_tags__(self) -> Any:
        """Return what the estimator can do, for scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _one_column(y: Any) -> Array:
    """Return one column as the flat labels it holds, with scikit-learn's warning."""
    if y.ndim == 2 and y.shape[1] == 1:
        return column_or_1d(y, warn=True) if inputs.on_host(y) else y[:, 0]
    return y


def _unique(y: Any) -> Any:
    """Return the labels there are; of several at once their numbers."""
    if inputs.on_host(y):
        return unique_labels(y)
    xp = namespace_of(y)
    return np.arange(y.shape[1]) if y.ndim == 2 else np.sort(backends.to_host(xp.unique_values(y)))
