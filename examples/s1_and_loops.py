"""S1: AND without a hidden layer. The forward pass takes matrices; the gradient is summed up by plain loops."""

import numpy as np

import backprop_xp as bx
from backprop_xp import loops
from backprop_xp.activations import sigmoid_derivative

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [0.0], [0.0], [1.0]])
NETWORK = bx.Network((2, 1), output="sigmoid")
LEARNING_RATE = 0.01

# What the tutorial printed after several runs of 10,000 epochs, each going on from the last.
PRINTED = ([[3.47053277], [3.4705037]], [-5.31499689])


def looped_gradient(X: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dE/dW and dE/db from the outputs P: for each sample, third term times the first two."""
    delta = (P - Y) * sigmoid_derivative(P, np)  # first term times second term
    dW, db = [[0.0], [0.0]], [0.0]
    for x, delta_of_sample in zip(X.tolist(), delta.tolist(), strict=True):
        loops.accumulate(x, delta_of_sample, dW, db)  # the loop over features is in there
    return np.array(dW), np.array(db)


def train(params: bx.network.Params, epochs: int) -> bx.network.Params:
    """Return the parameters after `epochs` steps of gradient descent."""
    ((W, b),) = params
    for _ in range(epochs):
        _, P = bx.forward(NETWORK, ((W, b),), X)
        dW, db = looped_gradient(X, P)
        W, b = W - LEARNING_RATE * dW, b - LEARNING_RATE * db
    return ((W, b),)


def main(runs: int = 3, epochs: int = 10_000, seed: int = 0) -> dict[str, np.ndarray]:
    """Train `runs` times in a row; print and return the weights, the bias and the outputs."""
    params = bx.init(NETWORK, seed, "uniform", bias_initializer="uniform")
    for run in range(1, runs + 1):
        params = train(params, epochs)
        ((W, b),), P = params, bx.forward(NETWORK, params, X)[-1]
        print(f"run {run}: W {W[:, 0]}, b {b[0]}, outputs {P[:, 0]}")
    printed = bx.forward(NETWORK, bx.init(NETWORK, initializer=[PRINTED]), X)[-1]
    print(f"the tutorial's own weights give {printed[:, 0]}")
    return {"W": W, "b": b, "outputs": P, "printed_outputs": printed}


if __name__ == "__main__":
    main()
