"""Scikit-learn's MLP as people use it: the same script by plain Python and under accel finds the same figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn_uses import USES

import backprop_xp

SCRIPT = Path(__file__).with_name("sklearn_uses.py")
ROOT = Path(backprop_xp.__file__).parent.parent
# One thread each, since both run at once, and as a sum's rounding hangs on how many threads share it.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "MPLBACKEND": "agg",
               "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip


def start(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "BACKPROP_XP_DEVICE"}
    return subprocess.Popen(
        [sys.executable, *arguments, str(SCRIPT)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | ENVIRONMENT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """What scikit-learn found and what we found."""
    processes = start(), start("-m", "backprop_xp.accel")
    printed = [process.communicate() for process in processes]
    for process, (_, err) in zip(processes, printed, strict=True):
        assert process.returncode == 0, err
    return [json.loads(out) for out, _ in printed]


def differences(ours, theirs, where="", rtol=1e-6):
    """Yield a line for each figure that differs by more than rtol, and for all else that is not the same."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in theirs:
            yield from differences(ours[key], theirs[key], f"{where}[{key!r}]", rtol)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{where}[{i}]", rtol)
    elif isinstance(ours, float) and isinstance(theirs, float):
        if ours != pytest.approx(theirs, rel=rtol, abs=1e-9, nan_ok=True):
            yield f"{where}: {ours!r}, not {theirs!r}"
    elif ours != theirs:
        yield f"{where}: {ours!r}, not {theirs!r}"


@pytest.mark.parametrize("name", USES)
def test_the_same_figures(found, name):
    theirs, ours = (outcomes[name] for outcomes in found)
    assert "traceback" not in theirs, theirs["traceback"]
    assert "traceback" not in ours, ours["traceback"]
    assert theirs["figures"]
    assert not list(differences(ours, theirs))


def test_the_classes_compared_are_theirs_and_ours(found):
    theirs, ours = (outcomes["classes"] for outcomes in found)
    assert theirs == ["sklearn.neural_network._multilayer_perceptron"] * 2
    assert [name.partition(".")[0] for name in ours] == ["backprop_xp"] * 2


def test_equal_figures_pass_for_equal():
    assert not list(differences({"a": [1.0 + 1e-8, "x", 3]}, {"a": [1.0, "x", 3]}))


@pytest.mark.parametrize(
    ("ours", "line"),
    [({"a": [1.0, 2.00001]}, "['a'][1]: 2.00001, not 2.0"), ({"a": [1.0, "2.0"]}, "['a'][1]: '2.0', not 2.0"),
     ({"a": [1.0, float("nan")]}, "['a'][1]: nan, not 2.0"), ({"a": [1.0]}, "['a']: [1.0], not [1.0, 2.0]"),
     ({"b": []}, ": {'b': []}, not {'a': [1.0, 2.0]}")],
)  # fmt: skip
def test_a_difference_is_seen(ours, line):
    assert list(differences(ours, {"a": [1.0, 2.0]})) == [line]
