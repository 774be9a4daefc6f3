"""The command that proves a device: agreement where there is any, and the place where there is none."""

import json

import numpy as np
import pytest

from backprop_xp import activations, cli, parity
from backprop_xp.errors import InputError
from backprop_xp.namespaces import NUMPY


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid"])
def test_every_library_agrees_with_numpy(lib, activation):
    if lib.name == "cupy":
        device = "cuda"
    else:
        device = "device1" if lib.name == "array_api_strict" else "cpu"
    report = parity.compare(device, lib.name, activation=activation, steps=60)
    assert report.parted is None, report
    assert {layer.dtype for layer in report.layers} == {"float32", "float64"}
    assert len(report.layers) == 6
    for layer in report.layers:
        eps = float(np.finfo(layer.dtype).eps)
        assert layer.allowed < 1e4 * eps  # a bound that means something
        if lib.name == "numpy":
            assert layer.largest == 0


@pytest.mark.parametrize("engine", ["eager", "jax", "torch", "loops"])
def test_every_engine_agrees_with_numpy(engine):
    pytest.importorskip({"loops": "numba", "eager": "numpy"}.get(engine, engine))
    assert parity.compare(engine=engine, steps=30).parted is None


@pytest.fixture
def wrong_tanh(monkeypatch):
    """Activation tanh, off by 1e-5 of its value, on every backend but the reference."""
    right = activations.ACTIVATIONS["tanh"]

    def value(z, xp):
        result = right.value(z, xp)
        return result if xp is NUMPY else result * 1.00001

    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", right._replace(value=value))


def test_a_wrong_activation_is_found(wrong_tanh, capsys):
    report = parity.compare("device1", "array_api_strict", steps=20)
    assert report.parted is not None
    assert report.parted.parted == 1
    assert cli.run(["parity", "--device", "device1", "--backend", "array_api_strict", "--steps", "20"]) == 1
    told = capsys.readouterr().out
    assert "They do not agree" in told
    assert "step 1" in told
    assert cli.run(["parity", "--device", "device1", "--backend", "array_api_strict", "--steps", "20", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is False
    assert found["first"]["step"] == 1


def test_only_another_activation_is_right_again(wrong_tanh):
    assert parity.compare("device1", "array_api_strict", steps=20, activation="relu").parted is None


def test_the_command(capsys):
    assert cli.run(["parity", "--backend", "array_api_strict", "--dtype", "float64", "--steps", "5"]) == 0
    assert "They agree" in capsys.readouterr().out
    assert cli.run(["parity", "--json", "--steps", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is True
    assert found["first"] is None
    assert found["steps"] == 3


def test_a_result_that_is_not_finite_parts():
    found = parity._Found()
    found.note(1, 0.0, float("nan"), "float32")
    assert found.parted == 1


@pytest.mark.parametrize("given", [["--device", "cuba"], ["--dtype", "float16"], ["--steps", "0"], ["--engine", "no"]])
def test_what_cannot_be_is_refused(given, capsys):
    assert cli.run(["parity", *given]) == 2
    assert "backprop-xp: error" in capsys.readouterr().err


@pytest.mark.parametrize("given", [{"engine": "auto"}, {"dtypes": ()}, {"steps": 0}])
def test_a_comparison_of_nothing_is_refused(given):
    with pytest.raises(InputError, match=r"parity compares one engine|steps must be an integer of at least 1"):
        parity.compare(**given)


def test_a_nan_is_the_largest_deviation_wherever_it_stands():
    exact = [np.ones((2, 2)), np.ones((1, 2))]
    for leaf in (0, 1):
        arrays = [array.copy() for array in exact]
        arrays[leaf][0, 1] = np.nan
        assert np.isnan(parity._deviation(arrays, exact))
    found = parity._Found()
    for step, others in enumerate((1e-9, np.nan, 1e-9, np.nan), 1):
        found.note(step, 0.0, others, "float32")
    assert np.isnan(found.largest)
    assert (found.at_step, found.parted) == (2, 2)


def test_an_unknown_activation():
    with pytest.raises(InputError, match="unknown activation"):
        parity.compare(activation="tang")
