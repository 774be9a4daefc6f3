"""S5: XOR with the tutorials' NeuralNetwork class, 2-4-1, as a script for that class is written."""

import numpy as np

from backprop_xp import NeuralNetwork

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([[0], [1], [1], [0]])


def main(seed: int = 0, epochs: int = 10_000, learning_rate: float = 0.1) -> dict[str, np.ndarray | float]:
    """Train once, which prints the mean squared error every 4,000 epochs; print and return what it predicts."""
    np.random.seed(seed)
    nn = NeuralNetwork(input_size=2, hidden_size=4, output_size=1)
    nn.train(X, y, epochs=epochs, learning_rate=learning_rate)
    predictions = nn.feedforward(X)
    error = float(np.mean((y - predictions) ** 2))
    print(f"Predictions after training:\n{predictions}\nmean squared error {error:.4f}")
    return {"predictions": predictions, "error": error}


if __name__ == "__main__":
    main()
