"""S6: a network 4-3-1 for three samples: one epoch in named steps, then twelve random starts trained together."""

from typing import Any

import numpy as np

import backprop_xp as bx
from backprop_xp.activations import sigmoid_derivative
from backprop_xp.initializers import uniform

X = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
Y = np.array([[1.0], [1.0], [0.0]])
NETWORK = bx.Network((4, 3, 1), activation="sigmoid", output="sigmoid")

# The tutorial's own trained weights: (wh, bh) and (wout, bout).
PRINTED = [
    (
        [
            [1.61560569, 1.46930404, -0.80612237],
            [-1.73880225, -1.41772989, 1.23533085],
            [1.73563891, 1.73681884, -0.55815855],
            [-0.64345475, -1.02417878, 0.78395742],
        ],
        [[-0.36208101, -0.07956337, 0.16433623]],
    ),
    ([[3.54081355], [3.11519372], [-2.46159562]], [[-1.46017449]]),
]


def walk(params: bx.network.Params, learning_rate: float) -> dict[str, np.ndarray]:
    """Return every intermediate array of one epoch under its name, from the input to the new biases."""
    (wh, bh), (wout, bout) = params
    steps = {
        "1 input": X,
        "2 weights and biases of the hidden layer": np.vstack([wh, bh]),
        "3 hidden layer, linear": X @ wh + bh,
    }
    _, hidden, output = bx.forward(NETWORK, params, X)
    error = Y - output
    slope_output, slope_hidden = sigmoid_derivative(output, np), sigmoid_derivative(hidden, np)
    delta = -error * slope_output  # dE/dz of E = sum (y - p)^2 / 2
    (dwh, dbh), (dwout, dbout) = bx.backward(NETWORK, params, [X, hidden, output], delta)
    return steps | {
        "4 hidden layer, sigmoid": hidden,
        "5 output": output,
        "6 error at the output": error,
        "7 slopes of the output and the hidden layer": np.hstack([slope_output, slope_hidden]),
        "8 delta at the output": delta,
        "9 error and delta at the hidden layer": (delta @ wout.T) * slope_hidden,
        "10 new weights": np.vstack([wh - learning_rate * dwh, (wout - learning_rate * dwout).T]),
        "11 new biases": np.hstack([bh - learning_rate * dbh, bout - learning_rate * dbout]),
    }


def starts(n_starts: int) -> bx.network.Params:
    """Return parameters from U(0, 1), those of `n_starts` seeds stacked: W (n_starts, n_in, n_out)."""
    drawn = [bx.init(NETWORK, seed, uniform(0, 1), bias_initializer=uniform(0, 1)) for seed in range(n_starts)]
    return tuple(
        (np.stack([W for W, _ in layer]), np.stack([b for _, b in layer])) for layer in zip(*drawn, strict=True)
    )


def main(n_starts: int = 12, epochs: int = 5_000, learning_rate: float = 0.1) -> dict[str, Any]:
    """Print and return the outputs of the printed weights, one epoch's steps, and where the random starts end."""
    printed = bx.forward(NETWORK, bx.init(NETWORK, initializer=PRINTED), X)[-1]
    print(f"the tutorial's weights give {printed[:, 0]}")

    params = starts(n_starts)
    steps = walk(tuple((W[0], b[0]) for W, b in params), learning_rate)
    for name, array in steps.items():
        print(f"step {name}\n{array.round(4)}")

    rule = bx.sgd(learning_rate)
    step = bx.make_step(NETWORK, "half_squared_error", rule)
    state = rule.init(params)
    for _ in range(epochs):  # one step trains all of them
        params, state, _ = step(params, state, X, Y)
    outputs = bx.forward(NETWORK, params, X)[-1]
    errors = np.mean((outputs - Y) ** 2, axis=(-2, -1))
    n_learned = int(np.sum(errors < 0.01))
    print(f"{n_learned} of {n_starts} starts end under 0.01, median mean squared error {np.median(errors):.5f}")
    return {"printed_outputs": printed, "steps": steps, "params": params, "errors": errors, "n_learned": n_learned}


if __name__ == "__main__":
    main()
