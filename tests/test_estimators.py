"""The estimators beyond scikit-learn: other libraries' arrays, devices, what is more, files. See also test_parity."""

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.neural_network as theirs
from conftest import DEVICES, library
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import backprop_xp as bx
from backprop_xp import InputError, MLPClassifier, MLPRegressor, backends
from backprop_xp.callbacks import Callback
from backprop_xp.errors import StopTraining
from backprop_xp.estimators import SKOPS_TYPES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS, LABELS = DIGITS[:300] / 16, LABELS[:300]
CANCER, MALIGNANT = load_breast_cancer(return_X_y=True)
CANCER = StandardScaler().fit_transform(CANCER)
DIABETES, PROGRESSION = load_diabetes(return_X_y=True)
PROGRESSION = (PROGRESSION - PROGRESSION.mean()) / PROGRESSION.std()
BITS = np.stack([LABELS % 2, LABELS // 5], axis=1)
TWO = np.stack([PROGRESSION, -(PROGRESSION**2)], axis=1)
SMALL = {"hidden_layer_sizes": (12,), "max_iter": 4, "random_state": 3}
PROBLEMS = {
    "binary": (MLPClassifier, CANCER, MALIGNANT),
    "multiclass": (MLPClassifier, DIGITS, LABELS),
    "multilabel": (MLPClassifier, DIGITS, BITS),
    "regression": (MLPRegressor, DIABETES, PROGRESSION),
    "outputs": (MLPRegressor, DIABETES, TWO),
}
OPTIONS = {
    "plain": {},
    "stopping": {"early_stopping": True},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 10.0},
    "lbfgs": {"solver": "lbfgs"},
    "more": {"solver": "adamw", "dropout": 0.2, "clip_norm": 0.5, "learning_rate": "cosine", "activation": "gelu"},
}


@contextlib.contextmanager
def no_data_to_the_host(lib, n_samples):
    """Forbid that an array with as many rows as the data leaves array-api-strict's device, which stands for a GPU."""
    if lib.name != "array_api_strict":
        yield
        return
    cls = type(lib.array(0.0))

    def guarded(method):
        original = getattr(cls, method)

        def refuse(self, *arguments, **options):
            stays = method == "to_device" and arguments[0] == self.device
            assert stays or n_samples not in self.shape, "data were copied to the host"
            return original(self, *arguments, **options)

        return refuse

    with pytest.MonkeyPatch.context() as patch:
        for method in ("to_device", "__array__", "__buffer__", "__dlpack__"):
            if hasattr(cls, method):
                patch.setattr(cls, method, guarded(method))
        yield


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_arrays_of_other_libraries_stay_where_they_are(other, problem, options):
    cls, X, y = PROBLEMS[problem]
    expected = cls(**SMALL, **OPTIONS[options]).fit(X, y)
    there = other.array(X), other.array(y, "float64" if cls is MLPRegressor else "int64")
    with no_data_to_the_host(other, len(X)):
        fitted = cls(**SMALL, **OPTIONS[options]).fit(*there)
        outputs = [getattr(fitted, name)(there[0]) for name in ("predict", "predict_proba") if hasattr(fitted, name)]
        score = fitted.score(*there)
    for array in (*fitted.coefs_, *fitted.intercepts_, *outputs):
        assert type(array) is type(there[0])
        assert backends.of(array).label == backends.of(there[0]).label
    for W, V in zip(fitted.coefs_ + fitted.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        np.testing.assert_allclose(other.host(W), V, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(other.host(outputs[0]), expected.predict(X), rtol=1e-9, atol=1e-11)
    assert score == pytest.approx(expected.score(X, y), rel=1e-6)
    assert fitted.n_iter_ == expected.n_iter_


def test_the_check_that_data_stay_on_the_device_is_red_when_they_do_not():
    lib = library("array_api_strict")
    X = lib.array(DIGITS)
    with no_data_to_the_host(lib, len(DIGITS)), pytest.raises(AssertionError, match="copied to the host"):
        backends.to_host(X)


def test_numpy_in_and_numpy_out_with_another_library_between(other):
    flags = {"device": DEVICES.get(other.name, "cpu"), "backend": other.name}
    expected = MLPClassifier(**SMALL).fit(DIGITS, LABELS)
    fitted = MLPClassifier(**SMALL, **flags).fit(DIGITS, LABELS)
    for W, V in zip(fitted.coefs_, expected.coefs_, strict=True):
        assert type(W) is np.ndarray
        np.testing.assert_allclose(W, V, rtol=1e-9, atol=1e-11)
    assert type(fitted.predict_proba(DIGITS)) is np.ndarray
    np.testing.assert_array_equal(fitted.predict(DIGITS), expected.predict(DIGITS))


def test_a_fitted_estimator_moves_and_follows_its_input(other):
    device = DEVICES.get(other.name, "cpu")
    fitted = MLPClassifier(**SMALL).fit(CANCER, MALIGNANT)
    expected = fitted.predict_proba(CANCER)
    X = other.array(CANCER)
    np.testing.assert_allclose(other.host(fitted.predict_proba(X)), expected, rtol=1e-9)  # without being moved
    assert fitted.to(device, other.name) is fitted
    assert (fitted.device, fitted.backend) == (device, other.name)
    assert type(fitted.coefs_[0]) is type(X)
    assert type(fitted.predict_proba(X)) is type(X)
    assert type(fitted.predict(CANCER)) is np.ndarray
    fitted.to("cpu")
    assert type(fitted.coefs_[0]) is np.ndarray
    np.testing.assert_allclose(fitted.predict_proba(CANCER), expected, rtol=1e-9)


def test_training_goes_on_where_the_estimator_was_moved_to(other):
    expected = MLPClassifier(**SMALL).partial_fit(CANCER, MALIGNANT, classes=[0, 1])
    moved = pickle.loads(pickle.dumps(expected)).to(DEVICES.get(other.name, "cpu"), other.name)
    for estimator in (expected, moved):
        for _ in range(2):
            estimator.partial_fit(CANCER, MALIGNANT)
    np.testing.assert_allclose(other.host(moved.coefs_[0]), expected.coefs_[0], rtol=1e-9, atol=1e-11)


def test_flags_that_contradict_the_input_are_refused():
    torch = library("torch").array(DIGITS)
    for flags in ({"device": "cuda"}, {"backend": "numpy"}):
        with pytest.raises(InputError, match="torch on cpu, and is computed there"):
            MLPClassifier(**SMALL, **flags).fit(torch, LABELS)
    with pytest.raises(InputError, match="cuda"):
        MLPClassifier(**SMALL, device="cuda", backend="torch").fit(DIGITS, LABELS)


def test_labels_may_be_text_beside_an_array_on_a_device(other):
    names = np.array(["benign", "malignant"])[MALIGNANT]
    fitted = MLPClassifier(**SMALL).fit(other.array(CANCER), names)
    np.testing.assert_array_equal(
        fitted.predict(other.array(CANCER)), MLPClassifier(**SMALL).fit(CANCER, names).predict(CANCER)
    )


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (DIGITS[0], LABELS, "2D array"),
        (DIGITS[:0], LABELS[:0], "at least one sample"),
        (np.where(DIGITS > 0.9, np.nan, DIGITS), LABELS, "NaN or infinity"),
        (DIGITS, LABELS[:-1], "inconsistent numbers of samples"),
        (DIGITS, LABELS + 0.5, "continuous"),
        (DIGITS, np.stack([LABELS, LABELS], 1), "zeros and ones"),
    ],
)
def test_bad_arrays_are_refused_wherever_they_lie(other, X, y, match):
    with pytest.raises(ValueError, match=match):
        MLPClassifier(**SMALL).fit(other.array(X), other.array(y, str(y.dtype)))


def test_other_features_than_those_of_fit_are_refused(other):
    fitted = MLPClassifier(**SMALL).fit(other.array(DIGITS), other.array(LABELS, "int64"))
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 64 features"):
        fitted.predict(other.array(DIGITS[:, :3]))


def test_sparse_rows_are_filled_in_for_other_libraries(other):
    sparse = pytest.importorskip("scipy.sparse").csr_array(DIGITS)
    flags = {"device": DEVICES.get(other.name, "cpu"), "backend": other.name}
    fitted = MLPClassifier(**SMALL, **flags).fit(sparse, LABELS)
    np.testing.assert_allclose(
        fitted.predict_proba(sparse), MLPClassifier(**SMALL).fit(DIGITS, LABELS).predict_proba(DIGITS), rtol=1e-8
    )


@pytest.mark.parametrize("weight", ["balanced", {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize(("X", "y"), [(DIGITS, LABELS), (CANCER, MALIGNANT)], ids=["multiclass", "binary"])
def test_class_weight_is_a_sample_weight(lib, X, y, weight):
    from sklearn.utils.class_weight import compute_sample_weight

    own = np.random.default_rng(0).uniform(0.5, 2, len(y))
    expected = MLPClassifier(**SMALL).fit(X, y, own * compute_sample_weight(weight, y))
    given = lib.array(X), lib.array(y, "int64"), lib.array(own)
    fitted = MLPClassifier(**SMALL, class_weight=weight).fit(*given)
    np.testing.assert_allclose(lib.host(fitted.coefs_[0]), expected.coefs_[0], rtol=1e-9, atol=1e-11)


def test_class_weight_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"names \[7\], but the classes are \[0, 1\]"):
        MLPClassifier(**SMALL, class_weight={7: 1.0}).fit(CANCER, MALIGNANT)
    with pytest.raises(ValueError, match="one label a row"):
        MLPClassifier(**SMALL, class_weight="balanced").fit(DIGITS, BITS)
    with pytest.raises(ValueError, match="not for partial_fit"):
        MLPClassifier(**SMALL, class_weight="balanced").partial_fit(CANCER, MALIGNANT, classes=[0, 1])


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "pinball"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_cores_losses_are_minimised(loss, solver):
    start, end = (
        MLPRegressor(loss, (8,), "tanh", solver=solver, max_iter=n, alpha=0, random_state=0).fit(DIABETES * 20, TWO)
        for n in (1, 150)
    )
    assert end.loss_ < 0.8 * start.loss_
    assert end.out_activation_ == "identity"


def test_the_brier_score_is_a_loss():
    fitted = MLPClassifier(**{**SMALL, "max_iter": 60}, loss="squared_error").fit(CANCER, MALIGNANT)
    P = fitted.predict_proba(CANCER)[:, 1]
    penalty = 0.5 * fitted.alpha * sum((W**2).sum() for W in fitted.coefs_) / 200
    assert fitted.loss_ == pytest.approx(((P - MALIGNANT) ** 2).mean() + penalty, rel=0.05)  # of the epoch's steps
    assert fitted.score(CANCER, MALIGNANT) > 0.95


@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus"])
def test_the_cores_activations_learn(activation):
    fitted = MLPClassifier((16,), activation, max_iter=40, random_state=0).fit(CANCER, MALIGNANT)
    assert fitted.score(CANCER, MALIGNANT) > 0.95


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize(
    "schedule", ["step", "exponential", "cosine", "one_cycle", "warmup_cosine", bx.schedules.step(0.01, 20)]
)
def test_schedules_change_the_rate_of_every_stochastic_solver(solver, schedule):
    rates = []
    MLPClassifier(
        (8,), solver=solver, learning_rate=schedule, learning_rate_init=0.01, max_iter=30, tol=0, n_iter_no_change=99,
        callbacks=[lambda record: rates.append(record["learning_rate"])], random_state=0,
    ).fit(CANCER, MALIGNANT)  # fmt: skip
    assert len(rates) == 30
    assert rates[-1] < 0.002 < max(rates) <= 0.0100001


def test_adamw_decays_the_weights():
    norms = [
        np.linalg.norm(MLPClassifier((8,), solver="adamw", weight_decay=d, max_iter=50, random_state=0)
                       .fit(CANCER, MALIGNANT).coefs_[0])
        for d in (0.0, 5.0)
    ]  # fmt: skip
    assert norms[1] < 0.8 * norms[0]


def test_dropout_and_clipping_change_training_and_repeat():
    plain, dropped, again, clipped = (
        MLPClassifier(**SMALL, **more).fit(DIGITS, LABELS).coefs_[0]
        for more in ({}, {"dropout": 0.5}, {"dropout": 0.5}, {"clip_norm": 1e-3})
    )
    assert np.abs(plain - dropped).max() > 1e-4
    np.testing.assert_array_equal(dropped, again)
    assert np.abs(plain - clipped).max() > 1e-4


def test_dropout_leaves_the_first_weights_as_they_were():
    settings = {**SMALL, "max_iter": 1, "learning_rate_init": 1e-12}
    first, dropped = (MLPClassifier(**settings, dropout=d).fit(DIGITS, LABELS).coefs_[0] for d in (0.0, 0.5))
    np.testing.assert_allclose(first, dropped, atol=1e-10)


def test_lbfgs_refuses_what_needs_steps():
    for more in ({"dropout": 0.1}, {"clip_norm": 1.0}):
        with pytest.raises(InputError, match=next(iter(more))):
            MLPClassifier(**SMALL, solver="lbfgs", **more).fit(DIGITS, LABELS)
    with pytest.raises(InputError, match="X_val"):
        MLPClassifier(**SMALL, solver="lbfgs").fit(DIGITS, LABELS, X_val=DIGITS, y_val=LABELS)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_validation_rows_of_ones_own_are_recorded(lib, problem):
    cls, X, y = PROBLEMS[problem]
    kind = "float64" if cls is MLPRegressor else "int64"
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    val = {"X_val": lib.array(X_val), "y_val": lib.array(y_val, kind)}
    fitted = cls(**SMALL).fit(lib.array(X), lib.array(y, kind), **val)
    plain = cls(**SMALL).fit(lib.array(X), lib.array(y, kind))
    np.testing.assert_array_equal(lib.host(fitted.coefs_[0]), lib.host(plain.coefs_[0]))  # all rows, no effect
    assert len(fitted.validation_loss_curve_) == len(fitted.validation_scores_) == fitted.n_iter_
    assert fitted.validation_scores_[-1] == pytest.approx(fitted.score(*val.values()), rel=1e-6)
    assert fitted.validation_loss_curve_[-1] < fitted.validation_loss_curve_[0]
    assert plain.validation_scores_ is None
    assert plain.validation_loss_curve_ == []


def test_early_stopping_on_rows_of_ones_own_keeps_the_best_epoch():
    X, X_val, y, y_val = train_test_split(CANCER, MALIGNANT, random_state=0)
    fitted = MLPClassifier((16,), early_stopping=True, n_iter_no_change=3, random_state=0).fit(
        X, y, X_val=X_val, y_val=y_val
    )
    assert fitted.score(X_val, y_val) == fitted.best_validation_score_ == max(fitted.validation_scores_)
    assert fitted.n_iter_ < 200
    assert fitted.t_ == fitted.n_iter_ * len(X)  # nothing was held out
    with pytest.raises(ValueError, match="belong together"):
        fitted.fit(X, y, X_val=X_val)
    with pytest.raises(ValueError, match="classes not in"):
        fitted.fit(X, y, X_val=X_val, y_val=y_val + 1)


@pytest.mark.parametrize(
    "scoring", ["roc_auc", "neg_log_loss", lambda est, X, y: est.predict_proba(X)[y == 1, 1].mean()]
)
def test_early_stopping_watches_any_scorer(scoring):
    from sklearn.metrics import get_scorer

    fitted = MLPClassifier((8,), early_stopping=True, scoring=scoring, max_iter=20, random_state=0)
    X, X_val, y, y_val = train_test_split(CANCER, MALIGNANT, random_state=0)
    fitted.fit(X, y, X_val=X_val, y_val=y_val)
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    assert scorer(fitted, X_val, y_val) == pytest.approx(max(fitted.validation_scores_))


def test_early_stopping_may_watch_the_loss():
    fitted = MLPClassifier((8,), early_stopping=True, scoring="loss", max_iter=20, random_state=0).fit(
        CANCER, MALIGNANT
    )
    np.testing.assert_allclose(fitted.validation_scores_, -np.array(fitted.validation_loss_curve_))


def test_a_scorer_is_given_the_users_own_labels():
    names, seen = np.array(["benign", "malignant"])[MALIGNANT], []

    def scorer(estimator, X, y):
        seen.append(set(y.tolist()) | set(estimator.predict(X).tolist()))
        return 0.0

    MLPClassifier(**SMALL, early_stopping=True, scoring=scorer).fit(CANCER, names)
    assert seen[-1] == {"benign", "malignant"}


class Recorder(Callback):
    def __init__(self, stop_at=None):
        self.stop_at, self.events, self.batches = stop_at, [], 0

    def on_train_begin(self, trainer):
        self.events.append("begin")

    def on_batch_end(self, batch, loss):
        self.batches += 1

    def on_epoch_end(self, record):
        self.events.append(record["epoch"])
        self.record = record
        if record["epoch"] == self.stop_at:
            raise StopTraining("enough")

    def on_train_end(self, trainer):
        self.events.append(trainer.stopped)


def test_callbacks_see_every_epoch_and_may_stop():
    recorder = Recorder(stop_at=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = MLPClassifier(**SMALL, callbacks=[recorder], batch_size=100).fit(DIGITS, LABELS)
    assert recorder.events == ["begin", 1.0, 2.0, "enough"]
    assert recorder.batches == 6
    assert fitted.n_iter_ == 2
    assert recorder.record["loss"] == fitted.loss_
    assert set(recorder.record) == {"epoch", "loss", "learning_rate", "seconds"}


class StopsAtBatch(Callback):
    def __init__(self, batch, error):
        self.batch, self.error = batch, error

    def on_batch_end(self, batch, loss):
        if batch == self.batch:
            raise self.error


@pytest.mark.parametrize("batch", [0, 1])
def test_ctrl_c_keeps_what_was_learned(batch):
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fitted = MLPClassifier(**SMALL, batch_size=100, callbacks=[StopsAtBatch(batch, KeyboardInterrupt())]).fit(
            DIGITS, LABELS
        )
    assert fitted.n_iter_ == 0
    assert fitted.predict(DIGITS).shape == LABELS.shape


def test_progress_prints_an_epochs_figures():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        MLPClassifier(**SMALL, progress=True).fit(DIGITS, LABELS)
    assert out.getvalue().splitlines()[-1].startswith("epoch 4/4  loss ")


def test_training_that_diverges_ends_at_once_with_scikit_learns_error():
    recorder = Recorder()
    settings = {**SMALL, "max_iter": 50, "solver": "sgd", "learning_rate_init": 1e6}
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPRegressor(**settings, callbacks=[recorder]).fit(DIABETES, PROGRESSION * 100)
    assert recorder.events[-1] == "diverged"
    assert len(recorder.events) < 30


@pytest.mark.parametrize("n_units", [8, 600], ids=["packed", "by layer"])
def test_large_and_small_networks_are_scikit_learns(n_units):
    for solver in ("sgd", "adam"):
        ours, sklearns = (
            module.MLPClassifier((n_units, 5), solver=solver, max_iter=3, random_state=0).fit(DIGITS, LABELS)
            for module in (bx, theirs)
        )
        np.testing.assert_allclose(ours.coefs_[0], sklearns.coefs_[0], rtol=1e-9, atol=1e-11)


def test_pickles_made_on_a_device_load_without_it(other, tmp_path):
    y = other.array(MALIGNANT, "int64")
    fitted = MLPClassifier(**SMALL).fit(other.array(CANCER), y)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "torch", "cupy", "array_api_strict"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import joblib, numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import FunctionTransformer, StandardScaler
X, y = load_breast_cancer(return_X_y=True)
fitted = joblib.load({str(tmp_path / "fitted.joblib")!r})
print(fitted.score(StandardScaler().fit_transform(X), y), type(fitted.predict(X)).__name__, fitted.partial_fit(X, y).t_)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert float(out[0]) == pytest.approx(fitted.score(other.array(CANCER), y))
    assert out[1:] == ["ndarray", str(5 * len(CANCER))]


def test_a_pickle_of_a_device_that_is_not_there_computes_on_the_cpu():
    fitted = MLPClassifier(**SMALL).fit(DIGITS, LABELS).set_params(device="cuda:99")
    with pytest.warns(UserWarning, match="on the CPU from now on"):
        loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(DIGITS), MLPClassifier(**SMALL).fit(DIGITS, LABELS).predict(DIGITS))


@pytest.mark.parametrize(
    "y",
    [LABELS, LABELS > 4, np.array(list("abcdefghij"))[LABELS], LABELS.astype(float), BITS],
    ids=lambda y: y.dtype.str,
)
def test_a_classifiers_file(tmp_path, y):
    path = tmp_path / "classifier.safetensors"
    settings = {"class_weight": {y.tolist()[0]: 2.0}} if y.ndim == 1 else {}
    fitted = MLPClassifier(**SMALL, **settings).fit(DIGITS, y)
    fitted.save(path)
    loaded, model = MLPClassifier.load(path), bx.load(path)
    assert loaded.get_params() == fitted.get_params()
    assert loaded.predict(DIGITS).dtype == fitted.predict(DIGITS).dtype
    np.testing.assert_array_equal(loaded.predict(DIGITS), fitted.predict(DIGITS))
    np.testing.assert_array_equal(loaded.predict_proba(DIGITS), fitted.predict_proba(DIGITS))
    np.testing.assert_array_equal(model.predict(DIGITS), fitted.predict(DIGITS))
    assert (loaded.loss_curve_, loaded.t_, loaded.n_iter_) == (fitted.loss_curve_, fitted.t_, fitted.n_iter_)
    assert loaded.partial_fit(DIGITS, y).t_ == fitted.t_ + len(y)


@pytest.mark.parametrize("problem", ["regression", "outputs"])
def test_a_regressors_file(tmp_path, problem):
    _, X, y = PROBLEMS[problem]
    fitted = MLPRegressor("huber", **SMALL).fit(X, y)
    fitted.save(tmp_path / "regressor.safetensors")
    for loaded in (MLPRegressor.load(tmp_path / "regressor.safetensors"), bx.load(tmp_path / "regressor.safetensors")):
        np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    with pytest.raises(InputError, match=r"holds no MLPClassifier: MLPRegressor\.load reads it"):
        MLPClassifier.load(tmp_path / "regressor.safetensors")


def test_names_of_features_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DIABETES, columns=[f"x{n}" for n in range(10)])
    MLPRegressor(**SMALL).fit(frame, PROGRESSION).save(tmp_path / "named.safetensors")
    loaded = MLPRegressor.load(tmp_path / "named.safetensors")
    assert loaded.feature_names_in_.tolist() == list(frame)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"x0": "other"}))


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match=r"callbacks=.* cannot be kept in a file"):
        MLPClassifier(**SMALL, callbacks=[print]).fit(DIGITS, LABELS).save(tmp_path / "no")
    bx.Trainer(bx.Network((2, 2), output="softmax")).save(tmp_path / "trainer.safetensors")
    with pytest.raises(InputError, match=r"holds no MLPClassifier: backprop_xp\.load reads it"):
        MLPClassifier.load(tmp_path / "trainer.safetensors")
    assert list(tmp_path.iterdir()) == [tmp_path / "trainer.safetensors"]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_pipelines_by_skops_with_the_fixed_allowlist(problem):
    skops = pytest.importorskip("skops.io")
    cls, X, y = PROBLEMS[problem]
    pipeline = make_pipeline(StandardScaler(), cls(**SMALL)).fit(X, y)
    written = skops.dumps(pipeline)
    assert set(skops.get_untrusted_types(data=written)) <= set(SKOPS_TYPES)
    np.testing.assert_array_equal(skops.loads(written, trusted=SKOPS_TYPES).predict(X), pipeline.predict(X))


