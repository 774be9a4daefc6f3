"""backprop_xp: its step on any backend, and an epoch of its Trainer."""

import importlib
from typing import Any

import backprop_xp as bx
from backprop_xp import backends
from benchmarks.problems import Problem


class Steps:
    """The core's step, run eagerly."""

    def __init__(self, problem: Problem, backend: str = "numpy", device: str = "cpu") -> None:
        there = backends.select(device, backend, problem.dtype)
        X, _, Y, params = problem.inputs()
        self.library = backend
        self.batches = [
            (backends.to_device(Xb, there), backends.to_device(Yb, there)) for Xb, Yb in zip(X, Y, strict=True)
        ]
        self.params_ = tuple((backends.to_device(W, there), backends.to_device(b, there)) for W, b in params)
        self.step = bx.make_step(problem.network, problem.loss, problem.rule)
        self.state = problem.rule.init(self.params_)

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        params, state, step, batches = self.params_, self.state, self.step, self.batches
        for k in range(n_steps):
            X, Y = batches[k % len(batches)]
            params, state, _ = step(params, state, X, Y)
        self.params_, self.state = params, state
        backends.synchronize(params[-1][0])

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [backends.to_host(leaf) for layer in self.params_ for leaf in layer]

    def facts(self) -> dict[str, Any]:
        """Return the memory that was taken, where that is not the host's."""
        return _device_memory(self.library)


class Fit:
    """Trainer.fit: shuffled minibatches, an epoch at a time from the start. `counts` is what a step is here."""

    def __init__(self, problem: Problem, device: str = "cpu", counts: str = "step") -> None:
        X, labels, _, _ = problem.inputs()
        self.X, self.y = X.reshape(-1, X.shape[-1]), labels.reshape(-1)
        self.n_steps = problem.n_batches if counts == "step" else 1
        self.batch = problem.batch
        self.compared: list[Any] | None = None
        self.trainer = bx.Trainer(
            problem.network,
            problem.loss,
            problem.rule,
            batch_size=problem.batch,
            epochs=1,
            device=device,
            bias_initializer="uniform",
        )

    def run(self, n_steps: int) -> None:
        """Fit as many epochs as have these steps, at least one."""
        for _ in range(max(1, n_steps // self.n_steps)):
            self.trainer.fit(self.X, self.y)

    def check(self, n_steps: int) -> None:
        """Fit the first batches in their order."""
        rows = slice(0, n_steps * self.batch)
        self.trainer.shuffle = False
        self.trainer.fit(self.X[rows], self.y[rows])
        self.trainer.shuffle = True
        self.compared = [backends.to_host(leaf) for layer in self.trainer.params for leaf in layer if leaf is not None]

    def params(self) -> list[Any] | None:
        """Return the parameters as `check` left them."""
        return self.compared

    def facts(self) -> dict[str, Any]:
        """Return the memory that was taken, where that is not the host's."""
        return _device_memory(self.trainer.backend.name)


def _device_memory(library: str) -> dict[str, Any]:
    """Return what CuPy's pool has taken from the device at most, in bytes; nothing for other libraries."""
    if library != "cupy":
        return {}
    taken = importlib.import_module("cupy").get_default_memory_pool().total_bytes()
    return {"memory": dict.fromkeys(("peak", "beyond_libraries", "beyond_data"), taken)}
