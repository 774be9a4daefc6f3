"""The two versions of the tutorial's AND gate, without hidden layer: gradient by loops (S1), by matrices (S2)."""

from typing import Any

import numpy as np

from benchmarks.problems import Problem


class S1:
    """Matrix forward pass; the gradient accumulated over features and over samples."""

    def __init__(self, problem: Problem) -> None:
        X, _, Y, params = problem.inputs()
        self.X, self.y = X[0], Y[0]
        ((self.W, self.b),) = params
        self.learning_rate = problem.learning_rate

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        for _ in range(n_steps):
            self.descend(1 / (1 + np.exp(-(self.X @ self.W + self.b))))

    def descend(self, P: Any) -> None:
        """Take one step down the gradient of sum (P - y)^2 / 2."""
        X, y = self.X, self.y
        dW, db = np.zeros_like(self.W), np.zeros_like(self.b)
        for i in range(X.shape[1]):
            for n in range(X.shape[0]):
                dW[i, 0] += (P[n, 0] - y[n, 0]) * P[n, 0] * (1 - P[n, 0]) * X[n, i]
        for n in range(X.shape[0]):
            db[0, 0] += (P[n, 0] - y[n, 0]) * P[n, 0] * (1 - P[n, 0])
        self.W -= self.learning_rate * dW
        self.b -= self.learning_rate * db

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [self.W, self.b]


class S2(S1):
    """Both loops replaced by X^T delta, and a sum."""

    def descend(self, P: Any) -> None:
        """Take the same step."""
        delta = (P - self.y) * P * (1 - P)
        self.W -= self.learning_rate * (self.X.T @ delta)
        self.b -= self.learning_rate * np.sum(delta, axis=0, keepdims=True)
