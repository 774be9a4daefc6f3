"""The limits: the step's matrix products alone, and the whole step written by hand for NumPy, in place."""

import importlib
from typing import Any

import numpy as np

from backprop_xp import backends
from benchmarks.problems import EPSILON, Problem


def _library(name: str) -> Any:
    """Return NumPy, or CuPy where it can compute; InputError says why it cannot."""
    if name == "cupy":
        backends.select("cuda", name)
    return importlib.import_module(name)


class Products:
    """The floor: only the products that a step needs, on the same BLAS, into arrays made beforehand."""

    def __init__(self, problem: Problem, library: str = "numpy", device: str = "cpu") -> None:
        xp = self.xp = _library(library)
        X, _, _, params = problem.inputs()
        draw = np.random.default_rng(1)
        weights = [xp.asarray(W) for W, _ in params]
        deltas = [
            xp.asarray(draw.standard_normal((problem.batch, n)).astype(problem.dtype)) for n in problem.widths[1:]
        ]
        hidden = [xp.asarray(np.abs(draw.standard_normal(delta.shape)).astype(problem.dtype)) for delta in deltas[:-1]]
        self.triples = []
        for Xb in X:
            inputs = [xp.asarray(Xb), *hidden]
            pairs = list(zip(inputs, weights, strict=True))
            pairs += [(a.T, delta) for a, delta in zip(inputs, deltas, strict=True)]
            pairs += [(delta, W.T) for delta, W in zip(deltas[1:], weights[1:], strict=True)]
            self.triples.append([(A, B, xp.empty((A.shape[0], B.shape[1]), A.dtype)) for A, B in pairs])

    def run(self, n_steps: int) -> None:
        """Multiply."""
        dot = self.xp.dot
        for k in range(n_steps):
            for A, B, product in self.triples[k % len(self.triples)]:
                dot(A, B, out=product)
        if self.xp is not np:
            self.xp.cuda.get_current_stream().synchronize()

    def params(self) -> None:
        """None: it trains nothing."""


class Square:
    """One product of two square matrices, into an array made beforehand: the rate that the machine reaches."""

    def __init__(self, problem: Problem, library: str = "numpy", device: str = "cpu") -> None:
        xp = self.xp = _library(library)
        n = problem.widths[0]
        self.A, self.B = (
            xp.asarray(np.random.default_rng(k).standard_normal((n, n), dtype=np.float32)) for k in (0, 1)
        )
        self.product = xp.empty_like(self.A)

    def run(self, n_steps: int) -> None:
        """Multiply."""
        for _ in range(n_steps):
            self.xp.dot(self.A, self.B, out=self.product)
        if self.xp is not np:
            self.xp.cuda.get_current_stream().synchronize()

    def params(self) -> None:
        """None: it trains nothing."""


class InPlace:
    """Every array that a step needs is made once and written in place, transposes are taken once, np.dot multiplies."""

    def __init__(self, problem: Problem) -> None:
        X, _, Y, params = problem.inputs()
        self.batches = [(Xb, Xb.T, Yb) for Xb, Yb in zip(X, Y, strict=True)]
        self.W, self.b = ([leaf.copy() for leaf in leaves] for leaves in zip(*params, strict=True))
        self.dW, self.db = ([np.empty_like(leaf) for leaf in leaves] for leaves in (self.W, self.b))
        shapes = [(problem.batch, W.shape[1]) for W in self.W]
        self.a, self.delta, self.work = ([np.empty(shape, np.float32) for shape in shapes] for _ in range(3))
        self.aT, self.WT = [a.T for a in self.a], [W.T for W in self.W]
        self.column = np.empty((problem.batch, 1), np.float32)
        self.learning_rate, self.share = np.float32(problem.learning_rate), np.float32(1 / problem.batch)
        self.update = {"sgd": self.sgd, "adam": self.adam}[problem.optimizer]
        self.t = 0
        if problem.optimizer == "adam":
            leaves = zip(self.W, self.b, strict=True)
            self.moments = [[tuple(np.zeros_like(leaf) for _ in range(3)) for leaf in layer] for layer in leaves]

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        for k in range(n_steps):
            self.step(*self.batches[k % len(self.batches)])

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [leaf for layer in zip(self.W, self.b, strict=True) for leaf in layer]

    def step(self, X: Any, XT: Any, Y: Any) -> float:
        """Forward, loss, backward; returns the loss. Y is one-hot."""
        self.t += 1
        a, last = X, len(self.W) - 1
        for layer in range(last):
            z = self.a[layer]
            np.dot(a, self.W[layer], out=z)
            z += self.b[layer]
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)
            a = z
        loss, delta = self.softmax_cross_entropy(a, Y)
        for layer in range(last, 0, -1):
            h, upstream, work = self.a[layer - 1], self.delta[layer - 1], self.work[layer - 1]
            np.dot(self.aT[layer - 1], delta, out=self.dW[layer])
            np.add.reduce(delta, axis=0, keepdims=True, out=self.db[layer])
            np.dot(delta, self.WT[layer], out=upstream)
            np.multiply(h, h, out=work)
            np.subtract(h, work, out=work)
            upstream *= work
            delta = upstream
            self.update(layer)
        np.dot(XT, delta, out=self.dW[0])
        np.add.reduce(delta, axis=0, keepdims=True, out=self.db[0])
        self.update(0)
        return loss

    def softmax_cross_entropy(self, a: Any, Y: Any) -> tuple[float, Any]:
        """Return the mean loss of the output layer, and its delta."""
        z, delta, column = self.a[-1], self.delta[-1], self.column
        np.dot(a, self.W[-1], out=z)
        z += self.b[-1]
        np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        z -= column
        np.exp(z, out=delta)
        np.add.reduce(delta, axis=1, keepdims=True, out=column)
        delta /= column
        np.log(column, out=column)
        z *= Y
        loss = float(np.add.reduce(column, axis=None) - np.add.reduce(z, axis=None)) / len(Y)
        delta -= Y
        delta *= self.share
        return loss, delta

    def sgd(self, layer: int) -> None:
        """W <- W - lr dW, b <- b - lr db."""
        for leaf, grad in ((self.W[layer], self.dW[layer]), (self.b[layer], self.db[layer])):
            grad *= self.learning_rate
            leaf -= grad

    def adam(self, layer: int) -> None:
        """Adam's update of both leaves of a layer (Kingma and Ba 2015, the end of section 2)."""
        corrected = np.float32(self.learning_rate * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t))
        leaves = (self.W[layer], self.dW[layer]), (self.b[layer], self.db[layer])
        for (leaf, grad), (m, v, work) in zip(leaves, self.moments[layer], strict=True):
            m *= np.float32(0.9)
            np.multiply(grad, np.float32(0.1), out=work)
            m += work
            v *= np.float32(0.999)
            grad *= grad
            grad *= np.float32(0.001)
            v += grad
            np.sqrt(v, out=work)
            work += np.float32(EPSILON)
            np.multiply(m, corrected, out=grad)
            grad /= work
            leaf -= grad