def test_a_grid_search_over_what_is_more():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(**{**SMALL, "max_iter": 20})),
        {"mlpclassifier__dropout": [0.0, 0.2], "mlpclassifier__learning_rate": ["constant", "cosine"]},
        cv=2, n_jobs=2,
    ).fit(CANCER, MALIGNANT)  # fmt: skip
    assert search.best_score_ > 0.8


def test_a_clone_has_the_parameters_and_nothing_fitted():
    fitted = MLPClassifier(**SMALL, device="cpu", dropout=0.1).fit(DIGITS, LABELS)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "coefs_")


def test_the_warning_of_lbfgs_says_what_helps():
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge after 1 iteration.*Increase max_iter \(1\)"):
        MLPClassifier(solver="lbfgs", max_iter=1).fit(DIGITS, LABELS)


def test_verbose_lbfgs_prints_each_iteration(capsys):
    MLPClassifier(**SMALL, solver="lbfgs", verbose=True).fit(DIGITS, LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Iteration {n}" for n in range(1, 5)]


# What a second pair of eyes found, beside scikit-learn's own behaviour where it has one.


def test_scores_of_targets_of_another_shape_are_refused(other):
    X, y = other.array(CANCER), other.array(MALIGNANT, "int64")
    fitted = MLPClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="has shape"):
        fitted.score(X, y[:1])
    assert fitted.score(X, other.array(MALIGNANT[:, None], "int64")) == fitted.score(X, y)
    weight = np.random.default_rng(0).uniform(size=len(CANCER))
    expected = MLPClassifier(**SMALL).fit(CANCER, MALIGNANT).score(CANCER, MALIGNANT, weight)
    assert fitted.score(X, y, other.array(weight)) == pytest.approx(expected, rel=1e-12)
    regressor = MLPRegressor(**SMALL).fit(other.array(DIABETES), other.array(PROGRESSION))
    with pytest.raises(ValueError, match="has shape"):
        regressor.score(other.array(DIABETES), other.array(TWO))
    assert regressor.score(other.array(DIABETES), PROGRESSION.tolist()) == pytest.approx(
        MLPRegressor(**SMALL).fit(DIABETES, PROGRESSION).score(DIABETES, PROGRESSION)
    )


