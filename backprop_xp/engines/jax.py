"""The jax engine: the same step compiled by XLA, and an epoch as a few calls of one compiled loop over its batches."""

import importlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import array_api_compat
import numpy as np

from backprop_xp import backends
from backprop_xp.batches import IndexBatches
from backprop_xp.engines import silent, xla
from backprop_xp.engines.interrupts import deferred_interrupts
from backprop_xp.engines.tracing import of_step
from backprop_xp.errors import InputError, StopTraining, lookup

Array = Any
Program = Callable[..., Any]

_PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}

# Seconds of steps in one call: Ctrl-C is answered after it. XLA takes a call's memory anew each time, and the system
# hands it out page by page: at 1024-4096-4096-10, 25 ms of a processor's time a step where every step is a call. So a
# call of steps that take long has eight of them, unless they would take more than so many seconds.
_AT_ONCE, _SEVERAL, _LONGEST = 1.0, 8, 4.0

# Rows up to so long are gathered by NumPy, a tenth of the time of XLA's small gathers, in pieces of so many numbers:
# the next piece while XLA computes on the one before, which small networks leave a processor for. With 784 features
# NumPy's way took 1.17 of a step in order, and XLA's 0.98.
_SHORT, _GATHERED = 256, 2**18

# A larger state, in bytes, is donated by one of an epoch's calls to the next, so that not every call copies it. What
# the first is given is the caller's. The last copies too: so an epoch of one call or two needs no second program.
_LARGE = 2**20

# An epoch of so little work (weights times rows, and a step's own costs as so many weights) is one call from the first
# on, of a program for that number of steps: where XLA knows it, a step of 2-4-2 takes 0.97 of the time.
_BRIEF, _A_STEP = 2**22, 2**10

# What was compiled in this process, by what it was compiled from: another fit of an equal network compiles nothing.
_COMPILED: dict[Any, Program] = {}
# The same by the step's own operations, which take 1 ms to record where JAX takes 20: for another fit of a trainer.
_RECORDED: dict[Any, Program] = {}
_KEPT = 64


