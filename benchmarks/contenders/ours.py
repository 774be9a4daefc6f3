"""backprop_xp: its step on any backend, by any engine, and epochs of its Trainer."""

import importlib
import time
from typing import Any

import numpy as np

import backprop_xp as bx
from backprop_xp import backends, engines
from backprop_xp.batches import IndexBatches
from backprop_xp.callbacks import Callback
from backprop_xp.engines.torch import Torch
from benchmarks.problems import Problem

# What is timed is a step of a long run: the eager engine takes a small network's first few hundred in another way, and
# the torch engine compiles after five seconds.
LONG, SMALL = 300, 2**18  # steps; weights
BEGINNING = 2  # epochs at least after which a fit takes no fresh memory, and its steps count


class Steps:
    """Epochs of the core's step, as an engine runs them, over rows in their order.

    Parameters
    ----------
    problem : Problem
    engine : str
        Any but "auto".
    backend : str, optional
        None is NumPy on the CPU, and on CUDA what the engine takes.
    device : str
    """

    def __init__(
        self, problem: Problem, engine: str = "eager", backend: str | None = None, device: str = "cpu"
    ) -> None:
        there = backends.select(device, engines.backend_for(engine, device, backend), problem.dtype)
        self.library, self.batch, self.n_batches = there.name, problem.batch, problem.n_batches
        X, _, Y, params = problem.inputs()
        self.X, self.Y = (backends.to_device(array.reshape(-1, array.shape[-1]), there) for array in (X, Y))
        self.params_ = tuple((backends.to_device(W, there), backends.to_device(b, there)) for W, b in params)
        self.step = bx.make_step(problem.network, problem.loss, problem.rule)
        self.state = problem.rule.init(self.params_)
        self.engine = Torch(compile=True) if engine == "torch" else engines.select(engine)
        first, second = self.timed_step(), self.timed_step()
        self.compiling = max(0.0, first - second)
        if engine == "eager" and self.library == "numpy" and problem.work <= SMALL * problem.batch:
            self.epochs(LONG)

    def run(self, n_steps: int) -> None:
        """Take the steps: whole epochs, and a shorter one."""
        self.params_, self.state = self.epochs(n_steps)

    def epochs(self, n_steps: int) -> tuple[Any, Any]:
        """Return parameters and state after so many steps more, when they are there."""
        params, state = self.params_, self.state
        while n_steps > 0:
            n_batches = min(n_steps, self.n_batches)
            batches = IndexBatches(None, n_batches * self.batch, self.batch)
            params, state, _ = self.engine.run(self.step, params, state, self.X, self.Y, batches)
            n_steps -= n_batches
        backends.synchronize(params[-1][0])
        return params, state

    def timed_step(self) -> float:
        """Return the seconds of an epoch of one step, whose result is dropped."""
        start = time.perf_counter()
        self.epochs(1)
        return time.perf_counter() - start

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [backends.to_host(leaf) for layer in self.params_ for leaf in layer]

    def facts(self) -> dict[str, Any]:
        """Return the seconds of compiling a step, and the memory that was taken where that is not the host's."""
        return {"compiling": self.compiling, **_device_memory(self.library)}


class Fit(Callback):
    """Trainer.fit on shuffled minibatches: the steps of a long fit, whose first epochs are over.

    What a fit costs once, before its first step and for the memory that it takes, is told apart, in `facts`. `counts`
    is what a step is here: "step" or "epoch". As a callback, it notes when epochs are over.
    """

    paced = True

    def __init__(self, problem: Problem, engine: str = "eager", device: str = "cpu", counts: str = "step") -> None:
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
            device=device,
            engine=engine,
            bias_initializer="uniform",
            callbacks=[self],
        )
        self.beginning = BEGINNING
        if engine == "eager" and device == "cpu" and problem.work <= SMALL * problem.batch:
            self.beginning = max(BEGINNING, 1 + LONG // problem.n_batches)
        self.ends: dict[int, float] = {}  # when an epoch of a fit was over, or the last of several brief ones
        self.once: list[float] = []

    def run(self, n_steps: int) -> float:
        """Fit once; return the seconds of as many epochs as have these steps, at least one, after the first ones.

        Brief epochs are over several at a time: then of so many more that there are two such times.
        """
        epochs = max(1, n_steps // self.n_steps)
        self.trainer.epochs = self.beginning + epochs
        while True:
            self.ends = {}
            start = time.perf_counter()
            self.trainer.fit(self.X, self.y)
            first, *later = (epoch for epoch in self.ends if epoch >= self.beginning)
            if later:
                break
            self.trainer.epochs *= 2
        began = self.ends[first]
        an_epoch = (self.ends[later[-1]] - began) / (later[-1] - first)
        self.once.append(began - start - first * an_epoch)
        return an_epoch * epochs

    def on_epoch_end(self, record: dict[str, float]) -> None:
        """Note the time, and the last epoch that is over."""
        self.ends.setdefault(self.trainer.kept_epoch, time.perf_counter())

    def check(self, n_steps: int) -> None:
        """Fit the first batches in their order."""
        rows = slice(0, n_steps * self.batch)
        self.trainer.shuffle, self.trainer.epochs = False, 1
        self.trainer.fit(self.X[rows], self.y[rows])
        self.trainer.shuffle = True
        self.compared = [backends.to_host(leaf) for layer in self.trainer.params for leaf in layer if leaf is not None]

    def params(self) -> list[Any] | None:
        """Return the parameters as `check` left them."""
        return self.compared

    def facts(self) -> dict[str, Any]:
        """Return what a fit costs once, in seconds beyond those of as many later epochs, and the memory.

        The memory that was taken is told where that is not the host's.
        """
        return {"once": float(np.median(self.once)), **_device_memory(self.trainer.backend.name)}


def _device_memory(library: str) -> dict[str, Any]:
    """Return what CuPy's pool has taken from the device at most, in bytes; nothing for other libraries."""
    if library != "cupy":
        return {}
    taken = importlib.import_module("cupy").get_default_memory_pool().total_bytes()
    return {"memory": dict.fromkeys(("peak", "beyond_libraries", "beyond_data"), taken)}
