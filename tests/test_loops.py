"""The scalar loops against the core, step by step, and against central differences."""

from itertools import product

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import loops

HIDDEN = ("identity", "sigmoid", "tanh", "relu")
HEADS = [
    *product(("half_squared_error", "squared_error"), loops.ACTIVATIONS),
    ("cross_entropy", "softmax"),
]
BIASES = (True, False, "shared")
LEARNING_RATE = 0.01
NETWORKS = [
    *(bx.Network((3, 2), output=output, bias=bias) for (_, output), bias in product(HEADS, BIASES)),
    *(
        bx.Network((3, *hidden, 2), activation=activation, output=output, bias=bias)
        for hidden, activation, (_, output), bias in product([(4,), (4, 3, 5)], HIDDEN, HEADS, BIASES)
    ),
]
CASES = sorted({(net, loss) for net in NETWORKS for loss, output in HEADS if output == net.output}, key=repr)


def case_name(value):
    if isinstance(value, str):
        return value
    return f"{'-'.join(map(str, value.widths))}-{value.activation}-{value.output}-bias={value.bias}"


def data(loss, n_outputs=2, n_samples=7):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n_samples, 3))
    Y = rng.integers(0, n_outputs, n_samples) if loss == "cross_entropy" else rng.uniform(size=(n_samples, n_outputs))
    return X, Y


def start(network, seed=5):
    return bx.init(network, seed, "uniform", bias_initializer="uniform")


def assert_params_equal(actual, desired, **tolerance):
    assert len(actual) == len(desired)
    for (W, b), (desired_W, desired_b) in zip(actual, desired, strict=True):
        np.testing.assert_allclose(W, desired_W, **tolerance)
        assert (b is None) == (desired_b is None)
        if b is not None:
            np.testing.assert_allclose([b], desired_b, **tolerance)


@pytest.mark.parametrize(("network", "loss"), CASES, ids=case_name)
def test_five_steps_equal_those_of_the_core(network, loss):
    X, Y = data(loss)
    rule = bx.sgd(LEARNING_RATE)
    step = bx.make_step(network, loss, rule)
    params = start(network)
    state, looped = rule.init(params), loops.to_lists(params)
    for _ in range(5):
        params, state, value = step(params, state, X, Y)
        looped, looped_value = loops.step(network, looped, X.tolist(), Y.tolist(), loss, LEARNING_RATE)
        assert looped_value == pytest.approx(float(value), rel=1e-12, abs=0)
        assert_params_equal(looped, params, rtol=1e-12, atol=0)


def test_all_cases_stand_in_the_list():
    assert len(CASES) == len(HEADS) * len(BIASES) * (1 + 2 * len(HIDDEN))