@pytest.mark.parametrize(
    ("problem", "y_val"),
    [
        ("regression", TWO),
        ("outputs", PROGRESSION),
        ("multilabel", LABELS),
        ("multilabel", BITS[:, [0, 1, 0]]),
        ("binary", TWO),
    ],
)
def test_validation_targets_of_another_shape_are_refused(lib, problem, y_val):
    cls, X, y = PROBLEMS[problem]
    X, y, y_val = X[:300], y[:300], np.resize(y_val, (300, *y_val.shape[1:])).round()
    kind = "float64" if cls is MLPRegressor else "int64"
    with pytest.raises(ValueError, match=r"outputs, not the|has shape|multi-output|Unknown label|zeros and ones"):
        cls(**SMALL).fit(lib.array(X), lib.array(y, kind), X_val=lib.array(X), y_val=lib.array(y_val, kind))


@pytest.mark.parametrize("there_first", [True, False])
def test_training_follows_its_input_from_one_library_to_another(other, there_first):
    here, there = (CANCER, MALIGNANT), (other.array(CANCER), other.array(MALIGNANT, "int64"))
    first, second = (there, here) if there_first else (here, there)
    expected = MLPClassifier(**SMALL).fit(*here).partial_fit(*here)
    fitted = MLPClassifier(**SMALL).fit(*first).partial_fit(*second)
    np.testing.assert_allclose(other.host(fitted.coefs_[0]), expected.coefs_[0], rtol=1e-9, atol=1e-11)
    assert type(fitted.coefs_[0]) is type(second[0])
    recorded = MLPClassifier(**SMALL).fit(*first, X_val=second[0], y_val=second[1])
    assert recorded.validation_scores_[-1] == pytest.approx(recorded.score(*second))