class Jax:
    """Runs a step under `jax.jit`, on the device of JAX's arrays, or on the CPU for NumPy's.

    One program runs any number of full batches, or all of a brief epoch, another the short last one. NumPy's arrays
    come back as views of XLA's, which cannot be written to.

    Parameters
    ----------
    say : function (line) -> None, optional
        Is told of every compilation.
    precision : "float32" (default), "tf32" or "bfloat16"
        Of the matrix products of float32 arrays, where the device has a choice.

    Attributes
    ----------
    n_compiled : int
        Programs this engine compiled so far; those of equal networks are shared within the process.

    Raises
    ------
    InputError
        If JAX is not installed.
    """

    name = "jax"

    def __init__(self, say: Callable[[str], None] = silent, *, precision: str = "float32") -> None:
        _library()
        self.n_compiled, self.interrupted = 0, False
        self._say = say
        lookup("precision", precision, _PRECISIONS)
        self._precision = precision
        self._data: tuple[Any, Any] = ((), None)
        self._returned: dict[int, tuple[Array, Array]] = {}  # views that were handed out, and what they are views of
        self._buffers: dict[tuple[int, bool], tuple[Array | None, ...]] = {}
        self._turn = False
        self._constants: dict[Any, Array] = {}
        self._step: Any = None
        self._device: Any = None
        self._is_large = False
        self._programs: dict[Any, Program] = {}
        self._seconds_a_row = _LONGEST  # before the first is measured, one step a call

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
        """Run a step for every batch: see `engines.Engine.run`; with arrays of NumPy or JAX.

        Raises
        ------
        InputError
            If the arrays are another library's.
        """
        jax = _library()
        on_host = isinstance(X, np.ndarray)
        if not on_host and not array_api_compat.is_jax_array(X):
            raise InputError(
                f"engine 'jax' runs arrays of JAX or dense ones of NumPy, not {type(X).__module__}.{type(X).__name__}: "
                "use engine='eager'"
            )
        if step is not self._step:
            self._step, self._programs = step, {}
        self._device = jax.devices("cpu")[0] if on_host else X.device
        leaves, tree = jax.tree.flatten((params, opt_state))
        W, self._is_large = params[0][0], sum(leaf.nbytes for leaf in leaves) > _LARGE
        with ExitStack() as exits:
            exits.enter_context(_in_type(jax, W.dtype))
            data = X, Y, weight
            if not on_host or batches.order is None or X.shape[1] > _SHORT:
                data = self._adopted(jax, data)
            if on_host and jax.default_backend() != "cpu":
                exits.enter_context(jax.default_device(self._device))
            if on_host:
                leaves = [self._returned.get(id(leaf), (leaf, leaf))[1] for leaf in leaves]
            shape = batches.n_batches, *W.shape[:-2]
            blank = self._constant(jax, (shape, W.dtype), np.zeros(shape, W.dtype))
            state, losses = self._epoch(jax, tree.unflatten(leaves), blank, data, batches, on_batch)
            if on_host:  # as they lie: XLA's arrays never change
                own = jax.tree.leaves(state)
                views = [np.asarray(leaf) for leaf in own]
                self._returned = {id(pair[0]): pair for pair in zip(views, own, strict=True)}
                state, losses = tree.unflatten(views), np.asarray(losses)
        return *state, losses

    def _adopted(self, jax: Any, given: tuple[Array, Array, Array | None]) -> Any:
        """Return (X, Y, weight) on the device: those of the epoch before if they are the same arrays."""
        if [*map(id, given)] != [*map(id, self._data[0])]:
            self._data = given, jax.device_put(given, self._device)
        return self._data[1]

    def _constant(self, jax: Any, key: Any, array: Array) -> Array:
        """Return the array as XLA's, the same for the same key: to bring in one of NumPy's takes tens of µs."""
        if key not in self._constants:
            _keep(self._constants, key, jax.device_put(array))
        return self._constants[key]

    def _gathered(self, data: tuple[Array, ...], rows: Array, length: int) -> tuple[Array | None, ...]:
        """Return arrays of that length that begin with the rows; they are kept, and hold others the time after next."""
        self._turn = not self._turn
        key, forms = (length, self._turn), [(length, *form[1:]) if form else form for form in map(_form, data)]
        if [_form(buffer) for buffer in self._buffers.get(key, ())] != forms:
            self._buffers[key] = tuple(
                None if array is None else _aligned((length, *array.shape[1:]), array.dtype) for array in data
            )
        for array, buffer in zip(data, self._buffers[key], strict=True):
            if array is not None and buffer is not None:
                array.take(rows, 0, buffer[: len(rows)], "clip")  # any other mode goes through a copy
        return self._buffers[key]

    def _epoch(
        self,
        jax: Any,
        state: Any,
        losses: Array,
        data: Any,
        batches: IndexBatches,
        on_batch: Callable[[int, Array], None] | None,
    ) -> tuple[Any, Array]:
        """Return the state after the last step that was finished, and the losses of those that were."""
        each = on_batch is not None and not getattr(on_batch, "paced", False)
        n_weights, n_full = sum(W.size for W, _ in state[0]), batches.n_samples // batches.batch_size
        brief = not each and batches.n_samples * n_weights + batches.n_batches * _A_STEP <= _BRIEF
        form = batches.batch_size, batches.order is None, tuple(map(_form, jax.tree.leaves((state, losses))))
        gathers = isinstance(data[0], np.ndarray)
        calls = self._calls(jax, data, batches, brief=brief, each=each, gathers=gathers)
        done, self.interrupted, call = 0, False, next(calls, None)
        try:
            while call is not None:
                rows, fixed, last, given = call
                donates = self._is_large and done > 0 and last < n_full
                program = self._program(jax, rows, batches.batch_size, (fixed, donates, *form), (state, losses, *given))
                with deferred_interrupts():
                    start = time.perf_counter()
                    state, losses, loss = program(state, losses, *given)
                    call = next(calls, None) if gathers else None  # while XLA computes
                    loss.block_until_ready()
                    self._seconds_a_row = (time.perf_counter() - start) / (rows * (last - done))
                    done = last
                if on_batch is not None:
                    on_batch(done - 1, loss)
                if not gathers:
                    call = next(calls, None)
        except (KeyboardInterrupt, StopTraining) as end:
            if not done:
                raise
            self.interrupted = isinstance(end, KeyboardInterrupt)
        return state, losses if done == batches.n_batches else losses[:done]

    def _calls(
        self, jax: Any, data: tuple[Array, ...], batches: IndexBatches, *, brief: bool, each: bool, gathers: bool
    ) -> Iterator[tuple[int, int | None, int, tuple[Any, ...]]]:
        """Yield an epoch's calls: rows of a step, number of steps if fixed, last step, (data, order, steps)."""
        size, order = batches.batch_size, batches.order
        n_full, n_left = divmod(batches.n_samples, size)
        piece = max(1, min(n_full, _GATHERED // (size * data[0].shape[1])) if gathers else n_full)
        first = 0
        for rows, end in ((size, n_full), (n_left, batches.n_batches)):
            fixed = end - first if brief and 1 < end - first <= piece else None
            while first < end:
                at_once = 1 if each else min(piece, self._at_once(rows))
                last = min(end, first + (fixed or at_once))
                base, taken, chosen = 0, data, order
                if gathers:
                    length = piece * size if rows == size else rows
                    base, taken, chosen = first, self._gathered(data, order[first * size : last * size], length), None
                steps = self._constant(jax, (first, last, base), np.asarray([first, last, base], np.int32))
                yield rows, fixed, last, (taken, chosen, steps)
                first = last

    def _at_once(self, rows: int) -> int:
        """Return how many steps a call may have."""
        seconds = self._seconds_a_row * rows
        return max(1, int(_AT_ONCE / seconds), min(_SEVERAL, int(_LONGEST / seconds)))

    def _program(self, jax: Any, rows: int, size: int, form: Any, arguments: tuple[Any, ...]) -> Program:
        """Return the compiled loop over steps of so many rows for arguments of these shapes."""
        fixed, donates, *_ = form
        key = rows, form, tuple(map(_form, arguments[2]))
        if key not in self._programs:
            known = self._recorded(rows, arguments), self._precision, self._device, self._is_large, key
            if known in _RECORDED:
                self._programs[key] = _RECORDED[known]
            else:
                step = xla.with_gradients_first(self._step, arguments[0], rows) if self._is_large else self._step
                loop = xla.loop(step, rows, size, fixed, _PRECISIONS[self._precision])
                self._programs[key], shared = self._compiled(jax, loop, rows, donates, arguments)
                if shared and known[0] != "untraceable":
                    _keep(_RECORDED, known, self._programs[key])
        return self._programs[key]

    def _recorded(self, rows: int, arguments: tuple[Any, ...]) -> str:
        """Return what the step does, told by a few characters."""
        batch = tuple(None if a is None else np.empty((rows, *a.shape[1:]), a.dtype) for a in arguments[2])
        try:
            return of_step(self._step, arguments[0], batch)
        except Exception:  # a step of the user's own may be for JAX alone
            return "untraceable"

    def _compiled(
        self, jax: Any, loop: Program, rows: int, donates: bool, arguments: tuple[Any, ...]
    ) -> tuple[Program, bool]:
        """Return the compiled loop: one that is there if it was made from the same text, else a new one.

        And whether others may have it: an array that the step holds, as a loss of the user's own may, is no part of the
        text.
        """
        start = time.perf_counter()
        on_cpu = getattr(self._device, "platform", "") == "cpu"
        *fast, plain = xla.programs(jax, loop, donates=donates, on_cpu=on_cpu)
        for program in fast:
            try:
                return self._tried(jax, program, rows, donates, arguments, start)
            except RuntimeError:  # not every version of XLA knows the settings
                continue
        return self._tried(jax, plain, rows, donates, arguments, start)

    def _tried(
        self, jax: Any, program: Any, rows: int, donates: bool, arguments: tuple[Any, ...], start: float
    ) -> tuple[Program, bool]:
        try:
            traced = program.trace(*arguments)
        except (InputError, MemoryError, StopTraining):
            raise
        except Exception as error:  # whatever the step's own functions raise of what has no values
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"engine 'jax' cannot compile this step ({reason}): use engine 'eager'") from error
        key = traced.lower().as_text(), self._device, donates
        shared = not traced.jaxpr.consts
        if shared and key in _COMPILED:
            return _COMPILED[key], shared
        blank = jax.tree.map(np.zeros_like, arguments[:2])  # may be donated
        jax.block_until_ready(program(*blank, *arguments[2:4], np.zeros(3, np.int32)))  # no step, or a brief epoch's
        self.n_compiled += 1
        self._say(f"jax: compiled a step of {rows} rows in {time.perf_counter() - start:.2f} s")
        if shared:
            _keep(_COMPILED, key, program)
        return program, shared


def _keep(programs: dict[Any, Any], key: Any, program: Any) -> None:
    """Keep it, in the place of the oldest if there are many."""
    if len(programs) >= _KEPT:
        del programs[next(iter(programs))]
    programs[key] = program


def _in_type(jax: Any, dtype: Any) -> AbstractContextManager[Any]:
    """Compute in float64 if that is what the parameters are."""
    if dtype != np.float64 or jax.config.jax_enable_x64:
        return nullcontext()
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    return home.enable_x64(True)  # type: ignore[no-any-return]


def _form(array: Array | None) -> tuple[Any, ...]:
    return () if array is None else (*array.shape, array.dtype)


def _aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array that begins at a multiple of 64 bytes: XLA computes on such memory as it lies, or on a copy."""
    memory = np.empty(math.prod(shape) * dtype.itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def _library() -> Any:
    try:
        return importlib.import_module("jax")
    except ImportError as error:
        raise InputError(f"engine 'jax' needs JAX, {backends.lacking('jax', error)}") from None
