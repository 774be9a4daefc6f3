"""The network's description, its first parameters, forward and backward."""

import numpy as np
import pytest
from conftest import assert_trees_close

from backprop_xp import InputError, Network, backward, forward, init, initializers, make_gradient
from backprop_xp.initializers import INITIALIZERS


def test_activations_stand_layer_by_layer():
    network = Network([3, 4, 5, 2], activation=["relu", "tanh"], output="softmax")
    assert network.widths == (3, 4, 5, 2)
    assert [activation.value.__name__ for activation in network.activations] == ["relu", "tanh", "softmax"]
    assert hash(network) == hash(Network((3, 4, 5, 2), ("relu", "tanh"), "softmax"))


@pytest.mark.parametrize(("arguments", "message"), [
    (((3,),), "widths must be two or more positive integers"),
    (((3, 0, 1),), "widths must be"),
    (((3, 2.5, 1),), "widths must be"),
    (((3, 4, 1), "rleu"), "unknown activation 'rleu'; did you mean 'relu'"),
    (((3, 1), "rleu"), "unknown activation 'rleu'"),
    (((3, 4, 1), ("relu", "relu")), "1 hidden layers need as many"),
    (((3, 4, 2), "softmax"), "only stand at the output"),
    (((3, 4, 1), "relu", "softmax"), "two outputs or more"),
    (((3, 4, 1), "relu", "identity", "both"), "bias must be"),
])  # fmt: skip
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        Network(*arguments)


@pytest.mark.parametrize(("name", "kind", "variance"), [
    ("glorot_uniform", "uniform", 2 / 500), ("glorot_normal", "normal", 2 / 500), ("he_uniform", "uniform", 2 / 200),
    ("he_normal", "normal", 2 / 200), ("lecun_uniform", "uniform", 1 / 200), ("lecun_normal", "normal", 1 / 200),
    ("uniform", "uniform", 1 / 3), ("normal", "normal", 1.0), ("zeros", "normal", 0.0),
])  # fmt: skip
def test_initializers_have_their_variance(name, kind, variance):
    W = INITIALIZERS[name](np.random.default_rng(0), 200, 300)
    assert W.shape == (200, 300)
    assert abs(W.mean()) <= 5 * np.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=0.03)
    if kind == "uniform":
        assert np.abs(W).max() <= np.sqrt(3 * variance)
    elif variance:
        assert np.abs(W).max() > np.sqrt(3 * variance)


def test_first_parameters_follow_the_seed_and_are_the_same_in_every_precision():
    network = Network((3, 4, 2), bias="shared")
    first, again, other = (init(network, seed, bias_initializer="uniform") for seed in (1, 1, 2))
    assert_trees_close(first, again, rtol=0)
    assert not np.array_equal(first[0][0], other[0][0])
    single = init(network, 1, bias_initializer="uniform", dtype="float32")
    assert_trees_close(single, tuple((W.astype("f4"), b.astype("f4")) for W, b in first), rtol=0)
    assert [b.shape for _, b in first] == [(1, 1), (1, 1)]


def test_a_range_of_ones_own():
    W = init(Network((50, 50)), initializer=initializers.uniform(2, 3))[0][0]
    assert W.min() >= 2
    assert W.max() <= 3


def test_given_arrays_are_copied_and_checked():
    network, W, b = Network((2, 3)), np.ones((2, 3)), np.zeros(3)
    params = init(network, initializer=[(W, b)])
    W[0, 0] = 7
    assert params[0][0][0, 0] == 1
    assert params[0][1].shape == (1, 3)
    for bad, message in [
        ([(W, b), (W, b)], "needs arrays for 1 layers, but 2"),
        ([(W.T, b)], r"W of layer 0 must be \(2, 3\)"),
        ([(W, np.zeros(2))], r"b of layer 0 must be \(1, 3\)"),
        ([(W, None)], "b of layer 0: bias=True needs"),
    ]:
        with pytest.raises(InputError, match=message):
            init(network, initializer=bad)


def test_unknown_initializer():
    with pytest.raises(InputError, match="did you mean 'he_normal'"):
        init(Network((2, 3)), initializer="he_norml")


@pytest.mark.parametrize("hidden", ["tanh", "relu", "gelu", "silu", "mish"])
def test_backward_from_forwards_list_is_the_steps_gradient(lib, hidden):
    # gelu, silu and mish have no derivative from their output: backward works their input out again
    network = Network((3, 4, 4, 2), activation=hidden, bias=True)
    params = lib.params(init(network, bias_initializer="uniform"))
    X, Y = lib.array(np.random.default_rng(0).normal(size=(5, 3))), lib.array(np.ones((5, 2)))
    activations = forward(network, params, X)
    assert [tuple(a.shape) for a in activations] == [(5, 3), (5, 4), (5, 4), (5, 2)]
    grads = backward(network, params, activations, activations[-1] - Y)
    expected = make_gradient(network, "half_squared_error")(params, X, Y)[1]
    assert_trees_close(lib.host(grads), lib.host(expected), rtol=1e-12)


def test_forward_refuses_the_wrong_number_of_features():
    with pytest.raises(InputError, match=r"X must be \(n_samples, 3\), not \(4, 2\)"):
        forward(Network((3, 1)), init(Network((3, 1))), np.ones((4, 2)))
