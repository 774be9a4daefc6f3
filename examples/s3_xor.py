"""S3: XOR with one hidden layer, 2-2-1, from twelve random starts that are trained together on a leading axis."""

from typing import Any

import numpy as np

import backprop_xp as bx

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
NETWORK = bx.Network((2, 2, 1), activation="sigmoid", output="sigmoid")

# The tutorial's own trained weights: (wh, bh) and (wo, bo).
PRINTED = [
    ([[5.48226039, 3.95529266], [5.47935185, 3.95444916]], [[-2.30300806, -6.07513727]]),
    ([[7.49482524], [-7.98051637]], [[-3.4465451]]),
]


def starts(n_starts: int) -> bx.network.Params:
    """Return parameters from U(-1, 1), those of `n_starts` seeds stacked: W (n_starts, n_in, n_out)."""
    drawn = [bx.init(NETWORK, seed, "uniform", bias_initializer="uniform") for seed in range(n_starts)]
    return tuple(
        (np.stack([W for W, _ in layer]), np.stack([b for _, b in layer])) for layer in zip(*drawn, strict=True)
    )


def main(n_starts: int = 12, epochs: int = 10_000, learning_rate: float = 0.1) -> dict[str, Any]:
    """Print and return the outputs of the printed weights, and where the random starts end."""
    printed = bx.forward(NETWORK, bx.init(NETWORK, initializer=PRINTED), X)[-1]
    print(f"the tutorial's weights give {printed[:, 0]}")

    rule = bx.sgd(learning_rate)
    step = bx.make_step(NETWORK, "half_squared_error", rule)
    params = starts(n_starts)
    state = rule.init(params)
    for _ in range(epochs):  # one step trains all of them
        params, state, _ = step(params, state, X, Y)
    outputs = bx.forward(NETWORK, params, X)[-1]
    errors = np.mean((outputs - Y) ** 2, axis=(-2, -1))
    for seed in range(n_starts):
        print(f"seed {seed:2}: mean squared error {errors[seed]:.6f}, outputs {outputs[seed, :, 0].round(3)}")
    n_learned, n_stuck = int(np.sum(errors < 0.01)), int(np.sum(errors > 0.1))
    print(
        f"{n_learned} of {n_starts} starts end under 0.01; {n_stuck} are stuck in a local minimum near 0.13, ", end=""
    )
    print(f"{n_starts - n_learned - n_stuck} would need more epochs")
    return {
        "printed_outputs": printed,
        "params": params,
        "errors": errors,
        "n_learned": n_learned,
        "n_stuck": n_stuck,
    }


if __name__ == "__main__":
    main()