def of_both(cls, *fits, **settings):
    """Return our model and scikit-learn's after the same calls."""
    models = []
    for module in (bx, theirs):
        model = getattr(module, cls.__name__)(**{**SMALL, **settings})
        for call in fits:
            call(model)
        models.append(model)
    return models


def test_one_class_is_scored_and_kept_as_scikit_learns(tmp_path):
    ours, sklearns = of_both(MLPClassifier, lambda m: m.fit(CANCER, 0 * MALIGNANT), early_stopping=True)
    assert ours.validation_scores_ == sklearns.validation_scores_
    ours.save(tmp_path / "one.safetensors")
    for loaded in (MLPClassifier.load(tmp_path / "one.safetensors"), bx.load(tmp_path / "one.safetensors")):
        np.testing.assert_array_equal(loaded.predict(CANCER), sklearns.predict(CANCER))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_scores_that_are_no_numbers_leave_scikit_learns_weights(solver):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, sklearns = of_both(
            MLPRegressor, lambda m: m.fit(DIABETES * 1e200, PROGRESSION), early_stopping=True, solver=solver
        )
    np.testing.assert_allclose(ours.coefs_[0], sklearns.coefs_[0], rtol=1e-12)
    assert ours.n_iter_ == sklearns.n_iter_
    assert np.isnan(ours.validation_scores_).all()


