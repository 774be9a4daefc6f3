"""The contenders: who takes part, and what each needs. Their classes are imported in a process of their own.

A contender's class has
    __init__(problem, **options)    builds all that users would build once
    run(n_steps)                    takes steps, batch after batch, and returns when they are done
    params()                        the parameters as host arrays, W (n_in, n_out) and b by turns; None if it has none
and, where its turns are not what can be compared or more is to be said,
    check(n_steps)                  takes steps in the order of the batches
    facts()                         what the results shall say, as JSON values
"""

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    Parameters
    ----------
    name : str
        As the reader sees it.
    role : "ours", "peer", "floor", "loops" or "hand"
    make : str
        "module:class".
    options : dict
        Keyword arguments of the class.
    needs : str, optional
        A library that may not be there.
    install : str
        The command that brings it.
    """

    name: str
    role: str
    make: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    needs: str | None = None
    install: str = ""


def _ours(name: str, backend: str, device: str = "cpu", needs: str | None = None, install: str = "") -> Contender:
    options = {"backend": backend, "device": device}
    return Contender(f"backprop_xp on {name}", "ours", "benchmarks.contenders.ours:Steps", options, needs, install)


JAX_INSTALL, TORCH_INSTALL, NUMBA_INSTALL = "pip install jax", "pip install torch", "pip install numba"
CUPY_INSTALL = "pip install '.[cuda12]'"

ON_NUMPY = _ours("NumPy", "numpy")
ON_JAX = _ours("JAX", "jax", needs="jax", install=JAX_INSTALL)
ON_TORCH = _ours("PyTorch", "torch", needs="torch", install=TORCH_INSTALL)
ON_CUPY = _ours("CuPy", "cupy", "cuda", "cupy", CUPY_INSTALL)

INTERPRETED = Contender("interpreted loops", "loops", "benchmarks.contenders.scalar:Interpreted")
COMPILED = Contender(
    "compiled loops (numba)",
    "loops",
    "benchmarks.contenders.scalar:Compiled",
    needs="numba",
    install=NUMBA_INSTALL,
)

S1 = Contender("S1, looped gradient", "loops", "benchmarks.contenders.tutorial:S1")
S2 = Contender("S2, vectorised", "hand", "benchmarks.contenders.tutorial:S2")

CLASSIFIERS = [
    Contender(name, role, "benchmarks.contenders.classifiers:Classifier", {"library": library})
    for name, role, library in (
        ("backprop_xp MLPClassifier", "ours", "backprop_xp"),
        ("scikit-learn MLP", "peer", "sklearn.neural_network"),
    )
]


def _floor(make: str, device: str) -> Contender:
    name, cls = "matrix products alone", f"benchmarks.contenders.by_hand:{make}"
    if device == "cpu":
        return Contender(name, "floor", cls)
    return Contender(name, "floor", cls, {"library": "cupy", "device": device}, "cupy", CUPY_INSTALL)


def stepping(device: str) -> list[Contender]:
    """Return who takes a step on the device: the floor, ours, and what users would pick instead."""
    on: dict[str, Any] = {"options": {"device": device}, "needs": "torch", "install": TORCH_INSTALL}
    jax = on | {"needs": "jax", "install": JAX_INSTALL}
    users = [
        Contender("PyTorch eager", "peer", "benchmarks.contenders.pytorch:Eager", **on),
        Contender("PyTorch compiled", "peer", "benchmarks.contenders.pytorch:Compiled", **on),
        Contender("JAX, jit a step", "peer", "benchmarks.contenders.users_jax:JitSteps", **jax),
        Contender("JAX, scan an epoch", "peer", "benchmarks.contenders.users_jax:ScanEpochs", **jax),
    ]
    fit = Contender("backprop_xp, Trainer.fit", "ours", "benchmarks.contenders.ours:Fit", {"device": device})
    if device == "cuda":
        return [_floor("Products", device), ON_CUPY, replace(fit, needs="cupy", install=CUPY_INSTALL), *users]
    by_hand = Contender("NumPy by hand, in place", "hand", "benchmarks.contenders.by_hand:InPlace")
    scikit_learn = Contender("scikit-learn MLP", "peer", "benchmarks.contenders.scikit_learn:Steps")
    return [_floor("Products", device), by_hand, ON_NUMPY, fit, *users, scikit_learn]


def fitting(device: str) -> list[Contender]:
    """Return who does a whole job on the device."""
    ours = ON_NUMPY if device == "cpu" else ON_CUPY
    on: dict[str, Any] = {"options": {"device": device}}
    torch: dict[str, Any] = {"needs": "torch", "install": TORCH_INSTALL}
    found = [
        replace(ours, make="benchmarks.contenders.whole_jobs:Fit", **on),
        Contender("PyTorch eager", "peer", "benchmarks.contenders.pytorch:FitJob", **on, **torch),
    ]
    if device == "cpu":
        found.append(Contender("scikit-learn MLP", "peer", "benchmarks.contenders.scikit_learn:FitJob"))
    return found


def growing(axis: str, device: str) -> list[Contender]:
    """Return who is timed along the axis on the device."""
    ours = ON_NUMPY if device == "cpu" else ON_CUPY
    if axis == "rate":
        return [_floor("Square", device)]
    if axis == "rows":
        return [replace(ours, make="benchmarks.contenders.ours:Fit", options={"device": device, "counts": "epoch"})]
    return [ours, _floor("Products", device)]
