"""JAX as its users write it: value_and_grad under jit, a step at a time or a scan over an epoch; and a whole job."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backprop_xp.errors import InputError
from benchmarks.contenders import whole_jobs
from benchmarks.problems import EPSILON, Problem


def select(device: str) -> Any:
    """Return the device, which computes in float32 as everybody else's, not in TF32."""
    try:
        there = jax.devices(device)[0]
    except RuntimeError:
        raise InputError(f"JAX finds no {device} device") from None
    if device == "cuda":
        jax.config.update("jax_default_matmul_precision", "highest")
    return there


def loss(params: Any, X: Any, Y: Any) -> Any:
    """Return the mean cross-entropy of a network with sigmoid hidden layers; Y is one-hot."""
    for W, b in params[:-1]:
        X = jax.nn.sigmoid(X @ W + b)
    W, b = params[-1]
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(X @ W + b) * Y, axis=1))


def sgd(params: Any, state: Any, grads: Any, learning_rate: float) -> tuple[Any, Any]:
    """w - lr g."""
    return jax.tree.map(lambda w, g: w - learning_rate * g, params, grads), state


def adam(params: Any, state: Any, grads: Any, learning_rate: float, epsilon: float = EPSILON) -> tuple[Any, Any]:
    """Kingma and Ba 2015, algorithm 1."""
    m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    c, d = 1 - 0.9**t, 1 - 0.999**t
    params = jax.tree.map(lambda w, m, v: w - learning_rate * (m / c) / (jnp.sqrt(v / d) + epsilon), params, m, v)
    return params, (m, v, t)


class JitSteps:
    """One compiled step, called batch after batch; its arrays are donated."""

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        there = select(device)
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


def output(params: Any, X: Any) -> Any:
    """Return the last layer's output before its activation, of a network with relu hidden layers."""
    for W, b in params[:-1]:
        X = jax.nn.relu(X @ W + b)
    W, b = params[-1]
    return X @ W + b


def loss_of_job(params: Any, X: Any, y: Any) -> Any:
    """Return the mean cross-entropy: of integer labels, or of one output's 0 and 1."""
    z = output(params, X)
    if z.shape[1] > 1:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))
    return jnp.mean(jnp.logaddexp(0.0, z) - y * z)


def job_step(state: Any, batch: Any, learning_rate: float) -> tuple[Any, None]:
    """Return parameters and Adam's state after a step."""
    params, inner = state
    return adam(params, inner, jax.grad(loss_of_job)(params, *batch), learning_rate, 1e-8), None


@partial(jax.jit, static_argnames=("batch", "learning_rate"), donate_argnums=0)
def job_epoch(state: Any, key: Any, X: Any, y: Any, batch: int, learning_rate: float) -> Any:
    """Take an epoch's steps on rows in a drawn order: a scan over whole batches, and what is left of the rows."""
    step = partial(job_step, learning_rate=learning_rate)
    order = jax.random.permutation(key, len(X))
    n_whole = len(X) // batch * batch
    state, _ = jax.lax.scan(lambda s, rows: step(s, (X[rows], y[rows])), state, order[:n_whole].reshape(-1, batch))
    if n_whole < len(X):
        state, _ = step(state, (X[order[n_whole:]], y[order[n_whole:]]))
    return state


class FitJob(whole_jobs.Fit):
    """A scan an epoch, rows taken by index on the device."""

    def loop(self, note: Callable[..., None] | None = None) -> None:
        """Train; call note, where there is one, after each epoch."""
        job = self.job
        y = self.data.y.astype(np.int32 if job.n_outputs > 1 else np.float32)
        X, y = jax.device_put((self.data.X, y), select(self.device))
        first, *keys = jax.random.split(jax.random.key(job.seed), 1 + job.epochs)
        params = tuple(
            (jax.random.normal(key, (n_in, n_out)) * (2 / n_in) ** 0.5, jnp.zeros(n_out))
            for key, (n_in, n_out) in zip(
                jax.random.split(first, 1 + len(job.hidden)),
                pairwise((X.shape[1], *job.hidden, job.n_outputs)),
                strict=True,
            )
        )
        zeros = partial(jax.tree.map, jnp.zeros_like, params)
        state: Any = params, (zeros(), zeros(), jnp.float32(0))
        for key in keys:
            state = job_epoch(state, key, X, y, job.batch, job.learning_rate)
            if note is not None:
                self.fitted = jax.block_until_ready(state[0])
                note()
        self.fitted = jax.block_until_ready(state[0])

    def accuracy(self) -> float:
        """Return the share of validation rows that are told rightly."""
        z = np.asarray(output(self.fitted, jnp.asarray(self.data.X_val)))
        return whole_jobs.right(z if self.job.n_outputs > 1 else z + 0.5, self.data.y_val)