def test_early_stopping_twice_from_warm_weights_is_scikit_learns():
    ours, sklearns = of_both(
        MLPClassifier, *[lambda m: m.fit(CANCER, MALIGNANT)] * 3, early_stopping=True, warm_start=True, max_iter=6
    )
    np.testing.assert_allclose(ours.coefs_[0], sklearns.coefs_[0], rtol=1e-10)
    np.testing.assert_allclose(ours.validation_scores_, sklearns.validation_scores_, rtol=1e-12)


def test_an_optimizer_keeps_what_it_began_with_as_scikit_learns():
    def call(model):
        model.partial_fit(CANCER, MALIGNANT, classes=[0, 1])

    def changed(model):
        model.set_params(solver="adam", momentum=0.1, learning_rate_init=0.5, nesterovs_momentum=False)

    ours, sklearns = of_both(MLPClassifier, call, call, changed, call, call, solver="sgd", learning_rate="invscaling")
    np.testing.assert_allclose(ours.coefs_[0], sklearns.coefs_[0], rtol=1e-10)


def test_another_number_of_layers_cannot_go_on():
    fitted = MLPClassifier(**SMALL, warm_start=True).fit(DIGITS, LABELS).set_params(hidden_layer_sizes=(12, 3))
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(12, 3\): `coefs_` have 2 layers"):
        fitted.fit(DIGITS, LABELS)


