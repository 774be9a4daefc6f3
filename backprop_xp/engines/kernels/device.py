"""What the CUDA-graph engine asks of a device, and CuPy's answer."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from backprop_xp.engines.kernels.normal import THREADS
from backprop_xp.engines.kernels.products import WORKSPACE, Products

Array = Any

# Products and sums are rounded one after the other, as the array library does, not fused.
_OPTIONS = ("--std=c++17", "--fmad=false")


class Device(Protocol):
    """Where a step's launches run: in their order, on a stream of their own.

    Arrays are those of a library with NumPy's slices, `view` and `reshape`.
    """

    def owns(self, array: Array) -> bool:
        """Tell whether the array is of the device's library."""

    def zeros(self, n_bytes: int) -> Array:
        """Return new memory, as uint8."""

    def contiguous(self, array: Array) -> Array:
        """Return the array row by row in memory: itself, if it lies so."""

    def compiled(self, text: str) -> Callable[[str], Any]:
        """Return what gives a kernel by its name."""

    def launch(self, kernel: Any, n_blocks: int, arrays: Sequence[Array]) -> None:
        """Run a kernel."""

    def multiply(self, a: Array, a_transposed: bool, b: Array, b_transposed: bool, out: Array) -> None:
        """Write the product of two matrices, or of their transposes, to `out`."""

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` launches, running none of it, and return what runs it all."""

    def rehearsed(self, work: Callable[[], None]) -> None:
        """Do once what will be captured, on the same stream, and wait for it."""

    def follow(self) -> None:
        """Let what is launched from now on begin after the work of the user's stream."""

    def hand_over(self) -> None:
        """Let the user's stream go on after what was launched so far."""


class CupyDevice:
    """A CUDA device by CuPy: NVRTC, cuBLAS and CUDA graphs, with memory of its own that lives as long as they do.

    Parameters
    ----------
    precision : str
        Of products of float32: "float32", "tf32" or "bfloat16".
    """

    def __init__(self, precision: str) -> None:
        import cupy

        self._cupy, self._precision = cupy, precision
        self._pool = cupy.cuda.MemoryPool()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._products: Products | None = None
        self._workspace: Array = None

    def owns(self, array: Array) -> bool:
        """Tell whether the array is CuPy's."""
        return isinstance(array, self._cupy.ndarray)

    def zeros(self, n_bytes: int) -> Array:
        """Return new memory, as uint8."""
        with self._cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            block = self._cupy.zeros(n_bytes, dtype=self._cupy.uint8)
        self._stream.synchronize()
        return block

    def contiguous(self, array: Array) -> Array:
        """Return the array row by row in memory."""
        return self._cupy.ascontiguousarray(array)

    def compiled(self, text: str) -> Callable[[str], Any]:
        """Return what gives a kernel by its name."""
        module = self._cupy.RawModule(code=text, options=_OPTIONS)
        module.compile()
        return module.get_function  # type: ignore[no-any-return]

    def launch(self, kernel: Any, n_blocks: int, arrays: Sequence[Array]) -> None:
        """Run a kernel."""
        kernel((n_blocks,), (THREADS,), tuple(arrays))

    def multiply(self, a: Array, a_transposed: bool, b: Array, b_transposed: bool, out: Array) -> None:
        """Write the product of two matrices, or of their transposes, to `out`."""
        if self._products is None:  # in the warm-up, before anything is captured
            self._workspace = self.zeros(WORKSPACE)
            self._products = Products(self._workspace.data.ptr, self._precision)
            self._products.use(self._stream.ptr)
        self._products.multiply(a, a_transposed, b, b_transposed, out)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` launches in a CUDA graph, and return what replays it."""
        with self._stream:
            self._stream.begin_capture()
            try:
                work()
            except BaseException:
                with contextlib.suppress(Exception):  # the first error is the one to tell
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        return lambda: graph.launch(self._stream)

    def rehearsed(self, work: Callable[[], None]) -> None:
        """Do once what will be captured, on the same stream, and wait for it."""
        with self._stream:
            work()
        self._stream.synchronize()

    def follow(self) -> None:
        """Let what is launched from now on begin after the work of the user's stream."""
        self._stream.wait_event(self._cupy.cuda.get_current_stream().record())

    def hand_over(self) -> None:
        """Let the user's stream go on after what was launched so far."""
        self._cupy.cuda.get_current_stream().wait_event(self._stream.record())
