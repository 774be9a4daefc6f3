"""Where a batch does not fit into memory: the same steps from parts of it, on any engine."""

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from array_api_compat import is_cupy_array

from backprop_xp import backends
from backprop_xp.batches import IndexBatches
from backprop_xp.errors import InputError

if TYPE_CHECKING:
    from backprop_xp.engines import Engine

Array = Any

# Besides MemoryError, which NumPy's and CuPy's own are: what a class is called, the library it is of (the package that
# its module lies in), and what its text says. A library that is not loaded has raised nothing.
_SIGNS = (
    ("OutOfMemoryError", "torch", ""),
    ("RuntimeError", "builtins", "you tried to allocate"),  # PyTorch's allocator on the CPU
    ("RuntimeError", "builtins", "CUDA error: out of memory"),  # PyTorch, where its allocator was not asked
    ("RuntimeError", "builtins", "CUBLAS_STATUS_ALLOC_FAILED"),  # PyTorch's cuBLAS, which needs a workspace
    ("CUBLASError", "cupy_backends", "CUBLAS_STATUS_ALLOC_FAILED"),
    ("CUDARuntimeError", "cupy_backends", "cudaErrorMemoryAllocation"),
    ("JaxRuntimeError", "jax", "RESOURCE_EXHAUSTED"),
    ("XlaRuntimeError", "jaxlib", "RESOURCE_EXHAUSTED"),  # its name up to JAX 0.7
)


class Sparing:
    """An engine that takes each batch in parts once memory has run out: in 2, 4, 8 ... until they fit.

    Parameters
    ----------
    engine : Engine
        What runs the steps.
    say : function (line) -> None, optional
        Told once in how many parts the batches are taken from then on.

    Attributes
    ----------
    name : str
        The engine's.

    Notes
    -----
    A step that has no `in_parts` is run as it is.
    """

    def __init__(self, engine: "Engine", say: Callable[[str], None] = lambda line: None) -> None:
        self.name = engine.name
        self._engine, self._say = engine, say
        self._whole: Any = None
        self._step: Any = None
        self._n_parts = 1

    @property
    def n_compiled(self) -> int:
        """The engine's."""
        return self._engine.n_compiled

    @property
    def interrupted(self) -> bool:
        """The engine's."""
        return self._engine.interrupted

    def run(
        self,
        step: Any,
        params: Any,
        opt_state: Any,
        X: Array,
        Y: Array,
        batches: IndexBatches,
        *,
        weight: Array | None = None,
        on_batch: Callable[[int, Array], None] | None = None,
    ) -> tuple[Any, Any, Array]:
        """Run a step for every batch: see `engines.Engine.run`. How it was split holds for later runs of the same step.

        Raises
        ------
        InputError
            If memory runs out with one row at a time too.
        """
        if step is not self._whole:
            self._whole, self._step, self._n_parts = step, step, 1
        said, n_rows = self._n_parts, min(batches.batch_size, batches.n_samples)
        listener = None if on_batch is None else _Listener(on_batch)
        while True:
            try:
                result = self._engine.run(
                    self._step, params, opt_state, X, Y, batches, weight=weight, on_batch=listener
                )
                backends.synchronize(result[2])  # JAX raises where a result is read, which would be too late
                break
            except Exception as error:
                failed = listener is not None and listener.failed
                if failed or not (hasattr(step, "in_parts") and is_out_of_memory(error)):
                    raise
                if self._n_parts >= n_rows:
                    raise InputError(_EXHAUSTED) from error
            # The error is gone by now, and with it the arrays that its traceback held.
            self._n_parts = min(2 * self._n_parts, n_rows)
            add_up = {"add_up": _added_in_a_scan} if self.name == "jax" else {}
            self._step = step.in_parts(self._n_parts, **add_up)
            _free(X)
        if self._n_parts > said:
            self._say(_told(n_rows, self._n_parts))
        return result


_EXHAUSTED = (
    "out of memory, though the rows of a batch were taken one by one: parameters and data leave no room; "
    "use narrower layers, a smaller batch_size, fewer rows at a time or another device"
)


class _Listener:
    """Passes each batch's news on once, however often the run begins anew."""

    def __init__(self, on_batch: Callable[[int, Array], None]) -> None:
        self.failed = False
        self.paced = getattr(on_batch, "paced", False)
        self._on_batch, self._n_told = on_batch, 0

    def __call__(self, batch: int, loss: Array) -> None:
        if batch < self._n_told:
            return
        self._n_told = batch + 1
        try:
            self._on_batch(batch, loss)
        except Exception:
            self.failed = True  # not the step's error, whatever it is
            raise


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether it says that memory ran out, on the host or on a device, whichever library raised it.

    Parameters
    ----------
    error : exception
    """
    if isinstance(error, MemoryError):
        return True
    kinds = {(kind.__name__, kind.__module__.partition(".")[0]) for kind in type(error).__mro__}
    text = str(error)
    return any((name, library) in kinds and sign in text for name, library, sign in _SIGNS)


def _added_in_a_scan(summand: Callable[[Any, Any], Any], n_samples: int, n_parts: int) -> Any:
    """Return `step.add_up`'s sums: XLA would keep memory for all the parts at once, were they not in one loop."""
    import jax

    size = -(-n_samples // n_parts)
    n_full, n_left = divmod(n_samples, size)
    rows = jax.numpy.arange(size, dtype=jax.numpy.int32)

    def add(sums: Any, first_row: Array) -> tuple[Any, None]:
        return jax.tree.map(jax.numpy.add, sums, summand(first_row + rows, first_row)), None

    sums = summand(slice(size), 0)
    sums, _ = jax.lax.scan(add, sums, jax.numpy.arange(1, n_full, dtype=jax.numpy.int32) * size)
    if n_left:
        last = summand(slice(n_full * size, None), n_full * size)
        sums = jax.tree.map(jax.numpy.add, sums, last)
    return sums


def _free(X: Array) -> None:
    """Give back what the libraries keep of freed memory: CuPy if the data are its own, PyTorch if it is loaded."""
    gc.collect()
    if is_cupy_array(X):
        cupy = sys.modules["cupy"]
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


def _told(n_rows: int, n_parts: int) -> str:
    size = -(-n_rows // n_parts)
    up_to = "up to " if n_rows % n_parts else ""
    parts = f"{n_parts:,} parts of {up_to}{size:,}"
    return f"out of memory: each batch of {n_rows:,} rows is taken in {parts} whose gradients add up"
