"""S2: AND again, the loops replaced by matrices: dW = X^T delta, db = the sum of delta over samples."""

import numpy as np

import backprop_xp as bx

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [0.0], [0.0], [1.0]])
NETWORK = bx.Network((2, 1), output="sigmoid")
START = [([[3.47053277], [3.4705037]], [-5.31499689])]  # what the loops of S1 ended with


def main(epochs: int = 10_000, learning_rate: float = 0.01) -> dict[str, np.ndarray]:
    """Go on from S1's weights; print and return the weights, the bias and the outputs."""
    rule = bx.sgd(learning_rate)
    step = bx.make_step(NETWORK, "half_squared_error", rule)
    params = bx.init(NETWORK, initializer=START)
    state = rule.init(params)
    for _ in range(epochs):
        params, state, _ = step(params, state, X, Y)
    ((W, b),), outputs = params, bx.forward(NETWORK, params, X)[-1]
    print(f"W\n{W}\nb\n{b}\noutputs\n{outputs}")
    return {"W": W, "b": b, "outputs": outputs}


if __name__ == "__main__":
    main()
