"""The contenders: who takes part, and what each needs. Their classes are imported in a process of their own.

A contender's class has
    __init__(problem, **options)    builds all that users would build once
    run(n_steps)                    takes steps, batch after batch, and returns when they are done: None, or their
                                    seconds where it does more than these steps
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
    role : "ours", "fit", "peer", "floor", "loops" or "hand"
        "fit" is ours as well: steps within Trainer.fit, which are held against bare ones.
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


INSTALL = {
    "jax": "pip install jax",
    "torch": "pip install torch",
    "numba": "pip install numba",
    "cupy": "pip install '.[cuda12]'",
}


def _eager(library: str, backend: str, device: str = "cpu") -> Contender:
    needs = None if backend == "numpy" else backend
    options, install = {"backend": backend, "device": device}, INSTALL.get(backend, "")
    return Contender(f"backprop_xp on {library}", "ours", "benchmarks.contenders.ours:Steps", options, needs, install)


def _engine(name: str, library: str, device: str = "cpu") -> Contender:
    options = {"engine": name, "device": device}
    said = "CUDA graph" if name == "cuda_graph" else f"engine {name}"
    make = "benchmarks.contenders.ours:Steps"
    return Contender(f"backprop_xp, {said}", "ours", make, options, library, INSTALL[library])


ON_NUMPY, ON_JAX, ON_TORCH = _eager("NumPy", "numpy"), _eager("JAX", "jax"), _eager("PyTorch", "torch")
ON_CUPY = _eager("CuPy", "cupy", "cuda")
ENGINE_LOOPS, ENGINE_JAX = _engine("loops", "numba"), _engine("jax", "jax")
# By the backend whose arrays they are given: the engine of each contender that takes bare steps.
ENGINES = {
    "numpy": {ON_NUMPY.name: "eager", **{f"backprop_xp, engine {name}": name for name in ("jax", "loops", "torch")}},
    "cupy": {ON_CUPY.name: "eager", "backprop_xp, CUDA graph": "cuda_graph"},
}
# Whose bare steps those of Trainer.fit are, on the CPU and on CUDA.
BARE = {
    "backprop_xp, Trainer.fit": (ON_NUMPY.name, ON_CUPY.name),
    "backprop_xp, Trainer.fit, engine loops": ("backprop_xp, engine loops",),
    "backprop_xp, Trainer.fit, engine jax": ("backprop_xp, engine jax",),
    "backprop_xp, Trainer.fit, CUDA graph": ("backprop_xp, CUDA graph",),
}

INTERPRETED = Contender("interpreted loops", "loops", "benchmarks.contenders.scalar:Interpreted")
COMPILED = Contender(
    "compiled loops (numba)",
    "loops",
    "benchmarks.contenders.scalar:Compiled",
    needs="numba",
    install=INSTALL["numba"],
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
    return Contender(name, "floor", cls, {"library": "cupy", "device": device}, "cupy", INSTALL["cupy"])


def stepping(device: str) -> list[Contender]:
    """Return who takes a step on the device: the floor, ours, and what users would pick instead."""
    users = [
        _user("PyTorch eager", "pytorch:Eager", "torch", device),
        _user("PyTorch compiled", "pytorch:Compiled", "torch", device),
        _user("JAX, jit a step", "users_jax:JitSteps", "jax", device),
        _user("JAX, scan an epoch", "users_jax:ScanEpochs", "jax", device),
    ]
    ours = [_engine("jax", "jax", device), _engine("torch", "torch", device)]
    if device == "cuda":
        graphed = _engine("cuda_graph", "cupy", device)
        fits = [_fit("", "eager", device, "cupy"), _fit(", CUDA graph", "cuda_graph", device, "cupy")]
        graphs = _user("PyTorch, CUDA graph", "pytorch:Graphed", "torch", device)
        return [_floor("Products", device), ON_CUPY, graphed, *ours, *fits, *users[:2], graphs, *users[2:]]
    by_hand = Contender("NumPy by hand, in place", "hand", "benchmarks.contenders.by_hand:InPlace")
    scikit_learn = Contender("scikit-learn MLP", "peer", "benchmarks.contenders.scikit_learn:Steps")
    fits = [
        _fit("", "eager"),
        _fit(", engine loops", "loops", needs="numba"),
        _fit(", engine jax", "jax", needs="jax"),
    ]
    return [_floor("Products", device), by_hand, ON_NUMPY, ENGINE_LOOPS, *ours, *fits, *users, scikit_learn]


def _user(name: str, cls: str, library: str, device: str) -> Contender:
    options = {"device": device}
    return Contender(name, "peer", f"benchmarks.contenders.{cls}", options, library, INSTALL[library])


def _fit(said: str, engine: str, device: str = "cpu", needs: str | None = None) -> Contender:
    options, install = {"engine": engine, "device": device}, INSTALL.get(needs or "", "")
    name = f"backprop_xp, Trainer.fit{said}"
    return Contender(name, "fit", "benchmarks.contenders.ours:Fit", options, needs, install)


def fitting(device: str) -> list[Contender]:
    """Return who does a whole job on the device."""
    cpu = device == "cpu"
    make = "benchmarks.contenders.whole_jobs:Fit"
    ours = replace(ON_NUMPY if cpu else ON_CUPY, make=make, options={"device": device})
    engines = [_engine("jax", "jax", device), *([] if cpu else [_engine("cuda_graph", "cupy", device)])]
    users = [
        _user("PyTorch eager", "pytorch:FitJob", "torch", device),
        _user("JAX, scan an epoch", "users_jax:FitJob", "jax", device),
    ]
    scikit_learn = Contender("scikit-learn MLP", "peer", "benchmarks.contenders.scikit_learn:FitJob")
    return [ours, *(replace(engine, make=make) for engine in engines), *users, *([scikit_learn] if cpu else [])]


def growing(axis: str, device: str) -> list[Contender]:
    """Return who is timed along the axis on the device."""
    ours = ON_NUMPY if device == "cpu" else ON_CUPY
    if axis == "rate":
        return [_floor("Square", device)]
    if axis == "rows":
        return [replace(ours, make="benchmarks.contenders.ours:Fit", options={"device": device, "counts": "epoch"})]
    return [ours, _floor("Products", device)]
