"""The estimators by scikit-learn's measure: its checks, tags, signatures, and its word on bad values of parameters."""

import dataclasses
import importlib.util
import inspect
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import backprop_xp
from benchmarks import machine

NAMES = "MLPClassifier", "MLPRegressor"
OURS = {name: getattr(backprop_xp, name) for name in NAMES}
THEIRS = {name: getattr(sklearn.neural_network, name) for name in NAMES}
PASSING = [  # with which scikit-learn's classes pass every check
    {"max_iter": 100},
    {"max_iter": 20, "solver": "lbfgs"},
]
FAILING = [  # with which they do not: few iterations, rows held out of very few, weights that are no repetitions
    {"max_iter": 30, "solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False},
    {"max_iter": 60, "early_stopping": True, "hidden_layer_sizes": (16, 8), "activation": "tanh"},
    {"max_iter": 30, "solver": "sgd", "learning_rate": "adaptive", "warm_start": True, "batch_size": 16},
]
OF_ARRAY_API = "check_array_api_input", "check_array_api_mixed_inputs", "check_array_api_same_namespace"
WIDER = "activation", "solver", "learning_rate", "loss"  # that have more choices here
BAD = (object(), "no such", -1, -0.5, 0, 1.5, np.nan, None, [], {})  # each parameter has its own among them

both = pytest.mark.parametrize("name", NAMES)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([cls(**settings) for cls in OURS.values() for settings in PASSING])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@both
@pytest.mark.parametrize("settings", FAILING, ids=str)
@pytest.mark.filterwarnings("ignore")  # the checks try what warns
def test_no_check_fails_that_scikit_learns_class_passes(name, settings):
    # a subclass: for its own classes scikit-learn changes the settings in some checks
    theirs = type(name, (THEIRS[name],), {})
    expected, actual = passed(theirs(**settings)), passed(OURS[name](**settings))
    assert len(expected) > 40
    assert expected <= actual


def passed(estimator):
    """Return the names of the checks that the estimator passes, however often they are made."""
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    statuses = {status: {r["check_name"] for r in results if r["status"] == status} for status in ("passed", "failed")}
    return statuses["passed"] - statuses["failed"]


CHECKS_OF_ARRAY_API = """
import json, warnings
import backprop_xp
from sklearn.utils.estimator_checks import check_estimator
warnings.simplefilter("ignore")
results = check_estimator(backprop_xp.{name}(max_iter=100), on_fail=None, on_skip=None)
print(json.dumps([[result["check_name"], result["status"], repr(result["exception"])] for result in results]))
"""


@both
def test_scikit_learns_checks_of_the_array_api(name):
    pytest.importorskip("array_api_strict")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}  # SciPy reads it when it is first imported
    command = [sys.executable, "-c", CHECKS_OF_ARRAY_API.format(name=name)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    results = [result for result in json.loads(output) if result[0] in OF_ARRAY_API]
    if machine.device() is None:  # CuPy may be here nonetheless, and its checks fail for want of a device
        results = [result for result in results if "CUDARuntimeError" not in result[2]]
    needs_torch = set() if importlib.util.find_spec("torch") else {"check_array_api_mixed_inputs"}
    assert {check for check, status, _ in results if status != "skipped"} == set(OF_ARRAY_API) - needs_torch
    # Where input of another library than the fitted one is predicted from, scikit-learn wants a refusal. These
    # estimators compute where their input lies, and say so.
    failed = {check: said for check, status, said in results if status == "failed"}
    assert failed.keys() == {"check_array_api_same_namespace"}, failed


@both
def test_tags(name):
    ours, theirs = (dataclasses.asdict(get_tags(classes[name]())) for classes in (OURS, THEIRS))
    assert ours.pop("array_api_support")
    assert not theirs.pop("array_api_support")
    assert ours == theirs


@both
def test_the_signature_begins_as_scikit_learns(name):
    ours, theirs = (list(inspect.signature(classes[name]).parameters.values()) for classes in (OURS, THEIRS))
    assert [written(parameter) for parameter in ours[: len(theirs)]] == [written(parameter) for parameter in theirs]
    assert {parameter.kind for parameter in ours[len(theirs) :]} == {inspect.Parameter.KEYWORD_ONLY}
    assert list(OURS[name]().get_params()) == sorted(parameter.name for parameter in ours)


def written(parameter):
    """Return the parameter without its annotation."""
    return parameter.name, parameter.kind, parameter.default


def methods(cls):
    return {name: method for name, method in inspect.getmembers(cls, callable) if not name.startswith("_")}


@both
def test_methods_begin_as_scikit_learns(name):
    ours, theirs = methods(OURS[name]), methods(THEIRS[name])
    assert {"fit", "partial_fit", "predict", "score", "set_fit_request", "set_score_request"} <= theirs.keys()
    assert theirs.keys() <= ours.keys()
    for method in theirs:
        expected = list(map(written, inspect.signature(theirs[method]).parameters.values()))
        actual = list(map(written, inspect.signature(ours[method]).parameters.values()))
        assert positional(actual) == positional(expected), method
        assert set(expected) <= set(actual), method


def positional(parameters):
    return [parameter for parameter in parameters if parameter[1] is not inspect.Parameter.KEYWORD_ONLY]


@pytest.mark.parametrize("parameter", THEIRS["MLPRegressor"]().get_params())
@both
@pytest.mark.filterwarnings("ignore")  # of values that are odd, but not refused
def test_bad_values_are_refused_in_the_same_words(name, parameter):
    if parameter not in THEIRS[name]().get_params():
        assert (name, parameter) == ("MLPClassifier", "loss")
        return
    expected = {repr(value): refusal(THEIRS[name], parameter, value) for value in BAD}
    assert any(expected.values())
    for value in BAD:
        actual = refusal(OURS[name], parameter, value)
        if parameter in WIDER:
            actual, expected[repr(value)] = map(without_choices, (actual, expected[repr(value)]))
        assert actual == expected[repr(value)]


def refusal(cls, parameter, value):
    """Return what is said of the value, None if it is taken."""
    settings = {"hidden_layer_sizes": 2, "max_iter": 1, parameter: value}
    try:
        cls(**settings).fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    except InvalidParameterError as error:
        return str(error)
    except ValueError:  # of the data: too few for so many to be held out
        return None
    return None


def without_choices(said):
    """Return a refusal without what the value may be, which is more here than in scikit-learn."""
    start, _, rest = said.partition(" must be a str among {")
    assert rest
    return start, rest.rpartition(" Got ")[2]
