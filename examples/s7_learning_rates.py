"""S7: 2-2-2 without bias, its eight derivatives, and E_total against iterations for several learning rates."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import backprop_xp as bx

X = np.array([[0.05, 0.10]])
Y = np.array([[0.01, 0.99]])
NETWORK = bx.Network((2, 2, 2), activation="sigmoid", output="sigmoid", bias=False)
# w1, w2 lead into h1 and w3, w4 into h2; w5, w6 into o1 and w7, w8 into o2: a unit's weights are a column.
START = [([[0.15, 0.25], [0.20, 0.30]], None), ([[0.40, 0.50], [0.45, 0.55]], None)]
LEARNING_RATES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0)
SHOWN = 20  # iterations between two rows of the table


def train(learning_rate: float, iterations: int) -> list[float]:
    """Return E_total = E1 + E2 before the first iteration and after each."""
    rule = bx.sgd(learning_rate)
    step = bx.make_step(NETWORK, "half_squared_error", rule)
    params = bx.init(NETWORK, initializer=START)
    state, curve = rule.init(params), []
    for _ in range(iterations + 1):  # a step returns the loss before its update, so one more shows the last
        params, state, total = step(params, state, X, Y)
        curve.append(float(total))
    return curve


def draw(curves: dict[float, list[float]], path: str | Path) -> None:
    """Save the graph of E_total against iterations."""
    from matplotlib.figure import Figure  # a bare Figure needs no display

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for learning_rate, curve in curves.items():
        axes.plot(curve, label=f"{learning_rate}")
    axes.set(xlabel="iterations", ylabel="E_total", title="E_total for several learning rates")
    axes.legend(title="learning rate")
    figure.savefig(path, dpi=150)


def main(iterations: int = 100, plot: str | Path | None = None) -> dict[str, Any]:
    """Print and return the first gradients and the curves; save the graph where `plot` says."""
    total, ((dW0, _), (dW1, _)) = bx.make_gradient(NETWORK, "half_squared_error")(
        bx.init(NETWORK, initializer=START), X, Y
    )
    dw = np.concatenate([dW0.T.ravel(), dW1.T.ravel()])
    print(f"E_total {total:.11f}")
    for number, derivative in enumerate(dw, start=1):
        print(f"dE_total/dw{number} {derivative:.11f}")

    curves = {learning_rate: train(learning_rate, iterations) for learning_rate in LEARNING_RATES}
    print("iteration" + "".join(f"{f'lr {learning_rate}':>14}" for learning_rate in curves))
    for iteration in range(0, iterations + 1, SHOWN):
        print(f"{iteration:9}" + "".join(f"{curve[iteration]:14.10f}" for curve in curves.values()))
    if plot is not None:
        draw(curves, plot)
        print(f"graph saved as {plot}")
    return {"E_total": float(total), "dw": dw, "curves": curves}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plot", nargs="?", help="where to save the graph, for example learning_rates.png")
    parser.add_argument("--iterations", type=int, default=100)
    arguments = parser.parse_args()
    main(arguments.iterations, arguments.plot)
