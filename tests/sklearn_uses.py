"""What people do with scikit-learn's MLP, a function a use: a script that knows nothing of this package.

It prints JSON: for every use the figures it found and the kinds of warning, or its traceback.
tests/test_sklearn_uses.py runs it by plain Python and under `python -m backprop_xp.accel`.
"""

import contextlib
import io
import json
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_circles,
    make_classification,
    make_moons,
    make_multilabel_classification,
    make_regression,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.impute import SimpleImputer
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    partial_dependence,
    permutation_importance,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import classification_report, confusion_matrix, log_loss, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    LearningCurveDisplay,
    RandomizedSearchCV,
    ValidationCurveDisplay,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor, RegressorChain
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, QuantileTransformer, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 15, "learning_rate_init": 0.01, "random_state": 0}
USES = {}


def use(function):
    """Enter the function into the table of uses."""
    USES[function.__name__] = function
    return function


def scaled(load, n_samples=None):
    """A bundled data set with its columns standardised, cut to so many rows."""
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X)[:n_samples], y[:n_samples]


def small(**settings):
    """A classifier that is quick to fit."""
    return MLPClassifier(**{**SMALL, **settings})


def small_regressor(**settings):
    """A regressor that is quick to fit."""
    return MLPRegressor(**{**SMALL, **settings})


# --- training


@use
def training_strategies_on_toy_sets():
    strategies = {
        "constant": {"solver": "sgd", "learning_rate": "constant", "momentum": 0, "learning_rate_init": 0.2},
        "constant with momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
        "constant with Nesterov's momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True},
        "inverse scaling": {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0, "learning_rate_init": 0.2},
        "inverse scaling with momentum": {"solver": "sgd", "learning_rate": "invscaling", "nesterovs_momentum": False},
        "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.2},
        "adam": {"solver": "adam", "learning_rate_init": 0.01},
    }
    sets = {
        "iris": load_iris(return_X_y=True),
        "digits": load_digits(return_X_y=True),
        "circles": make_circles(noise=0.2, factor=0.5, random_state=1),
        "moons": make_moons(noise=0.3, random_state=0),
    }
    found = {}
    for name, (X, y) in sets.items():
        X = MinMaxScaler().fit_transform(X)
        for strategy, settings in strategies.items():
            model = MLPClassifier(max_iter=10 if name == "digits" else 60, random_state=0, **settings).fit(X, y)
            found[f"{name}, {strategy}"] = [model.score(X, y), model.loss_, model.n_iter_, *model.loss_curve_]
    return found


@use
def varying_alpha_on_a_mesh():
    sets = [
        make_classification(40, 2, n_redundant=0, n_clusters_per_class=1, random_state=0),
        make_moons(40, noise=0.3, random_state=0),
        make_circles(40, noise=0.2, factor=0.5, random_state=1),
    ]
    found = []
    for X, y in sets:
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
        for alpha in np.logspace(-1, 1, 3):
            model = make_pipeline(
                StandardScaler(),
                MLPClassifier((10, 10), solver="lbfgs", alpha=alpha, random_state=1, max_iter=25, early_stopping=True),
            ).fit(X_train, y_train)
            xx, yy = np.meshgrid(np.linspace(-3, 3, 7), np.linspace(-3, 3, 7))
            Z = model.predict_proba(np.column_stack([xx.ravel(), yy.ravel()]))[:, 1]
            found.append([model.score(X_test, y_test), *Z])
    return found


@use
def decision_boundary():
    X, y = make_moons(60, noise=0.2, random_state=3)
    model = small(max_iter=80, learning_rate_init=0.05).fit(X, y)
    display = DecisionBoundaryDisplay.from_estimator(model, X, response_method="predict_proba", grid_resolution=9)
    plt.close(display.figure_)
    return display.response