def test_scorers_take_weights_if_they_do_and_frames_give_no_warning():
    pandas = pytest.importorskip("pandas")
    frame, weights = pandas.DataFrame(CANCER, columns=[f"x{n}" for n in range(30)]), []

    def weighted(estimator, X, y, sample_weight=None):
        weights.append(sample_weight)
        return estimator.score(X, y)

    settings = {**SMALL, "early_stopping": True, "class_weight": "balanced"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPClassifier(**settings, scoring=lambda estimator, X, y: estimator.score(X, y)).fit(frame, MALIGNANT)
        MLPClassifier(**settings, scoring=weighted).fit(frame, MALIGNANT)
    assert weights[0].shape == (57,)


def test_a_learning_rate_may_be_a_number_and_may_stop_training():
    calls = []

    def rate(count, xp):
        calls.append(count)
        if len(calls) > 3:
            raise StopTraining("enough")
        return 0.01

    recorder = Recorder()
    MLPClassifier(**SMALL, learning_rate=rate, callbacks=[recorder]).fit(DIGITS, LABELS)
    assert recorder.events[-1] == "enough"


def test_what_a_solver_or_partial_fit_has_no_use_for_is_refused():
    for more in ({"callbacks": [print]}, {"scoring": "accuracy"}):
        with pytest.raises(InputError, match=f"no steps for {next(iter(more))}"):
            MLPClassifier(**SMALL, solver="lbfgs", **more).fit(DIGITS, LABELS)
    with pytest.raises(ValueError, match="learning_rate='cosine' is not for partial_fit"):
        MLPClassifier(**SMALL, learning_rate="cosine").partial_fit(DIGITS, LABELS, classes=range(10))
    with pytest.raises(ValueError, match="must not be negative"):
        MLPRegressor("poisson", **SMALL).fit(DIABETES, PROGRESSION)
    with pytest.raises(ValueError, match="must be numbers"):
        MLPRegressor(**SMALL).fit(DIABETES, PROGRESSION.astype(str))


def test_files_that_do_not_fit_their_network_are_refused(tmp_path):
    path = tmp_path / "good.safetensors"
    MLPClassifier(**SMALL).fit(CANCER, MALIGNANT).save(path)
    arrays = load_file(path)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["backprop_xp"])
    estimator = header["extra"]["estimator"]
    damages = [
        {"fitted": {**estimator["fitted"], "n_features_in_": 99}},
        {"fitted": {**estimator["fitted"], "loss_curve_": "os.system"}},
        {"fitted": {name: value for name, value in estimator["fitted"].items() if name != "n_outputs_"}},
        {"params": {**estimator["params"], "class_weight": "os.system"}},
        {"params": {**estimator["params"], "no_such": 1}},
        {"fitted": {**estimator["fitted"], "out_activation_": "softmax"}},
        {"fitted": {**estimator["fitted"], "out_activation_": 7}},
        {"dtype": "no such"},
    ]
    for damage in damages:
        changed = {**header, "extra": {"estimator": {**estimator, **damage}}}
        save_file(arrays, path, metadata={"backprop_xp": json.dumps(changed)})
        with pytest.raises(InputError, match="estimator in it is damaged"):
            MLPClassifier.load(path)


def test_dates_as_labels_cannot_be_kept(tmp_path):
    dates = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")[MALIGNANT]
    with pytest.raises(InputError, match=r"classes_=.* cannot be kept"):
        MLPClassifier(**SMALL).fit(CANCER, dates).save(tmp_path / "no")


