"""The CUDA-graph engine: a step as a few fused kernels and matrix products, captured once and replayed, on CuPy."""

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from array_api_compat import is_cupy_array

from backprop_xp.backends import install
from backprop_xp.batches import IndexBatches
from backprop_xp.engines import silent
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.kernels.device import CupyDevice, Device
from backprop_xp.engines.kernels.epochs import Epochs
from backprop_xp.engines.kernels.products import COMPUTE
from backprop_xp.engines.memory import is_out_of_memory
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import InputError, lookup

Array = Any

_KEPT = 2  # epochs, each with memory of its own: the parts between checkpoints, and an epoch's last


class CudaGraph:
    """Runs epochs as replays of captured steps; nothing is read by the host on the way.

    What can't be traced, compiled or captured runs eagerly, which is said once, with the reason.

    Parameters
    ----------
    say : function (str) -> None
        Is told, a line each, what was compiled and what could not be.
    precision : str
        Of the products of float32 networks: "float32"; "tf32" or "bfloat16", whose operands are rounded to 10 or 7 bits
        of mantissa and added up in float32. Weights and everything else stay float32. float64 networks stay float64.
    device : Device, optional
        In place of CuPy's current one.

    Attributes
    ----------
    n_compiled : int
        Sets of kernels compiled so far.

    Raises
    ------
    InputError
        If the precision is unknown, or CuPy is not installed.
    """

    name = "cuda_graph"

    def __init__(
        self, say: Callable[[str], None] = silent, *, precision: str = "float32", device: Device | None = None
    ) -> None:
        lookup("precision", precision, COMPUTE)
        if device is None and importlib.util.find_spec("cupy") is None:
            raise InputError(f"engine 'cuda_graph' needs CuPy, which is not installed: {install('cuda12')} (or cuda13)")
        self.n_compiled = 0
        self._say, self._precision, self._device = say, precision, device
        self._kernels: dict[str, Callable[[str], Any]] = {}
        self._given: tuple[Any, ...] = ()
        self._captured: dict[Any, Epochs | None] = {}  # of what was given, by its forms; None runs eagerly
        self._epochs: Epochs | None = None
        self._eager, self._explained = Eager(), False

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

        Parameters, result and interruptions are those of `engines.Engine.run`. The first run with a step, data and
        batch size compiles and captures; later ones replay.

        Raises
        ------
        InputError
            If the arrays are not on a CUDA device.
        """
        self._prepare(self._device_of(X), step, (params, opt_state), (X, Y, weight), batches)
        if self._epochs is None:
            return self._eager.run(step, params, opt_state, X, Y, batches, weight=weight, on_batch=on_batch)
        return self._epochs.run((params, opt_state), batches.order, on_batch)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the last run."""
        return self._eager.interrupted if self._epochs is None else self._epochs.interrupted

    def _device_of(self, X: Array) -> Device:
        if self._device is None and is_cupy_array(X):
            self._device = CupyDevice(self._precision)
        if self._device is None or not self._device.owns(X):
            library = type(X).__module__.partition(".")[0]
            raise InputError(
                f"engine 'cuda_graph' runs arrays of CuPy, not of {library}: use device='cuda', or engine='auto'"
            )
        return self._device

    def _prepare(self, device: Device, step: Callable[..., Any], state: Any, data: Any, batches: IndexBatches) -> None:
        """Capture the step, unless that was done, or tried, for the same step, data and forms."""
        order = None if batches.order is None else batches.order.dtype
        forms = tuple((x.shape, x.dtype) for x in leaves(state)), order, batches.n_samples, batches.batch_size
        given = (step, *data)
        if [*map(id, given)] != [*map(id, self._given)]:
            self._captured, self._given = {}, given
        if forms in self._captured:
            self._epochs = self._captured[forms]
            return
        self._epochs = None
        if len(self._captured) >= _KEPT:
            del self._captured[next(iter(self._captured))]
        begun, before = time.perf_counter(), self.n_compiled
        try:
            self._epochs = Epochs(device, partial(self._compiled, device), step, state, data, batches)
        except Exception as error:
            if is_out_of_memory(error):  # the batch in parts may be captured
                raise
            if not self._explained:
                self._say(f"cuda_graph: falls back to eager: {type(error).__name__}: {_first_line(error)}")
            self._explained = True
        else:
            n = self.n_compiled - before
            self._say(f"cuda_graph: {n} sets of kernels compiled and captured in {time.perf_counter() - begun:.2f} s")
        self._captured[forms] = self._epochs

    def _compiled(self, device: Device, text: str) -> Callable[[str], Any]:
        if text not in self._kernels:
            self._kernels[text] = device.compiled(text)
            self.n_compiled += 1
        return self._kernels[text]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
