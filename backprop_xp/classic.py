"""The tutorials' NeuralNetwork class: one hidden layer of sigmoids, trained on the whole batch, over this core."""

from typing import Any

import numpy as np

from backprop_xp.activations import sigmoid, sigmoid_derivative
from backprop_xp.errors import InputError
from backprop_xp.network import Array, Network, Params, backward, forward, propagate
from backprop_xp.optimizers import sgd
from backprop_xp.step import loss_head

PRINT_EVERY = 4000  # epochs


class NeuralNetwork:
    """A network with one hidden layer, sigmoid in both layers, trained by gradient descent on sum (y - p)^2 / 2.

    Scripts written for the class of that name in the tutorials run with this one in its place: they may read and
    overwrite the weights, call `feedforward` and `backward` by hand, and train again to go on.

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Units of each layer.

    Attributes
    ----------
    weights_input_hidden, weights_hidden_output : array (n_in, n_out)
        From the standard normal distribution; NumPy's global generator draws them, so `np.random.seed` fixes them.
    bias_hidden, bias_output : array (1, n_out)
        Zero at first.
    hidden_activation, output_activation : array (n_samples, n_units)
        What went into each layer's sigmoid in the last `feedforward`.
    hidden_output, predicted_output : array (n_samples, n_units)
        What came out of it.

    Raises
    ------
    InputError
        If a size is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> np.random.seed(0)
    >>> nn = NeuralNetwork(2, 4, 1)
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    >>> nn.train(X, y, epochs=10000, learning_rate=0.1)
    Epoch 0, Loss:0.3267
    Epoch 4000, Loss:0.0144
    Epoch 8000, Loss:0.0029
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.network = Network((input_size, hidden_size, output_size), activation="sigmoid", output="sigmoid")
        self.weights_input_hidden: Array = np.random.randn(input_size, hidden_size)
        self.weights_hidden_output: Array = np.random.randn(hidden_size, output_size)
        self.bias_hidden: Array = np.zeros((1, hidden_size))
        self.bias_output: Array = np.zeros((1, output_size))

    @property
    def params(self) -> Params:
        """The four attributes as the core takes them."""
        return (self.weights_input_hidden, self.bias_hidden), (self.weights_hidden_output, self.bias_output)

    def sigmoid(self, x: Array) -> Array:
        """Return the logistic sigmoid of `x`."""
        return sigmoid(x, np)

    def sigmoid_derivative(self, x: Array) -> Array:
        """Return its derivative where its value is `x`."""
        return sigmoid_derivative(x, np)

    def feedforward(self, X: Array) -> Array:
        """Return the network's output (n_samples, output_size) for `X` (n_samples, input_size), or one sample's.

        Raises
        ------
        InputError
            If `X` does not have input_size columns.
        """
        X, params = np.atleast_2d(X), self.params
        _, self.hidden_output, self.predicted_output = forward(self.network, params, X)
        _, _, self.hidden_activation = propagate(self.network, params[:1], X, None, np)  # cut after the hidden layer
        _, _, self.output_activation = propagate(self.network, params, X, None, np)
        return self.predicted_output

    def backward(self, X: Array, y: Array, learning_rate: float) -> None:
        """Change the weights in place by one step of gradient descent, from what the last `feedforward` left.

        Parameters
        ----------
        X : array (n_samples, input_size)
        y : array (n_samples, output_size)
        learning_rate : float

        Raises
        ------
        InputError
            If there was no `feedforward` yet.
        """
        if not hasattr(self, "output_activation"):
            raise InputError("backward goes on from what feedforward left: call feedforward(X) first")
        X, params = np.atleast_2d(X), self.params
        _, delta = self._loss("half_squared_error", y)
        grads = backward(self.network, params, [X, self.hidden_output, self.predicted_output], delta)
        rule = sgd(learning_rate)
        updated, _ = rule.update(grads, rule.init(params), params)
        for layer, new_layer in zip(params, updated, strict=True):
            for old, new in zip(layer, new_layer, strict=True):
                np.copyto(old, new)  # in place, as `+=` did: a script may hold the array itself

    def train(self, X: Array, y: Array, epochs: int, learning_rate: float) -> None:
        """Take `epochs` steps on all samples; print the mean squared error before every 4000th.

        Parameters
        ----------
        X : array (n_samples, input_size)
        y : array (n_samples, output_size)
        epochs : int
        learning_rate : float
        """
        for epoch in range(epochs):
            self.feedforward(X)
            if epoch % PRINT_EVERY == 0:
                error, _ = self._loss("squared_error", y)
                print(f"Epoch {epoch}, Loss:{error:.4f}")
            self.backward(X, y, learning_rate)

    def _loss(self, name: str, y: Array) -> tuple[Any, Array]:
        """Return the loss of the last output, and its gradient by what went into the sigmoid there."""
        return loss_head(self.network, name)(self.output_activation, np.asarray(y), None, np)
