"""S4: 2-2-2 with given weights and one bias a layer that its units share and that is not trained."""

import numpy as np

import backprop_xp as bx

X = np.array([[0.15, 0.85]])
Y = np.array([[0.95, 0.25]])
NETWORK = bx.Network((2, 2, 2), activation="sigmoid", output="sigmoid", bias="shared")

# As the tutorial writes them: a row holds the weights into one unit (W @ x). The core's rows are the inputs.
W0 = np.array([[0.1, 0.2], [0.3, 0.4]])
W1 = np.array([[0.5, 0.6], [0.7, 0.8]])
B1, B2 = 0.35, 0.60


def mean_squared_error(params: bx.network.Params) -> float:
    """Return the figure the tutorial reports: the mean of (y - p)^2 over the two outputs."""
    return float(np.mean((bx.forward(NETWORK, params, X)[-1] - Y) ** 2))


def main(epochs: int = 500, learning_rate: float = 0.5) -> dict[str, np.ndarray | float]:
    """Print and return the first pass and its gradients, and the error before, after one step and at the end."""
    params = bx.init(NETWORK, initializer=[(W0.T, [B1]), (W1.T, [B2])])
    _, hidden, output = bx.forward(NETWORK, params, X)
    _, ((dW0, _), (dW1, _)) = bx.make_gradient(NETWORK, "half_squared_error")(params, X, Y)
    print(f"hidden {hidden[0]}, output {output[0]}")
    print(f"dE/dW1\n{dW1.T}\ndE/dW0\n{dW0.T}")

    rule = bx.sgd(learning_rate)
    step = bx.make_step(NETWORK, "half_squared_error", rule, multipliers=((1.0, 0.0), (1.0, 0.0)))  # biases stay
    state, errors = rule.init(params), [mean_squared_error(params)]
    for _ in range(epochs):
        params, state, _ = step(params, state, X, Y)
        errors.append(mean_squared_error(params))
    print(f"mean squared error {errors[0]:.10f}, after one step {errors[1]:.10f}, after {epochs} {errors[-1]:.13f}")
    biases = np.concatenate([b[0] for _, b in params])
    return {
        "hidden": hidden[0],
        "output": output[0],
        "dW1": dW1.T,
        "dW0": dW0.T,
        "errors": np.array(errors),
        "biases": biases,
    }


if __name__ == "__main__":
    main()