def test_one_activation_a_layer():
    network = bx.Network((3, 4, 4, 2), activation=("tanh", "relu"), output="softmax")
    X, Y = data("cross_entropy")
    params = start(network)
    value, grads = bx.make_gradient(network, "cross_entropy")(params, X, Y)
    looped_value, looped = loops.gradient(network, loops.to_lists(params), X.tolist(), Y.tolist(), "cross_entropy")
    assert looped_value == pytest.approx(float(value), rel=1e-12, abs=0)
    assert_params_equal(looped, grads, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize(("loss", "output"), [("squared_error", "sigmoid"), ("cross_entropy", "softmax")])
def test_gradient_equals_central_differences(loss, output, bias):
    network = bx.Network((3, 4, 3, 2), activation="tanh", output=output, bias=bias)
    X, Y = (array.tolist() for array in data(loss))
    params = loops.to_lists(start(network))
    _, grads = loops.gradient(network, params, X, Y, loss)

    def vectors(params):
        return [vector for W, b in params for vector in (*W, *([] if b is None else [b]))]

    h, n_checked = 1e-5, 0
    for vector, gradient in zip(vectors(params), vectors(grads), strict=True):
        for j, middle in enumerate(vector):
            vector[j] = middle + h
            above, _ = loops.gradient(network, params, X, Y, loss)
            vector[j] = middle - h
            below, _ = loops.gradient(network, params, X, Y, loss)
            vector[j] = middle
            assert gradient[j] == pytest.approx((above - below) / (2 * h), rel=1e-7, abs=1e-10)
            n_checked += 1
    assert n_checked == sum(W.size + (0 if b is None else b.size) for W, b in start(network))


def test_a_flat_target_is_a_column():
    network = bx.Network((3, 4, 1), activation="tanh")
    X, Y = data("squared_error", n_outputs=1)
    params = loops.to_lists(start(network))
    flat = loops.step(network, params, X.tolist(), Y[:, 0].tolist(), "squared_error", 0.1)
    assert flat == loops.step(network, params, X.tolist(), Y.tolist(), "squared_error", 0.1)


def test_the_given_lists_stay_as_they_are():
    network = bx.Network((3, 4, 2), activation="tanh")
    X, Y = (array.tolist() for array in data("squared_error"))
    params = loops.to_lists(start(network))
    loops.step(network, params, X, Y, "squared_error", 0.1)
    assert params == loops.to_lists(start(network))
    assert data("squared_error")[0].tolist() == X


ROW, ONE, THREE = [0.1, 0.2, 0.3], bx.Network((3, 1)), bx.Network((3, 3), output="softmax")


@pytest.mark.parametrize(("network", "X", "Y", "loss", "message"), [
    (ONE, [ROW[:2]], [0.0], "squared_error", "each row of X must have 3 numbers, not 2"),
    (ONE, [ROW], [[0.0, 1.0]], "squared_error", "each row of Y must have 1 numbers"),
    (THREE, [ROW], [3], "cross_entropy", "labels must be from 0 to 2"),
    (THREE, [ROW], [-1], "cross_entropy", "labels must be from 0 to 2"),
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused(network, X, Y, loss, message):
    with pytest.raises(bx.InputError, match=message):
        loops.gradient(network, start(network), X, Y, loss)


@pytest.mark.parametrize("bias", BIASES)
def test_to_lists_and_back(bias):
    network = bx.Network((3, 4, 2), bias=bias)
    params = start(network)
    lists = loops.to_lists(params)
    assert [None if b is None else len(b) for _, b in lists] == {True: [4, 2], False: [None, None], "shared": [1, 1]}[
        bias
    ]
    for layer, same_layer in zip(params, bx.init(network, initializer=lists), strict=True):
        for leaf, same in zip(layer, same_layer, strict=True):
            np.testing.assert_array_equal(leaf, same)


@pytest.mark.parametrize(("output", "loss"), [("softmax", "cross_entropy"), ("sigmoid", "half_squared_error")])
def test_large_sums_neither_overflow_nor_round_the_loss(output, loss):
    network = bx.Network((3, 2), output=output)
    X, Y = data(loss)
    params = bx.init(network, initializer=[(1e3 * start(network)[0][0], [0.0, 0.0])])
    value, grads = bx.make_gradient(network, loss)(params, X, Y)
    looped_value, looped = loops.gradient(network, loops.to_lists(params), X.tolist(), Y.tolist(), loss)
    assert looped_value == pytest.approx(float(value), rel=1e-12, abs=0)
    assert_params_equal(looped, grads, rtol=1e-12, atol=1e-30)


@pytest.mark.parametrize(
    ("network", "loss", "message"),
    [
        (bx.Network((3, 4, 2), activation="gelu"), "squared_error", "no activation 'gelu'"),
        (bx.Network((3, 2), output="exp"), "squared_error", "no activation 'exp'"),
        (bx.Network((3, 2)), "huber", "no loss 'huber', only half_squared_error, squared_error, cross_entropy"),
        (bx.Network((3, 2)), "cross_entropy", "needs output='softmax', not 'identity'"),
    ],
)
def test_what_the_loops_do_not_know_is_refused(network, loss, message):
    X, Y = (array.tolist() for array in data(loss))
    with pytest.raises(bx.InputError, match=message):
        loops.step(network, loops.to_lists(start(network)), X, Y, loss, 0.1)
