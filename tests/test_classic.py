"""The tutorials' class: what it learns, that it is their arithmetic, and how scripts use it."""

import re

import numpy as np
import pytest

import backprop_xp as bx

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([[0], [1], [1], [0]])
WEIGHTS = ("weights_input_hidden", "bias_hidden", "weights_hidden_output", "bias_output")


def made(seed, *sizes):
    np.random.seed(seed)
    return bx.NeuralNetwork(*(sizes or (2, 4, 1)))


def weights(nn):
    return [getattr(nn, name).copy() for name in WEIGHTS]


def trained_by_hand(arrays, X, y, epochs, learning_rate):
    """The class's arithmetic, written out once more without this package."""
    wh, bh, wo, bo = (array.copy() for array in arrays)
    for _ in range(epochs):
        hidden = 1 / (1 + np.exp(-(X.dot(wh) + bh)))
        output = 1 / (1 + np.exp(-(hidden.dot(wo) + bo)))
        output_delta = (y - output) * output * (1 - output)
        hidden_delta = output_delta.dot(wo.T) * hidden * (1 - hidden)
        wo += learning_rate * hidden.T.dot(output_delta)
        bo += learning_rate * output_delta.sum(axis=0, keepdims=True)
        wh += learning_rate * X.T.dot(hidden_delta)
        bh += learning_rate * hidden_delta.sum(axis=0, keepdims=True)
    return wh, bh, wo, bo


def test_backward_alone_says_what_it_goes_on_from():
    with pytest.raises(bx.InputError, match=r"call feedforward\(X\) first"):
        made(0).backward(X, y, 0.1)


def test_xor_is_learned_from_each_of_twelve_starts():
    errors = []
    for seed in range(12):
        nn = made(seed)
        nn.train(X, y, epochs=10_000, learning_rate=0.1)
        errors.append(np.mean((y - nn.feedforward(X)) ** 2))
    assert [error < 0.01 for error in errors] == [True] * 12
    assert 0.0015 < np.median(errors) < 0.0025  # another twelve starts had 0.0019


@pytest.mark.parametrize("sizes", [(2, 4, 1), (3, 5, 2)])
def test_fifty_epochs_equal_a_loop_written_by_hand(sizes):
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(6, sizes[0])), rng.uniform(size=(6, sizes[2]))
    nn = made(3, *sizes)
    expected = trained_by_hand(weights(nn), inputs, targets, 50, 0.1)
    nn.train(inputs, targets, epochs=50, learning_rate=0.1)
    for actual, desired in zip(weights(nn), expected, strict=True):
        np.testing.assert_allclose(actual, desired, rtol=1e-12, atol=0)


def test_first_weights_come_from_numpys_global_generator():
    nn = made(42, 3, 5, 2)
    np.random.seed(42)
    np.testing.assert_array_equal(nn.weights_input_hidden, np.random.randn(3, 5))
    np.testing.assert_array_equal(nn.weights_hidden_output, np.random.randn(5, 2))
    np.testing.assert_array_equal(nn.bias_hidden, np.zeros((1, 5)))
    np.testing.assert_array_equal(nn.bias_output, np.zeros((1, 2)))
    assert (nn.input_size, nn.hidden_size, nn.output_size) == (3, 5, 2)


def test_feedforward_leaves_what_went_through_every_layer():
    nn = made(0)
    output = nn.feedforward(X)
    assert output is nn.predicted_output
    np.testing.assert_allclose(nn.hidden_activation, X @ nn.weights_input_hidden + nn.bias_hidden, rtol=1e-12)
    np.testing.assert_allclose(nn.hidden_output, nn.sigmoid(nn.hidden_activation), rtol=1e-12)
    np.testing.assert_allclose(
        nn.output_activation, nn.hidden_output @ nn.weights_hidden_output + nn.bias_output, rtol=1e-12
    )
    np.testing.assert_allclose(output, nn.sigmoid(nn.output_activation), rtol=1e-12)
    assert nn.sigmoid(0.0) == 0.5
    assert nn.sigmoid_derivative(0.5) == 0.25


def test_one_sample_may_be_flat():
    nn = made(0)
    np.testing.assert_allclose(nn.feedforward(X[1]), nn.feedforward(X)[1:2], rtol=1e-12)


def test_feedforward_and_backward_by_hand_equal_train():
    by_hand, nn = made(7), made(7)
    for _ in range(20):
        by_hand.feedforward(X)
        by_hand.backward(X, y, 0.5)
    nn.train(X, y, 20, 0.5)
    for actual, desired in zip(weights(by_hand), weights(nn), strict=True):
        np.testing.assert_array_equal(actual, desired)


def test_training_again_goes_on():
    twice, once = made(7), made(7)
    twice.train(X, y, 30, 0.5)
    twice.train(X, y, 20, 0.5)
    once.train(X, y, 50, 0.5)
    for actual, desired in zip(weights(twice), weights(once), strict=True):
        np.testing.assert_array_equal(actual, desired)


def test_overwritten_weights_are_used():
    nn, other = made(1), made(2)
    for name in WEIGHTS:
        setattr(nn, name, getattr(other, name).copy())
    np.testing.assert_array_equal(nn.feedforward(X), other.feedforward(X))
    nn.weights_hidden_output[:] = 0.0
    np.testing.assert_array_equal(nn.feedforward(X), np.full((4, 1), 0.5))


def test_backward_changes_the_arrays_a_script_holds():
    nn = made(1)
    held, before = [getattr(nn, name) for name in WEIGHTS], weights(nn)
    nn.train(X, y, 1, 0.5)
    for name, array, old in zip(WEIGHTS, held, before, strict=True):
        assert getattr(nn, name) is array
        assert not np.array_equal(array, old)


def test_train_prints_the_error_every_4000_epochs(capsys):
    nn = made(0)
    first = np.mean((y - nn.feedforward(X)) ** 2)
    nn.train(X, y, epochs=4001, learning_rate=0.1)
    last = np.mean((y - nn.predicted_output) ** 2)  # of the last feedforward, before the last update
    assert capsys.readouterr().out == f"Epoch 0, Loss:{first:.4f}\nEpoch 4000, Loss:{last:.4f}\n"


SCRIPT = """
import numpy as np
from backprop_xp import NeuralNetwork

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([[0], [1], [1], [0]])
np.random.seed(0)
nn = NeuralNetwork(input_size=2, hidden_size=4, output_size=1)
nn.train(X, y, epochs=10000, learning_rate=0.1)
output = nn.feedforward(X)
print("Predictions after training:")
print(output)
"""


def test_a_script_runs_unchanged(capsys):
    exec(SCRIPT, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(", ")[0] for line in lines[:3]] == ["Epoch 0", "Epoch 4000", "Epoch 8000"]
    losses = [float(line.partition("Loss:")[2]) for line in lines[:3]]
    assert losses == sorted(losses, reverse=True)
    assert [round(float(number)) for number in re.findall(r"0\.\d+", "".join(lines[4:]))] == [0, 1, 1, 0]


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(bx.InputError, match="widths must be two or more positive integers"):
        bx.NeuralNetwork(2, size, 1)


def test_wrong_columns_are_refused():
    with pytest.raises(bx.InputError, match=r"X must be \(n_samples, 2\), not \(4, 3\)"):
        made(0).feedforward(np.zeros((4, 3)))
