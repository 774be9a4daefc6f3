"""The loops engine: epochs of a step as one compiled function, by numba: loops, and BLAS for large products."""

import math
import operator
import time
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np

from backprop_xp import backends
from backprop_xp.batches import IndexBatches
from backprop_xp.engines import silent
from backprop_xp.engines.copies import Copies
from backprop_xp.engines.scalar_code import ScalarCode
from backprop_xp.engines.scalar_rows import gather
from backprop_xp.engines.tracing import Trace, TracingError, leaves, rebuilt
from backprop_xp.errors import InputError, StopTraining

Array = Any
Epoch = Callable[..., None]

# Compiled epochs by their source, so that a new engine, or one of another network of these sizes, compiles none again.
_compiled: dict[str, Epoch] = {}
_MOST_COMPILED = 64

_SECONDS = 0.25  # about as long as a call of several steps may take before a Ctrl-C is answered

# Sums in any order, fused multiplications and additions, products with a reciprocal; but a NaN or an infinity is looked
# for by who trains, so that they may not be assumed away.
_LIBERTIES = {"contract", "reassoc", "arcp", "nsz"}


class Loops:
    """Runs epochs of a traced step as one compiled function: see `engines.Engine`. For NumPy arrays.

    Raises
    ------
    InputError
        If numba is not installed.
    """

    name = "loops"

    def __init__(self, say: Callable[[str], None] = silent) -> None:
        _numba()
        self.n_compiled, self.interrupted = 0, False
        self._say = say
        self._step: Callable[..., Any] | None = None
        self._bodies: dict[Any, _Body] = {}
        self._given: tuple[Any, ...] = ()
        self._data: Any = ()
        self._copies = Copies()
        self._at_once = 1

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
        """Run a step for every batch: see `engines.Engine.run`."""
        if not all(isinstance(array, np.ndarray) for array in leaves((params, X, Y, weight))):
            raise InputError(
                "engine 'loops' runs on dense arrays of NumPy: use device 'cpu' and backend 'numpy', or engine 'eager'"
            )
        self.interrupted = False
        data = X, Y, weight
        if not (len(self._given) == 3 and all(map(operator.is_, self._given, data))):
            own = rebuilt(data, (np.require(x, x.dtype.newbyteorder("="), ["C", "A"]) for x in leaves(data)))
            self._given, self._data = data, own  # together: copying may be interrupted, or lack memory
        _check_rows(batches, min(len(x) for x in leaves(data)))
        state = params, opt_state
        values = list(leaves(state))
        losses, done = np.empty(0), np.zeros(1, np.int64)
        running: _Body | None = None
        try:
            order = np.ascontiguousarray(() if batches.order is None else batches.order, np.int64)
            rows = [order, *(x.reshape(-1) for x in leaves(self._data))]
            for size, first, n_steps in _stretches(batches.n_samples, batches.batch_size):
                body = self._body(step, state, size)
                if running is None:
                    losses = np.empty(batches.n_batches, body.loss_dtype)
                body.load(values if running is None else running.state)
                running = body
                self._run(body, rows, first, n_steps, done, losses, on_batch)
            values = self._copies.of(running.state) if running is not None else values
        except (KeyboardInterrupt, StopTraining) as end:
            if running is None or not done[0]:
                raise
            values = self._copies.of(running.state)  # it may have ended the copying after the last step
            self.interrupted = isinstance(end, KeyboardInterrupt)
        params, opt_state = rebuilt(state, iter(values))
        return params, opt_state, losses[: done[0]]

    def _run(
        self, body: "_Body", rows: list[Array], first: int, n_steps: int, done: Array, losses: Array, on_batch: Any
    ) -> None:
        """Take steps on the rows from `first` on, as many a call as take about `_SECONDS`.

        What is done is counted in the call.
        """
        each = on_batch is not None and not getattr(on_batch, "paced", False)
        before = int(done[0])
        while done[0] < before + n_steps:
            taken = int(done[0]) - before
            n = 1 if each else min(self._at_once, n_steps - taken)
            started = time.perf_counter()
            body.epoch(first + taken * body.size, n, done, losses, *rows, *body.memory)
            if on_batch is not None:
                on_batch(int(done[0]) - 1, losses[done[0] - 1])
            if not each and n == self._at_once and time.perf_counter() - started < _SECONDS / 2:
                self._at_once *= 2

    def _body(self, step: Callable[..., Any], state: Any, size: int) -> "_Body":
        """Return the compiled step for batches of a size; one of the same shapes and data types is kept."""
        if step is not self._step:
            self._step, self._bodies, self._copies, self._at_once = step, {}, Copies(), 1
        key = size, *((x.shape[1:], x.dtype) for x in leaves(self._data)), *((x.shape, x.dtype) for x in leaves(state))
        if key not in self._bodies:
            batch = rebuilt(self._data, iter([x[:size] for x in leaves(self._data)]))
            try:
                code = ScalarCode(Trace(step, state, batch))
            except TracingError as error:
                raise InputError(f"engine 'loops' cannot run this step ({error}): use engine 'eager'") from None
            self._bodies[key] = _Body(code, _compiled.get(code.source) or self._compile(code, size), size)
        return self._bodies[key]

    def _compile(self, code: ScalarCode, size: int) -> Epoch:
        started = time.perf_counter()
        epoch = _compile(code)
        while len(_compiled) >= _MOST_COMPILED:
            _compiled.pop(next(iter(_compiled)), None)  # another thread may have done so
        _compiled[code.source] = epoch
        self.n_compiled += 1
        self._say(f"loops: compiled a step of {size} rows in {time.perf_counter() - started:.2f} s")
        return epoch


