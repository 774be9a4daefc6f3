"""Engines: how many steps are run. None contains mathematics: each takes the step as it is, or as it was traced."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from backprop_xp.batches import IndexBatches
from backprop_xp.engines.auto import Choice, Work, choose, rule
from backprop_xp.engines.memory import Sparing
from backprop_xp.errors import InputError, lookup

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "Choice",
    "Engine",
    "Work",
    "backend_for",
    "check_precision",
    "choose",
    "rule",
    "select",
    "silent",
]

Array = Any

# Where each engine is, and the backends whose arrays it takes; none named is any.
ENGINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "auto": ("", ()),
    "eager": ("eager:Eager", ()),
    "jax": ("jax:Jax", ("numpy", "jax")),
    "torch": ("torch:Torch", ("numpy", "torch")),
    "loops": ("loops:Loops", ("numpy",)),
    "cuda_graph": ("cuda_graph:CudaGraph", ("cupy",)),
}
PRECISIONS = ("float32", "tf32", "bfloat16")


def backend_for(engine: str, device: str | None, backend: str | None) -> str | None:
    """Return the backend for an engine where the user names none: off the CPU, that of the engine's own library.

    Raises
    ------
    InputError
        If the engine is unknown, or does not take the arrays of the backend that is named.
    """
    takes = lookup("engine", engine, ENGINES)[1]
    if backend is not None and takes and backend not in takes:
        raise InputError(
            f"engine {engine!r} runs on {' or '.join(takes)}, not on {backend!r}: leave one of the two out"
        )
    on_cpu = str(device) in ("cpu", "None")
    if takes == ("numpy",) and not on_cpu:
        raise InputError(f"engine {engine!r} runs on the CPU: leave the device out, or the engine")
    if takes == ("cupy",) and on_cpu:
        raise InputError(f"engine {engine!r} runs on CUDA: use --device cuda, or leave the engine out")
    return backend if backend is not None or on_cpu or not takes else takes[-1]


def check_precision(precision: str, dtype: str) -> None:
    """Raise InputError unless there is such a precision, and the data type leaves a choice."""
    lookup("precision", precision, dict.fromkeys(PRECISIONS))
    if precision != "float32" and dtype == "float64":
        raise InputError(f"precision {precision!r} is one of float32 arrays: leave out dtype='float64'")


def silent(line: str) -> None:
    """Say nothing."""


class Engine(Protocol):
    """What runs steps; one serves a trainer or a fit, and keeps what it has compiled.

    Attributes
    ----------
    name : str
    n_compiled : int
        Compilations so far.
    interrupted : bool
        Whether Ctrl-C ended the last run, be it in its last step.
    """

    name: str

    @property
    def n_compiled(self) -> int:
        """See above."""

    @property
    def interrupted(self) -> bool:
        """See above."""

    def run(
        self,
        step: Callable[..., tuple[Any, Any, Array]],
        params: Any,
        opt_state: Any,
        X: Array,
        Y: Array,
        batches: IndexBatches,
        *,
        weight: Array | None = None,
        on_batch: Callable[[int, Array], None] | None = None,
    ) -> tuple[Any, Any, Array]:
        """Run a step for every batch.

        Parameters
        ----------
        step : function (params, opt_state, X, Y, weight) -> (params, opt_state, loss)
        params, opt_state
            Left as they are.
        X : array (n_samples, n_features)
        Y : array (n_samples,) or (n_samples, n_outputs)
        batches : IndexBatches
        weight : array (n_samples,), optional
        on_batch : function (batch, loss) -> None, optional
            Called after each step, with its number from 0 and its loss, still on the device.

        Returns
        -------
        params, opt_state
        losses : array (n_steps, ...), on the device
            Fewer than `batches.n_batches` if the user (Ctrl-C) or a callback (StopTraining) ended the run: the state is
            then that of the last step that was finished. Before the first one, the exception is passed on.
        """


def select(engine: str, *, say: Callable[[str], None] = silent, precision: str = "float32") -> Engine:
    """Return the engine of that name; out of memory, it takes batches in parts.

    Parameters
    ----------
    engine : str
        Any but "auto", which `auto.choose` turns into one of the others.
    say : function (line)
        Hears what the engine has to tell the user.
    precision : "float32", "tf32" or "bfloat16"
        Of matrix products of float32 arrays.

    Raises
    ------
    InputError
        If a name is unknown, a library is not installed, or the engine knows no such precision.
    """
    module, _, cls = lookup("engine", engine, ENGINES)[0].partition(":")
    settings = {"precision": precision} if engine in ("jax", "torch", "cuda_graph") else {}
    if not settings and precision != "float32":
        raise InputError(f"precision {precision!r} is one of the engines jax, torch and cuda_graph, not of {engine!r}")
    made = getattr(importlib.import_module(f"backprop_xp.engines.{module}"), cls)
    return Sparing(made(say=say, **settings), say)
