"""The torch engine: the same step on PyTorch's tensors without autograd, compiled by TorchInductor where it pays."""

import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import array_api_compat
import numpy as np

from backprop_xp import backends
from backprop_xp.batches import IndexBatches
from backprop_xp.engines import silent
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.tracing import leaves, rebuilt
from backprop_xp.errors import InputError, lookup

Array = Any
Step = Callable[..., tuple[Any, Any, Array]]
Program = Callable[..., Any]

_PRECISIONS = {"float32": "highest", "tf32": "high", "bfloat16": "medium"}

# Two cores, sgd and adam: compiled, 2-4-2 takes 25 and 33 microseconds for 64 and 112, 64-64-10 38 for 83 (sgd),
# 784-512-512-10 4.6 ms for 5.1; a program takes 2 to 4 s to compile. So it pays once steps have taken about as long.
_PAYS_AFTER = 5.0

# What was compiled in this process, by what it was compiled from: another fit of an equal network compiles nothing.
_COMPILED: dict[Any, Program] = {}
_KEPT = 64


class Torch:
    """Runs a step under inference mode, on the device of PyTorch's tensors, or on the CPU for NumPy's arrays.

    A compiled step is traced at the level of PyTorch's operators, which sees through the array API's wrappers where
    `torch.compile` stops, and goes straight to its compiler: a call has no guards to check.

    Parameters
    ----------
    say : function (line) -> None
        Is told of every compilation, and why there was none.
    precision : "float32" (default), "tf32" or "bfloat16"
        Of the matrix products of float32 tensors, where the device has a choice.
    compile : bool, optional
        None compiles once the steps have taken five seconds, from the next epoch on.

    Attributes
    ----------
    n_compiled : int
        Programs this engine compiled so far, one for each number of rows; those of equal networks are shared within the
        process.

    Raises
    ------
    InputError
        If PyTorch is not installed.
    """

    name = "torch"

    def __init__(
        self, say: Callable[[str], None] = silent, *, precision: str = "float32", compile: bool | None = None
    ) -> None:
        _library()
        self.n_compiled = 0
        self._say = say
        self._precision = lookup("precision", precision, _PRECISIONS)
        self._compile = compile
        self._data: tuple[Any, Any] = ((), None)
        self._step: Step | None = None
        self._programs: dict[Any, Step] = {}
        self._seconds = 0.0
        self._eager = Eager()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the last run."""
        return self._eager.interrupted

    def run(
        self,
        step: Step,
        params: Any,
        opt_state: Any,
        X: Array,
        Y: Array,
        batches: IndexBatches,
        *,
        weight: Array | None = None,
        on_batch: Callable[[int, Array], None] | None = None,
    ) -> tuple[Any, Any, Array]:
        """Run a step for every batch: see `engines.Engine.run`; with arrays of NumPy or PyTorch.

        Raises
        ------
        InputError
            If the arrays are another library's.
        """
        torch = _library()
        on_host = isinstance(X, np.ndarray)
        if not on_host and not array_api_compat.is_torch_array(X):
            raise InputError(
                f"engine 'torch' runs tensors of PyTorch or dense arrays of NumPy, not "
                f"{type(X).__module__}.{type(X).__name__}: use engine='eager'"
            )
        compiled = self._compile or (self._compile is None and self._seconds > _PAYS_AFTER)
        start = time.perf_counter()
        with self._settings(torch):
            X, Y, weight = self._adopted(torch, (X, Y, weight))
            state = _tensors(torch, (params, opt_state))
            batches = batches._replace(order=_tensors(torch, batches.order))
            taken = self._as_program(torch, step) if compiled else step
            result = self._eager.run(taken, state[0], state[1], X, Y, batches, weight=weight, on_batch=on_batch)
        self._seconds += time.perf_counter() - start
        # Copies: a tensor of inference mode is of no use to autograd, and one that no step changes is the caller's own.
        own = (leaf.clone() for leaf in leaves(result))
        params, opt_state, losses = rebuilt(result, (leaf.numpy() for leaf in own) if on_host else own)
        return params, opt_state, losses

    @contextmanager
    def _settings(self, torch: Any) -> Iterator[None]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self._precision)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    def _adopted(self, torch: Any, given: tuple[Array, Array, Array | None]) -> Any:
        """Return (X, Y, weight) as tensors: those of the epoch before if they are the same arrays."""
        if [*map(id, given)] != [*map(id, self._data[0])]:
            self._data = given, _tensors(torch, given)
        return self._data[1]

    def _as_program(self, torch: Any, step: Step) -> Step:
        """Return the step, compiled for each shape of batch that comes."""
        if step is not self._step:
            self._step, self._programs = step, {}
        programs = self._programs

        def taken(params: Any, opt_state: Any, X: Array, Y: Array, weight: Array | None) -> tuple[Any, Any, Array]:
            key = X.shape, X.stride(), X.dtype, Y.shape, Y.dtype, weight is None, params[0][0].dtype
            if key not in programs:
                arguments = params, opt_state, X, Y, weight
                programs[key] = step if self._compile is False else self._compiled(torch, step, arguments)
            return programs[key](params, opt_state, X, Y, weight)

        return taken

    def _compiled(self, torch: Any, step: Step, arguments: tuple[Any, ...]) -> Step:
        """Return the step compiled for arguments of these shapes, or the step itself if that fails."""
        try:
            # The compiler warns of what PyTorch itself still uses.
            with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
                warnings.simplefilter("ignore")
                program, result = self._program(torch, step, arguments)
        except Exception as error:  # a missing compiler, or whatever a release of PyTorch cannot compile
            self._say(f"torch: steps run uncompiled: {(str(error).strip() or type(error).__name__).splitlines()[0]}")
            self._compile = False
            return step
        return lambda *given: rebuilt(result, iter(program(*leaves(given))))

    def _program(self, torch: Any, step: Step, arguments: tuple[Any, ...]) -> tuple[Program, Any]:
        """Return a function of the arguments' leaves that gives the result's leaves, and the shape of that result."""
        result: Any = None

        def flat(*given: Array) -> list[Array]:
            nonlocal result
            result = step(*rebuilt(arguments, iter(given)))
            return list(leaves(result))

        inputs = [leaf.clone() for leaf in leaves(arguments)]
        graph = importlib.import_module("torch.fx.experimental.proxy_tensor").make_fx(flat)(*inputs)
        held = tuple((name, str(tensor.dtype), str(tensor.tolist())) for name, tensor in graph.named_buffers())
        shapes = tuple((leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in inputs)
        key = graph.code, held, shapes, self._precision
        if key not in _COMPILED:
            start, n_rows = time.perf_counter(), arguments[2].shape[-2]
            if len(_COMPILED) >= _KEPT:
                del _COMPILED[next(iter(_COMPILED))]
            program = importlib.import_module("torch._inductor").compile(graph, inputs)
            program(*inputs)  # the source of its kernels is compiled at the first call
            _COMPILED[key] = program
            self.n_compiled += 1
            self._say(f"torch: compiled a step of {n_rows} rows in {time.perf_counter() - start:.2f} s")
        return _COMPILED[key], result


def _tensors(torch: Any, tree: Any) -> Any:
    """Return a tree's arrays as contiguous tensors, which share the memory of NumPy's where it can be written to."""

    def tensor(array: Array) -> Array:
        if isinstance(array, torch.Tensor):
            return array.contiguous()
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))

    return rebuilt(tree, map(tensor, leaves(tree)))


def _library() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise InputError(f"engine 'torch' needs PyTorch, {backends.lacking('torch', error)}") from None