class _Body:
    """A compiled epoch, and the memory that it works on."""

    def __init__(self, code: ScalarCode, epoch: Epoch, size: int) -> None:
        self.epoch, self.loss_dtype, self.size = epoch, code.loss_dtype, size
        arrays = {dtype: _aligned(length, dtype) for dtype, length in code.memory.items()}
        self.memory = list(arrays.values())
        self.state = [
            arrays[dtype][place : place + math.prod(shape)].reshape(shape) for dtype, place, shape in code.state_places
        ]

    def load(self, values: list[Array]) -> None:
        """Copy the state in."""
        for place, value in zip(self.state, values, strict=True):
            place[...] = value


def _aligned(size: int, dtype: str) -> Array:
    """Return zeros, the first at the beginning of a line of the processor's cache."""
    n_bytes = size * np.dtype(dtype).itemsize
    memory = np.zeros(n_bytes + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + n_bytes].view(dtype)


def _numba() -> Any:
    try:
        import numba
    except ImportError as error:
        raise InputError(f"engine 'loops' needs numba, {backends.lacking('numba', error)}") from None
    return numba


def _compile(code: ScalarCode) -> Epoch:
    """Return the source's `epoch`, compiled for flat arrays; batches are read only."""
    numba = _numba()

    def array(dtype: Any, readonly: bool = False) -> Any:
        return numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C", readonly=readonly)

    epoch = functions(code.source)["epoch"].py_func
    batch = [array(dtype, readonly=True) for dtype in code.batch_dtypes]
    losses, order = array(code.loss_dtype), array(np.int64, readonly=True)
    memory = [array(dtype) for dtype in code.memory]
    signature = numba.void(numba.int64, numba.int64, array(np.int64), losses, order, *batch, *memory)
    compiled: Epoch = numba.njit(signature, fastmath=_LIBERTIES, error_model="numpy", nogil=True)(epoch)
    return compiled


def functions(source: str) -> dict[str, Any]:
    """Return the functions of a source by name, compiled when they are called.

    Without the liberty to sum in any order, which would cost digits.

    Raises
    ------
    InputError
        If numba is not installed.
    """
    compiled = _numba().njit(fastmath={"contract"}, error_model="numpy")
    names: dict[str, Any] = {"gather": gather()}
    exec(source, names)
    made = {name: compiled(function) for name, function in names.items() if isinstance(function, FunctionType)}
    names.update(made)  # where they look each other up
    return made


def _stretches(n_rows: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (rows of a batch, first row, batches): of the whole batches, and of a last one that is short."""
    n_whole, n_left = divmod(n_rows, size)
    if n_whole:
        yield size, 0, n_whole
    if n_left:
        yield n_left, n_rows - n_left, 1


def _check_rows(batches: IndexBatches, n_given: int) -> None:
    """Raise IndexError for rows that are not there: compiled loops do not look."""
    n_samples, order = batches.n_samples, batches.order
    if order is None:
        known = n_samples <= n_given
    else:
        known = len(order) >= n_samples and 0 <= order.min() <= order.max() < n_given
    if not known:
        raise IndexError(f"the batches are rows of {n_samples} samples, the data have {n_given}")
