"""JAX as its users write it: value_and_grad under jit, a step at a time or a scan over an epoch."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_xp.errors import InputError
from benchmarks.problems import EPSILON, Problem


def loss(params: Any, X: Any, Y: Any) -> Any:
    """Return the mean cross-entropy of a network with sigmoid hidden layers; Y is one-hot."""
    for W, b in params[:-1]:
        X = jax.nn.sigmoid(X @ W + b)
    W, b = params[-1]
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(X @ W + b) * Y, axis=1))


def sgd(params: Any, state: Any, grads: Any, learning_rate: float) -> tuple[Any, Any]:
    """w - lr g."""
    return jax.tree.map(lambda w, g: w - learning_rate * g, params, grads), state


def adam(params: Any, state: Any, grads: Any, learning_rate: float) -> tuple[Any, Any]:
    """Kingma and Ba 2015, algorithm 1."""
    m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    c, d = 1 - 0.9**t, 1 - 0.999**t
    params = jax.tree.map(lambda w, m, v: w - learning_rate * (m / c) / (jnp.sqrt(v / d) + EPSILON), params, m, v)
    return params, (m, v, t)


class JitSteps:
    """One compiled step, called batch after batch; its arrays are donated."""

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        try:
            there = jax.devices(device)[0]
        except RuntimeError:
            raise InputError(f"JAX finds no {device} device") from None
        if device == "cuda":  # float32 as everybody else, not TF32
            jax.config.update("jax_default_matmul_precision", "highest")
        X, _, Y, params = problem.inputs()
        params = jax.tree.map(lambda leaf: leaf if leaf.ndim > 1 else leaf[0], params)
        zeros = jax.tree.map(np.zeros_like, params)
        state = (zeros, zeros, np.float32(0)) if problem.optimizer == "adam" else ()
        self.state: Any = jax.device_put((params, state), there)
        self.X, self.Y = jax.device_put((X, Y), there)
        self.batches = [(Xb, Yb) for Xb, Yb in zip(self.X, self.Y, strict=True)]
        self.update = partial({"sgd": sgd, "adam": adam}[problem.optimizer], learning_rate=problem.learning_rate)
        self.compile()

    def step(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """Return the next parameters and state, and the loss."""
        params, inner = state
        value, grads = jax.value_and_grad(loss)(params, *batch)
        return self.update(params, inner, grads), value

    def compile(self) -> None:
        """Compile a step."""
        self.compiled = jax.jit(self.step, donate_argnums=0)

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        for k in range(n_steps):
            self.state, _ = self.compiled(self.state, self.batches[k % len(self.batches)])
        jax.block_until_ready(self.state)

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [np.asarray(leaf) for layer in self.state[0] for leaf in layer]


class ScanEpochs(JitSteps):
    """A whole epoch in one compiled call."""

    def compile(self) -> None:
        """Compile an epoch."""
        self.compiled = jax.jit(lambda state, batches: jax.lax.scan(self.step, state, batches), donate_argnums=0)

    def run(self, n_steps: int) -> None:
        """Take the steps, the last ones as a short epoch."""
        n_batches = len(self.X)
        while n_steps > 0:
            first = min(n_steps, n_batches)
            batches = (self.X, self.Y) if first == n_batches else (self.X[:first], self.Y[:first])
            self.state, _ = self.compiled(self.state, batches)
            n_steps -= first
        jax.block_until_ready(self.state)
