"""Every gradient proved by central differences in float64, and the same on every backend."""

import itertools

import numpy as np
import pytest
from conftest import assert_trees_close

from backprop_xp import InputError, Network, init, losses, make_gradient
from backprop_xp.activations import ACTIVATIONS
from backprop_xp.initializers import normal
from backprop_xp.losses import LOSSES

HIDDEN = [name for name, activation in ACTIVATIONS.items() if not activation.output_only]
BIASES = [True, False, "shared"]
OUTPUT = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}
SETTINGS = {"huber": losses.huber(0.3), "pinball": losses.pinball(0.8)}
PAIRS = [
    (output, loss) for output, loss in itertools.product(ACTIVATIONS, LOSSES)
    if LOSSES[loss].outputs is None or output in LOSSES[loss].outputs
]  # fmt: skip


def problem(hidden, output, loss, bias, dtype="float64"):
    rng = np.random.default_rng(7)
    network = Network((3, 4, 5, 2), activation=hidden, output=output, bias=bias)
    params = init(network, 3, normal(0.8), bias_initializer=normal(0.8), dtype=dtype)
    X = rng.normal(size=(6, 3)).astype(dtype)
    Y = rng.uniform(0.05, 0.95, (6, 2))
    if loss == "cross_entropy":
        Y /= Y.sum(axis=1, keepdims=True)
    weight = rng.uniform(0.2, 2.0, 6)
    return network, params, X, Y.astype(dtype), weight.astype(dtype)


def central_differences(value, params, h=1e-6):
    """(L(w + h) - L(w - h)) / 2h for every number in params."""
    grads = []
    for layer in params:
        for leaf in layer:
            if leaf is None:
                grads.append(None)
                continue
            grad = np.empty_like(leaf)
            for place in np.ndindex(leaf.shape):
                kept = leaf[place]
                leaf[place] = kept + h
                above = value(params)
                leaf[place] = kept - h
                grad[place] = (above - value(params)) / (2 * h)
                leaf[place] = kept
            grads.append(grad)
    return tuple(zip(grads[::2], grads[1::2], strict=True))


def check(network, loss, params, X, Y, weight, **options):
    gradient = make_gradient(network, SETTINGS.get(loss, loss), **options)
    count = np.asarray(5, dtype=np.int32)
    _, grads = gradient(params, X, Y, weight, count)
    assert_trees_close(
        grads, central_differences(lambda p: gradient(p, X, Y, weight, count)[0], params), rtol=2e-6, atol=2e-8
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("bias", BIASES)
def test_hidden_activation_times_loss_times_bias(hidden, loss, bias):
    network, params, X, Y, weight = problem(hidden, OUTPUT.get(loss, "identity"), loss, bias)
    check(network, loss, params, X, Y, None)
    check(network, loss, params, X, Y, weight)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_output_activation_times_loss(output, loss, bias):
    check(*(lambda n, p, X, Y, w: (n, loss, p, X, Y, w))(*problem("tanh", output, loss, bias)))


@pytest.mark.parametrize("loss", ["half_squared_error", "squared_error"])
def test_penalty_and_dropout(loss):
    network, params, X, Y, weight = problem("gelu", "identity", loss, True)
    check(network, loss, params, X, Y, weight, l2=0.3)
    check(network, loss, params, X, Y, weight, dropout=0.4, seed=11)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_backend_has_numpys_gradient(other, hidden, loss, bias):
    network, params, X, Y, weight = problem(hidden, OUTPUT.get(loss, "identity"), loss, bias)
    gradient = make_gradient(network, SETTINGS.get(loss, loss))
    expected = gradient(params, X, Y, weight)
    with other.no_host_reads():
        result = gradient(other.params(params), other.array(X), other.array(Y), other.array(weight))
    assert_trees_close(other.host(result), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_every_backend_has_numpys_gradient_at_the_output(other, output, loss):
    network, params, X, Y, _ = problem("relu", output, loss, True)
    gradient = make_gradient(network, loss)
    with other.no_host_reads():
        result = gradient(other.params(params), other.array(X), other.array(Y))
    assert_trees_close(other.host(result), gradient(params, X, Y), rtol=1e-11, atol=1e-14)


def test_labels_and_one_hot_rows_are_the_same(lib):
    network, params, X, _, weight = problem("relu", "softmax", "cross_entropy", True)
    labels = np.array([0, 1, 1, 0, 1, 0])
    gradient = make_gradient(network, "cross_entropy")
    expected = gradient(params, X, np.eye(2)[labels], weight)
    with lib.no_host_reads():
        result = gradient(lib.params(params), lib.array(X), lib.array(labels, "int32"), lib.array(weight))
    assert_trees_close(lib.host(result), expected, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_count_as_repeated_rows(loss):
    network, params, X, Y, _ = problem("tanh", OUTPUT.get(loss, "identity"), loss, True)
    gradient, times = make_gradient(network, loss), np.array([1, 3, 0, 2, 1, 1])
    repeated = gradient(params, np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0))
    assert_trees_close(gradient(params, X, Y, times.astype(float)), repeated, rtol=1e-12, atol=1e-15)


def test_weights_that_are_all_zero_leave_the_gradient_zero():
    network, params, X, Y, _ = problem("tanh", "softmax", "cross_entropy", True)
    value, grads = make_gradient(network, "cross_entropy")(params, X, Y, np.zeros(6))
    assert value == 0
    assert all(not leaf.any() for layer in grads for leaf in layer)


@pytest.mark.parametrize(
    ("loss", "output"), [("cross_entropy", "tanh"), ("poisson", "identity"), ("binary_cross_entropy", "relu")]
)
def test_a_loss_that_the_output_cannot_have_is_refused(loss, output):
    with pytest.raises(InputError, match=f"{loss} needs output="):
        make_gradient(Network((2, 2), output=output), loss)


def test_inputs_are_left_as_they_were(lib):
    network, params, X, Y, weight = problem("silu", "softmax", "cross_entropy", "shared")
    given = lib.params(params), lib.array(X), lib.array(Y), lib.array(weight)
    make_gradient(network, "cross_entropy", l2=0.1, dropout=0.2)(*given, lib.array(0, "int32"))
    assert_trees_close(lib.host(given), (params, X, Y, weight), rtol=0)
