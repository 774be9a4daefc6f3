"""Does a device compute what NumPy computes? One small job on both, compared layer by layer after every step.

How far rounding alone may part two runs depends on the job, so it is measured: a twin of the reference, whose
parameters are moved by one unit of rounding, at random, before every step, shows how such differences grow.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends, engines
from backprop_xp.batches import IndexBatches
from backprop_xp.errors import InputError, check_integer
from backprop_xp.network import Network, Params, init
from backprop_xp.optimizers import momentum
from backprop_xp.step import make_step

DTYPES = ("float32", "float64")

_MARGIN = 32  # times the twin's deviation, or of a unit of rounding: sums in another order differ by more than one
_WIDTHS, _BATCH, _BATCHES = (16, 32, 24, 4), 64, 8


@dataclass(frozen=True)
class Layer:
    """How far one layer's weights and biases were apart.

    Parameters
    ----------
    dtype : str
    layer : int
        From 1.
    largest : float
        The largest deviation over all steps: of an element, in parts of the largest element of its array.
    at_step : int
        Where it was, from 1.
    allowed : float
        What rounding explains there.
    parted : int or None
        The first step with more than is allowed.
    """

    dtype: str
    layer: int
    largest: float
    at_step: int
    allowed: float
    parted: int | None


@dataclass(frozen=True)
class Report:
    """What was compared, and what came of it.

    Parameters
    ----------
    backend, device, engine : str
    steps : int
    layers : tuple of Layer
    """

    backend: str
    device: str
    engine: str
    steps: int
    layers: tuple[Layer, ...]

    @property
    def parted(self) -> Layer | None:
        """The layer that left the bounds first, None if none did; of several in one step, the first from the inputs."""
        beyond = [layer for layer in self.layers if layer.parted is not None]
        return min(beyond, key=lambda layer: (layer.parted, layer.layer), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        parted = self.parted
        return {
            **asdict(self),
            "agrees": parted is None,
            "first": None if parted is None else {"step": parted.parted, "layer": parted.layer, "dtype": parted.dtype},
        }


def compare(
    device: str = "cpu",
    backend: str | None = None,
    engine: str = "eager",
    *,
    dtypes: tuple[str, ...] = DTYPES,
    steps: int = 100,
    activation: str = "tanh",
    seed: int = 0,
) -> Report:
    """Train the same job on NumPy and on the device, and return where they part.

    Parameters
    ----------
    device, backend : str
        See `backends.select`.
    engine : str
        Any but "auto"; the reference is the step itself.
    dtypes : tuple of str
        Each is a comparison with NumPy in this data type.
    steps : int
    activation : str
        Of the hidden layers.
    seed : int

    Raises
    ------
    InputError
        If device, backend, engine or activation cannot be had, or there is no step or data type to compare.
    """
    check_integer("steps", steps, 1)
    if not dtypes or engine == "auto":
        raise InputError("parity compares one engine, in one data type at least: name it, since auto may be any")
    layers: list[Layer] = []
    for dtype in dtypes:
        there = backends.select(device, engines.backend_for(engine, device, backend), dtype)
        layers += _compared(there, engine, dtype, steps, activation, seed)
    return Report(there.name, there.label, engine, steps, tuple(layers))


def _compared(
    there: backends.Backend, engine: str, dtype: str, n_steps: int, activation: str, seed: int
) -> list[Layer]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((_BATCHES * _BATCH, _WIDTHS[0])).astype(dtype)
    Y = np.eye(_WIDTHS[-1], dtype=dtype)[rng.integers(0, _WIDTHS[-1], len(X))]
    network = Network(_WIDTHS, activation=activation, output="softmax")
    rule = momentum(0.05)
    step = make_step(network, "cross_entropy", rule, l2=1e-4, dropout=0.1, seed=seed)
    params = init(network, seed, dtype=dtype)
    here = backends.select("cpu", "numpy", dtype)
    runs = [_Run(step, rule, params, X, Y, backend) for backend in (here, here, there)]
    reference, twin, other = runs
    run = engines.select(engine).run
    found = [_Found() for _ in params]
    for k in range(n_steps):
        twin.params = tuple((_moved(W, rng), None if b is None else _moved(b, rng)) for W, b in twin.params)
        reference.take(k)
        twin.take(k)
        other.take(k, run)
        for layer, found_here in enumerate(found):
            exact = reference.layer(layer)
            found_here.note(k + 1, _deviation(twin.layer(layer), exact), _deviation(other.layer(layer), exact), dtype)
    return [Layer(dtype, n + 1, each.largest, each.at_step, each.allowed, each.parted) for n, each in enumerate(found)]


class _Run:
    """The job on one backend."""

    def __init__(self, step: Any, rule: Any, params: Params, X: Any, Y: Any, backend: backends.Backend) -> None:
        self._step = step
        self.X, self.Y = (backends.to_device(array, backend) for array in (X, Y))
        self.params: Params = tuple(
            (backends.to_device(W, backend), None if b is None else backends.to_device(b, backend)) for W, b in params
        )
        self._state = rule.init(self.params)

    def take(self, k: int, run: Any = None) -> None:
        """Take the step, by the engine if there is one."""
        rows = slice(k % _BATCHES * _BATCH, (k % _BATCHES + 1) * _BATCH)
        given = self._step, self.params, self._state, self.X[rows, :], self.Y[rows, :]
        if run is None:
            self.params, self._state, _ = self._step(*given[1:])
        else:
            self.params, self._state, _ = run(*given, IndexBatches(None, _BATCH, _BATCH))

    def layer(self, number: int) -> list[NDArray[Any]]:
        """Return the weights and biases of a layer on the host."""
        return [backends.to_host(leaf) for leaf in self.params[number] if leaf is not None]


class _Found:
    """What was found of one layer so far."""

    def __init__(self) -> None:
        self.largest, self.at_step, self.allowed = 0.0, 0, 0.0
        self.parted: int | None = None
        self._rounding = 0.0

    def note(self, step: int, twins: float, others: float, dtype: str) -> None:
        self._rounding = max(self._rounding, twins, float(np.finfo(dtype).eps))
        allowed = _MARGIN * self._rounding
        if not (others <= self.largest or math.isnan(self.largest)):  # the first NaN stays
            self.largest, self.at_step, self.allowed = others, step, allowed
        if self.parted is None and not others <= allowed:
            self.parted = step


def _moved(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return the array with every element moved by one unit of rounding, up or down."""
    signs = rng.choice(np.asarray([-1, 1], array.dtype), array.shape)
    return np.asarray(array * (1 + signs * np.finfo(array.dtype).eps), dtype=array.dtype)


def _deviation(arrays: list[NDArray[Any]], exact: list[NDArray[Any]]) -> float:
    """Return the largest difference of two elements, in parts of the largest of its array; NaN if one is not finite."""
    parts = [
        float(np.max(np.abs(a - e))) / (float(np.max(np.abs(e))) or 1.0) for a, e in zip(arrays, exact, strict=True)
    ]
    return float(np.max(parts))  # Python's own max may pass a NaN over