@use
def first_layer_as_images():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, test_size=0.3)
    model = MLPClassifier(
        (16,), solver="sgd", alpha=1e-4, max_iter=8, verbose=False, random_state=1, learning_rate_init=0.2
    ).fit(X_train, y_train)
    vmin, vmax = model.coefs_[0].min(), model.coefs_[0].max()
    figure, axes = plt.subplots(4, 4)
    for coef, ax in zip(model.coefs_[0].T, axes.ravel(), strict=True):
        ax.matshow(coef.reshape(8, 8), cmap="gray", vmin=0.5 * vmin, vmax=0.5 * vmax)
    figure.canvas.draw()
    plt.close(figure)
    return [vmin, vmax, model.score(X_train, y_train), model.score(X_test, y_test), model.coefs_[0].T.reshape(16, 8, 8)]


@use
def loss_and_validation_curves():
    X, y = scaled(load_digits, 600)
    model = small(hidden_layer_sizes=(32,), early_stopping=True, max_iter=40, n_iter_no_change=3).fit(X, y)
    return [model.loss_curve_, model.validation_scores_, model.best_validation_score_, model.n_iter_, model.t_]


@use
def partial_fit_in_chunks():
    X, y = scaled(load_digits, 800)
    model = small(hidden_layer_sizes=(32,))
    for start in range(0, 800, 100):
        model.partial_fit(X[start : start + 100], y[start : start + 100], classes=np.arange(10))
    return [model.loss_curve_, model.score(X, y), model.n_iter_, model.t_]


@use
def warm_start_with_a_look_at_every_epoch():
    X, y = scaled(load_wine)
    model = small(max_iter=1, warm_start=True, solver="sgd", learning_rate_init=0.05)
    return [[model.fit(X, y).score(X, y), model.loss_] for _ in range(12)]


@use
def what_verbose_prints():
    X, y = scaled(load_iris)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        small(verbose=True, max_iter=4).fit(X, y)
        small_regressor(verbose=True, max_iter=400, early_stopping=True, tol=1.0).fit(X, y)
    return [
        [float(word.rstrip(".")) if word.rstrip(".").replace(".", "").isdigit() else word for word in line.split()]
        for line in out.getvalue().splitlines()
    ]


# --- pictures of a fitted model