def test_sparse_labels_come_back_sparse_from_a_file(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    fitted = MLPClassifier(**SMALL).fit(DIGITS, sparse.csr_matrix(BITS))
    fitted.save(tmp_path / "sparse.safetensors")
    predicted = MLPClassifier.load(tmp_path / "sparse.safetensors").predict(DIGITS)
    assert sparse.issparse(predicted)
    assert (predicted != fitted.predict(DIGITS)).nnz == 0


def test_jax_computes_in_float32_whatever_it_was_told():
    code = """
import numpy as np
from backprop_xp import MLPClassifier
X, y = np.eye(8, dtype="float32"), np.arange(8) % 2
fitted = MLPClassifier(backend="jax", max_iter=2).fit(X, y)
print(fitted.predict(X.astype("float64")).shape)
"""
    pytest.importorskip("jax")
    environment = {**os.environ, "JAX_ENABLE_X64": "0", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "(8,)"


@pytest.mark.parametrize(("tol", "n_epochs"), [(2.0**-7, 12), (2.0**-7 * 1.01, 1 + 3 + 1)])
def test_an_improvement_by_tol_is_one_and_by_less_is_none(tol, n_epochs):
    scores = iter(np.arange(1, 100) * 2.0**-7)
    fitted = MLPClassifier(
        **{**SMALL, "max_iter": 12}, early_stopping=True, tol=tol, n_iter_no_change=3,
        scoring=lambda estimator, X, y: next(scores),
    ).fit(DIGITS, LABELS)  # fmt: skip
    assert fitted.n_iter_ == n_epochs  # the first betters nothing known; patience is exceeded by the fourth after it


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_lbfgs_is_scikit_learns_bit_for_bit(problem, dtype):
    cls, X, y = PROBLEMS[problem]
    ours, sklearns = of_both(
        cls, *[lambda m: m.fit(X.astype(dtype), y)] * 2, solver="lbfgs", activation="tanh", max_iter=40, warm_start=True
    )
    for W, V in zip(ours.coefs_ + ours.intercepts_, sklearns.coefs_ + sklearns.intercepts_, strict=True):
        np.testing.assert_array_equal(W, V, strict=True)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_numpy_never_fills_in_sparse_rows(solver, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    X, original = sparse.csr_array(DIGITS), sparse.csr_array.toarray

    def toarray(self, *arguments, **options):
        assert self.shape[1] != X.shape[1], "the rows were filled in"  # scikit-learn fills in labels
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(X), "toarray", toarray)
    MLPClassifier(**SMALL, solver=solver, early_stopping=solver == "adam").fit(X, LABELS).predict(X)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_frames_are_scikit_learns_input(library, problem):
    module = pytest.importorskip(library)
    cls, X, y = PROBLEMS[problem]
    frame = module.DataFrame({f"x{n}": column for n, column in enumerate(X.T)})
    ours, sklearns = of_both(cls, lambda m: m.fit(frame, module.Series(y)))
    assert (
        ours.feature_names_in_.tolist() == sklearns.feature_names_in_.tolist() == [f"x{n}" for n in range(X.shape[1])]
    )
    np.testing.assert_allclose(ours.coefs_[0], sklearns.coefs_[0], rtol=1e-10)
    np.testing.assert_allclose(ours.predict(frame), sklearns.predict(frame), rtol=1e-10)


def test_weights_and_validation_rows_are_routed_through_a_pipeline():
    X, X_val, y, y_val = train_test_split(CANCER, MALIGNANT, random_state=0)
    weight = np.random.default_rng(0).uniform(size=len(X))
    expected = MLPClassifier(**SMALL).fit(X, y, weight, X_val=X_val, y_val=y_val)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = MLPClassifier(**SMALL).set_fit_request(sample_weight=True, X_val=True, y_val=True)
        pipeline = make_pipeline(FunctionTransformer(), classifier)
        pipeline.fit(X, y, sample_weight=weight, X_val=X_val, y_val=y_val)
        with pytest.raises(TypeError, match="unexpected"):
            make_pipeline(FunctionTransformer(), MLPClassifier(**SMALL)).fit(X, y, nothing=weight)
    np.testing.assert_array_equal(pipeline[-1].coefs_[0], expected.coefs_[0])
    assert pipeline[-1].validation_scores_ == expected.validation_scores_


def test_a_device_that_is_not_there_is_refused_before_the_first_fit_also_in_a_worker():
    unfitted = pickle.loads(pickle.dumps(MLPClassifier(**SMALL, device="cuda:99")))
    assert unfitted.device == "cuda:99"
    with pytest.raises(InputError, match="cuda"):
        unfitted.fit(DIGITS, LABELS)


@pytest.mark.parametrize("engine", ["jax", "torch", "loops"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_every_engine_gives_the_same_fit(solver, engine):
    pytest.importorskip({"loops": "numba"}.get(engine, engine))
    X, y = DIGITS[:, 20:40], LABELS
    settings = {"hidden_layer_sizes": (7,), "solver": solver, "max_iter": 10, "random_state": 0, "batch_size": 40}
    expected = MLPClassifier(**settings).fit(X, y)
    actual = MLPClassifier(**settings, engine=engine).fit(X, y)
    np.testing.assert_allclose(actual.loss_curve_, expected.loss_curve_, rtol=1e-10)
    for W, V in zip(actual.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-8, atol=1e-12)
        assert W.flags.writeable


@pytest.mark.parametrize(("first", "second"), [("eager", "jax"), ("jax", "eager"), ("auto", "loops")])
def test_partial_fit_goes_on_with_another_engine(first, second):
    for module in ("jax", "numba"):
        pytest.importorskip(module)
    classifier, same = (MLPClassifier((7,), random_state=0, engine=first) for _ in range(2))
    for one in (classifier, same):
        one.partial_fit(DIGITS, LABELS, classes=range(10))
    classifier.set_params(engine=second).partial_fit(DIGITS, LABELS)
    same.partial_fit(DIGITS, LABELS)
    np.testing.assert_allclose(classifier.coefs_[0], same.coefs_[0], rtol=1e-8, atol=1e-12)


def test_callbacks_hear_what_the_engine_says():
    pytest.importorskip("jax")
    notes = []

    class Hearing(Callback):
        def on_note(self, line):
            notes.append(line)

    MLPClassifier((13,), max_iter=2, engine="jax", callbacks=[Hearing()]).fit(DIGITS[:, 11:], LABELS)
    assert notes
    assert all(line.startswith("jax: compiled a step of ") for line in notes)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_batch_without_any_weight_counts_for_nothing(solver):
    """As bootstrap counts leave a short last batch, one time in three."""
    settings = {"solver": solver, "batch_size": 16, "max_iter": 1, "shuffle": False, "momentum": 0.0, "random_state": 0}
    weight = np.r_[np.ones(16), np.zeros(1)]
    for model, y in ((MLPClassifier, MALIGNANT), (MLPRegressor, CANCER[:, 0])):
        both = model(hidden_layer_sizes=(5,), **settings).fit(CANCER[:17], y[:17], weight)
        alone = model(hidden_layer_sizes=(5,), **settings).fit(CANCER[:16], y[:16], weight[:16])
        assert np.isfinite(both.loss_)
        if solver == "sgd":  # adam's moments move on
            for a, b in zip(both.coefs_ + both.intercepts_, alone.coefs_ + alone.intercepts_, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)
        assert all(np.isfinite(leaf).all() for leaf in both.coefs_ + both.intercepts_)


def test_settings_of_numpys_leave_float32_what_it_is():
    X = DIGITS.astype(np.float32)
    for solver in ("sgd", "adam"):
        model = MLPClassifier((8,), solver=solver, momentum=np.float64(0.9), beta_1=np.float64(0.8), max_iter=2,
                              alpha=np.float64(1e-3), learning_rate_init=np.float64(0.01))  # fmt: skip
        assert {leaf.dtype for leaf in model.fit(X, LABELS).coefs_} == {np.dtype("float32")}


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_negative_weights_are_taken_as_scikit_learn_takes_them(solver):
    """As physicists weigh events: the sum of a batch may be below 0."""
    weight = np.random.default_rng(0).normal(-0.3, 1.0, len(CANCER))
    settings = {"solver": solver, "max_iter": 5, "batch_size": 64, "learning_rate_init": 1e-4, "random_state": 0}
    ours, other = (
        model(hidden_layer_sizes=(5,), **settings).fit(CANCER, MALIGNANT, weight)
        for model in (MLPClassifier, theirs.MLPClassifier)
    )
    for a, b in zip(ours.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_classes_may_be_named_again_beside_labels_on_a_device():
    strict = pytest.importorskip("array_api_strict")
    there = strict.Device("device1")
    X, y = (strict.asarray(array, device=there) for array in (CANCER, MALIGNANT))
    model = MLPClassifier((4,))
    for _ in range(2):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not the same as on last call to partial_fit"):
        model.partial_fit(X, y, classes=[0, 1, 2])


def test_lbfgs_of_float32_rows_predicts_where_float32_is_all_there_is():
    pytest.importorskip("jax")
    code = """
import numpy as np
from backprop_xp import MLPClassifier
X, y = np.random.default_rng(0).normal(size=(60, 3)).astype("f4"), np.arange(60) % 2
model = MLPClassifier((4,), solver="lbfgs", backend="jax", max_iter=3).fit(X, y)
print(model.predict(X).shape, model.coefs_[0].dtype)
"""
    environment = {**os.environ, "JAX_ENABLE_X64": "0", "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.stdout.split("\n")[0] == "(60,) float32", ran.stderr


def test_partial_fit_after_a_planned_rate_begins_another_optimizer():
    model = MLPClassifier((8,), learning_rate="cosine", max_iter=3, random_state=0).fit(DIGITS, LABELS)
    before = model.set_params(learning_rate="constant").coefs_[0].copy()
    model.partial_fit(DIGITS, LABELS)
    assert not np.array_equal(model.coefs_[0], before)


def test_a_fit_that_is_refused_leaves_no_optimizer_of_another_rule():
    model = MLPClassifier((8,), solver="sgd", max_iter=2, random_state=0).fit(DIGITS, LABELS)
    with pytest.raises(ValueError, match="typo"):
        model.set_params(solver="adam", scoring="typo").fit(DIGITS, LABELS)
    model.set_params(scoring=None).partial_fit(DIGITS, LABELS)
    assert np.isfinite(model.coefs_[0]).all()


def test_held_out_rows_without_weight_are_refused_as_by_scikit_learn():
    weight = np.r_[np.ones(10), np.zeros(30)]

    def refused(model, seed):
        try:
            model((4,), early_stopping=True, max_iter=2, random_state=seed).fit(DIGITS[:40], LABELS[:40] > 4, weight)
        except ValueError as error:
            return "at least one non-zero number" in str(error)
        return None

    found = [refused(MLPClassifier, seed) for seed in range(12)]
    assert found == [refused(theirs.MLPClassifier, seed) for seed in range(12)]
    assert True in found
    assert None in found


def test_ctrl_c_ends_lbfgs_with_its_last_iteration(monkeypatch):
    from backprop_xp.estimators.lbfgs import Objective

    evaluated, calls = Objective.__call__, []

    def interrupted(self, x):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return evaluated(self, x)

    monkeypatch.setattr(Objective, "__call__", interrupted)
    model = MLPClassifier((8,), solver="lbfgs", random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(DIGITS, LABELS)
    monkeypatch.undo()
    stopped = MLPClassifier((8,), solver="lbfgs", random_state=0, max_iter=model.n_iter_).fit(DIGITS, LABELS)
    assert 5 < model.n_iter_ < 20
    assert model.loss_ == pytest.approx(stopped.loss_)
    np.testing.assert_array_equal(model.coefs_[0], stopped.coefs_[0])


def test_each_warm_start_draws_masks_of_its_own():
    model = MLPClassifier((8,), dropout=0.5, warm_start=True, max_iter=1, random_state=0)
    seeds = [model.fit(DIGITS, LABELS)._dropout_seed for _ in range(3)]
    assert len(set(seeds)) == 3
    model.partial_fit(DIGITS, LABELS)
    assert model._dropout_seed == seeds[-1]  # whose steps are counted on


def test_the_score_of_early_stopping_is_a_count_of_rows():
    """A mean in float32 of 851 right ones of 1,000 is another number, and stops at other epochs."""
    X = np.repeat(DIGITS, 4, axis=0).astype(np.float32)[:1111]
    y = np.random.default_rng(0).integers(0, 2, 1111)
    settings = {"early_stopping": True, "max_iter": 4, "validation_fraction": 0.9, "random_state": 0}
    ours, other = (
        model(hidden_layer_sizes=(4,), **settings).fit(X, y) for model in (MLPClassifier, theirs.MLPClassifier)
    )
    assert all((score * 1000).is_integer() for score in ours.validation_scores_)
    np.testing.assert_allclose(ours.validation_scores_, other.validation_scores_, rtol=0, atol=0.003)


def test_estimators_that_wrote_logs_can_be_cloned_and_pickled(tmp_path):
    from backprop_xp.callbacks import JsonLines

    callbacks = [JsonLines(tmp_path / "log.jsonl")]
    with contextlib.suppress(InputError):
        callbacks.append(bx.TensorBoard(tmp_path / "events"))
    model = clone(MLPClassifier((4,), max_iter=2, callbacks=callbacks)).fit(DIGITS, LABELS)
    again = pickle.loads(pickle.dumps(clone(model).fit(DIGITS, LABELS)))
    assert again.fit(DIGITS, LABELS).n_iter_ == 2


@pytest.mark.parametrize(
    "settings", [{"device": "cuda", "engine": "cuda_graph"}, {"backend": "cupy"}, {"device": "cuda"}]
)
def test_pickles_of_a_machine_with_more_predict_on_the_cpu(settings, monkeypatch):
    def select(device, backend=None, dtype="float32"):
        if device != "cpu" or backend not in (None, "numpy"):
            raise InputError(f"no {device} here")
        return chosen(device, backend, dtype)

    model = MLPClassifier((4,), max_iter=2, random_state=0).fit(DIGITS, LABELS)
    expected, chosen = model.predict(DIGITS), backends.select
    state = pickle.dumps(model.set_params(**settings))
    monkeypatch.setattr(backends, "select", select)
    with pytest.warns(UserWarning, match="computes on the CPU from now on"):
        again = pickle.loads(state)
    np.testing.assert_array_equal(again.predict(DIGITS), expected)