def priced():
    """Bicycles hired by hour, temperature and rain: made up, with the bumps of a real one."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"hour": rng.integers(0, 24, 400) * 1.0, "temp": rng.normal(15, 8, 400), "rain": rng.random(400)}
    )
    hired = 50 * np.exp(-(((frame["hour"] - 8) / 3) ** 2)) + 2 * frame["temp"] - 30 * frame["rain"]
    return frame, hired - hired.mean()


@use
def partial_dependence_of_a_pipeline():
    X, y = priced()
    model = make_pipeline(
        QuantileTransformer(n_quantiles=100),
        MLPRegressor(
            hidden_layer_sizes=(30, 15), learning_rate_init=0.01, early_stopping=True, random_state=0, max_iter=60
        ),
    ).fit(X, y)
    one = partial_dependence(model, X, ["hour"], grid_resolution=8)
    two = partial_dependence(model, X, ["hour", "temp"], kind="average", grid_resolution=4)
    each = partial_dependence(model, X, ["temp"], kind="individual", grid_resolution=3)
    display = PartialDependenceDisplay.from_estimator(
        model, X, ["temp", "rain", ("temp", "rain")], grid_resolution=5, subsample=20, random_state=0
    )
    display.figure_.canvas.draw()
    lines = [line.get_ydata() for line in display.lines_.ravel() if line is not None]
    plt.close(display.figure_)
    return [model.score(X, y), one["average"], two["average"], each["individual"][:, :5], lines]


@use
def importance_by_permutation():
    X, y = scaled(load_wine)
    result = permutation_importance(small(max_iter=40).fit(X, y), X, y, n_repeats=3, random_state=0)
    return [result.importances_mean, result.importances_std]


# --- choosing a model


@use
def scores_by_cross_validation():
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), small())
    several = cross_validate(model, X, y, cv=3, scoring=("roc_auc", "neg_log_loss"), return_train_score=True)
    figures = {name: values for name, values in several.items() if not name.endswith("_time")}
    return [cross_val_score(model, X, y, cv=4), cross_val_predict(model, X, y, cv=3, method="predict_proba"), figures]


@use
def grid_search_with_two_workers():
    X, y = scaled(load_digits, 500)
    grid = {"hidden_layer_sizes": [(16,), (8, 8)], "alpha": [1e-4, 1.0], "activation": ["relu", "tanh"]}
    search = GridSearchCV(small(), grid, cv=3, n_jobs=2).fit(X, y)
    return [search.cv_results_["mean_test_score"], search.best_params_, search.best_estimator_.loss_]


@use
def random_search_over_a_pipeline():
    X, y = load_diabetes(return_X_y=True)
    model = Pipeline([("scale", StandardScaler()), ("mlp", small_regressor(solver="lbfgs"))])
    settings = {"mlp__alpha": [0.001, 0.1, 10.0], "mlp__activation": ["logistic", "identity"]}
    search = RandomizedSearchCV(model, settings, n_iter=4, cv=3, random_state=0).fit(X, y)
    return [search.cv_results_["mean_test_score"], search.best_params_, search.predict(X[:5])]


@use
def learning_curves():
    X, y = scaled(load_digits, 500)
    sizes, train, test = learning_curve(small(), X, y, cv=3, train_sizes=[0.3, 1.0])
    grown = learning_curve(small(), X, y, cv=3, train_sizes=[0.3, 1.0], exploit_incremental_learning=True)
    display = LearningCurveDisplay.from_estimator(small(), X, y, cv=2, train_sizes=[0.5, 1.0])
    plt.close(display.figure_)
    return [sizes, train, test, *grown, display.test_scores]


@use
def validation_curves():
    X, y = scaled(load_wine)
    train, test = validation_curve(small(), X, y, param_name="alpha", param_range=[1e-3, 1.0, 100.0], cv=3)
    display = ValidationCurveDisplay.from_estimator(small(), X, y, param_name="max_iter", param_range=[5, 20], cv=2)
    plt.close(display.figure_)
    return [train, test, display.train_scores]


@use
def selecting_features():
    X, y = scaled(load_wine, 120)
    return SequentialFeatureSelector(small(max_iter=10), n_features_to_select=2, cv=2).fit(X[:, :5], y).get_support()


@use
def reports():
    X, y = scaled(load_digits, 700)
    model = small(hidden_layer_sizes=(32,)).fit(X[:500], y[:500])
    predicted, probabilities = model.predict(X[500:]), model.predict_proba(X[500:])
    return [
        classification_report(y[500:], predicted, output_dict=True),
        confusion_matrix(y[500:], predicted),
        roc_auc_score(y[500:], probabilities, multi_class="ovr"),
        log_loss(y[500:], probabilities),
        model.predict_log_proba(X[500:510]),
    ]


# --- inside other estimators


@use
def voting():
    X, y = scaled(load_iris)
    members = [("net", small()), ("forest", RandomForestClassifier(10, random_state=0)), ("lr", LogisticRegression())]
    soft = VotingClassifier(members, voting="soft", weights=[2, 1, 1]).fit(X, y)
    hard = VotingClassifier(members).fit(X, y)
    mean = VotingRegressor([("net", small_regressor()), ("ridge", RidgeCV())]).fit(X, y)
    return [soft.predict_proba(X[::10]), hard.predict(X), mean.predict(X[::10])]


@use
def bagging():
    X, y = scaled(load_digits, 400)
    model = BaggingClassifier(small(), n_estimators=3, max_samples=0.7, max_features=0.8, random_state=0, n_jobs=2)
    regressor = BaggingRegressor(small_regressor(), n_estimators=2, random_state=0)
    return [model.fit(X, y).predict_proba(X[:10]), regressor.fit(X, y).predict(X[:10])]


@use
def boosting_with_sample_weights():
    X, y = scaled(load_wine)
    model = AdaBoostClassifier(small(max_iter=10), n_estimators=3, random_state=0).fit(X, y)
    weighted = small().fit(X, y, sample_weight=np.linspace(0.5, 2, len(y)))
    return [model.estimator_weights_, model.predict_proba(X[::20]), weighted.loss_curve_]


@use
def stacking():
    X, y = load_diabetes(return_X_y=True)
    net = make_pipeline(StandardScaler(), small_regressor(solver="lbfgs"))
    regressor = StackingRegressor([("net", net), ("ridge", RidgeCV())], cv=3).fit(X, y)
    X, y = scaled(load_iris)
    members = [("a", small(activation="tanh")), ("b", small(activation="logistic"))]
    classifier = StackingClassifier(members, final_estimator=small(), cv=3).fit(X, y)
    return [regressor.predict(load_diabetes().data[:10]), classifier.predict_proba(X[::10])]


@use
def calibration():
    X, y = scaled(load_breast_cancer)
    found = []
    for method in ("sigmoid", "isotonic"):
        model = CalibratedClassifierCV(small(), method=method, cv=3).fit(X[:400], y[:400])
        found.append(model.predict_proba(X[400:420]))
    return found


@use
def a_model_for_each_class_or_output():
    X, y = scaled(load_iris)
    Y = np.column_stack([y, X[:, 0] * 2 - X[:, 1]])
    labels = np.column_stack([y > 0, y > 1]).astype(int)
    return [
        OneVsRestClassifier(small()).fit(X, y).predict_proba(X[::15]),
        OneVsOneClassifier(small()).fit(X, y).decision_function(X[::15]),
        ClassifierChain(small(), order=[1, 0]).fit(X, labels).predict_proba(X[::15]),
        MultiOutputRegressor(small_regressor()).fit(X, Y).predict(X[::15]),
        RegressorChain(small_regressor()).fit(X, Y).predict(X[::15]),
    ]


@use
def several_labels_and_outputs_at_once():
    X, labels = make_multilabel_classification(150, 10, n_classes=4, random_state=0)
    model = small().fit(X, labels)
    X2, Y2 = make_regression(120, 6, n_targets=3, random_state=0)
    regressor = small_regressor(max_iter=40).fit(X2, Y2 / 100)
    return [model.predict(X[:20]), model.predict_proba(X[:20]), model.score(X, labels), regressor.predict(X2[:10])]


@use
def a_transformed_target():
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    by_function = TransformedTargetRegressor(small_regressor(solver="lbfgs"), func=np.log1p, inverse_func=np.expm1)
    by_scaler = TransformedTargetRegressor(small_regressor(), transformer=StandardScaler())
    return [by_function.fit(X, y).predict(X[:10]), by_scaler.fit(X, y).predict(X[:10])]


@use
def learning_from_few_labels():
    X, y = scaled(load_iris)
    known = np.where(np.arange(len(y)) % 5, -1, y)
    model = SelfTrainingClassifier(small(max_iter=60), max_iter=2).fit(X, known)
    return [model.predict_proba(X[::10]), model.labeled_iter_]


@use
def features_of_a_boltzmann_machine():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    model = make_pipeline(BernoulliRBM(20, n_iter=2, random_state=0), small()).fit(X, y)
    return model.predict_proba(X[:10])


# --- tables, texts, files


def passengers():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({
        "age": np.where(rng.random(200) < 0.2, np.nan, rng.normal(30, 12, 200)),
        "fare": rng.exponential(30, 200),
        "deck": rng.choice(["A", "B", "C"], 200),
    })  # fmt: skip
    return frame, pd.Series(np.where((frame["fare"] > 25) ^ (frame["deck"] == "B"), "yes", "no"), name="survived")


@use
def columns_of_a_frame():
    X, y = passengers()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([("n", numbers, ["age", "fare"]), ("c", OneHotEncoder(), ["deck"])])
    model = Pipeline([("columns", columns), ("mlp", small(max_iter=60))]).fit(X, y)
    return [model.predict(X).tolist(), model.predict_proba(X[:20]), model.classes_, model.score(X, y)]


@use
def names_of_the_columns():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = small().fit(X, y)
    try:
        model.predict(X.rename(columns={"sepal length (cm)": "something else"}))
    except ValueError as error:
        return [model.feature_names_in_, model.n_features_in_, str(error)]


@use
def output_as_frames():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), small()).set_output(transform="pandas").fit(X, y)
    return [model[-1].feature_names_in_, model.predict_proba(X)[::20]]


@use
def texts():
    documents = ["the cat sat", "a dog barked", "cats and dogs", "stocks fell", "the market rose", "shares and bonds"]
    kinds = ["animals", "animals", "animals", "money", "money", "money"]
    model = make_pipeline(TfidfVectorizer(), small(max_iter=60, learning_rate_init=0.05)).fit(documents, kinds)
    return [model.predict(["a cat", "the stocks"]), model.predict_proba(["a cat and bonds"])]


@use
def copies():
    X, y = scaled(load_iris)
    model = small(alpha=0.01).set_params(activation="tanh").fit(X, y)
    copy = clone(model)
    params = copy.get_params()
    return [
        [params[name] for name in ("activation", "alpha", "solver", "hidden_layer_sizes", "max_fun")],
        hasattr(copy, "coefs_"),
        copy.fit(X, y).loss_ - model.loss_,
        repr(small(alpha=0.01)),
    ]


@use
def files():
    X, y = scaled(load_iris)
    model = make_pipeline(StandardScaler(), small()).fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        joblib.dump(model, path, compress=3)
        loaded = joblib.load(path)
    again = loaded[-1].partial_fit(X, y)
    return [loaded.predict_proba(X[::10]), again.loss_curve_, [W.shape for W in again.coefs_]]


@use
def weights_by_hand():
    X, y = scaled(load_iris)
    model = small().fit(X, y)
    a = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    z = a @ model.coefs_[1] + model.intercepts_[1]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    model.coefs_[0][:2] = 0
    return [np.abs(p - small().fit(X, y).predict_proba(X)).max(), model.predict_proba(X[::10]), model.out_activation_]


@use
def data_in_single_precision():
    X, y = scaled(load_digits, 300)
    model = small(solver="sgd", max_iter=5).fit(X.astype(np.float32), y)
    regressor = small_regressor(max_iter=5).fit(X.astype(np.float32), y.astype(np.float32))
    return [str(model.coefs_[0].dtype), str(model.predict_proba(X[:2].astype(np.float32)).dtype), len(regressor.coefs_)]


@use
def what_goes_wrong():
    X, y = scaled(load_iris)
    tries = {
        "a negative alpha": lambda: small(alpha=-1).fit(X, y),
        "no rows for the split": lambda: small(early_stopping=True).fit(X[:3], [0, 1, 2]),
        "a missing value": lambda: small().fit([[np.nan, 1.0], [1.0, 2.0]], [0, 1]),
        "other columns": lambda: small().fit(X, y).predict(X[:, :2]),
        "not fitted": lambda: small().predict(X),
        "partial_fit by lbfgs": lambda: small(solver="lbfgs").partial_fit(X, y, classes=[0, 1, 2]),
        "partial_fit without classes": lambda: small().partial_fit(X, y),
        "too high a rate": lambda: small_regressor(solver="sgd", learning_rate_init=1e9).fit(X, y),
    }  # fmt: skip
    found = {}
    for name, attempt in tries.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the error counts here, not what overflows on the way to it
                attempt()
        except Exception as error:
            found[name] = [type(error).__name__, str(error).partition("\n")[0]]
    return found


def plain(value):
    """The value as JSON can hold it."""
    if isinstance(value, pd.DataFrame | pd.Series):
        return plain(value.to_numpy())
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def outcome(function):
    """What the use found, and how often it warned of what; or its traceback."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            figures = function()
        except Exception:
            return {"traceback": traceback.format_exc()}
    return {"figures": figures, "warnings": Counter(warning.category.__name__ for warning in caught)}


if __name__ == "__main__":
    from_where = [MLPClassifier.__module__, MLPRegressor.__module__]
    print(json.dumps({"classes": from_where, **{name: outcome(run) for name, run in USES.items()}}, default=plain))
