"""A step made ready for one set of data: its memory, its graphs, and an epoch of replays.

The state lies where the graphs expect it, and each step writes it over itself. What every thread reads, the count, a
scheduled rate and the number of the step, has two places: even steps read the first and write the second, odd steps the
other way round. So no thread can read what another has just written, and there is a graph for each.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backprop_xp.batches import IndexBatches
from backprop_xp.engines.kernels.buffers import Slots, aligned
from backprop_xp.engines.kernels.device import Device
from backprop_xp.engines.kernels.fusion import Fusion, Place, Product
from backprop_xp.engines.kernels.indexing import Part
from backprop_xp.engines.kernels.source import Kernel, Rows, source
from backprop_xp.engines.tracing import Trace, leaves, rebuilt
from backprop_xp.errors import StopTraining

Array = Any
Compile = Callable[[str], Callable[[str], Any]]

_REHEARSALS = 2

_PACE = 64  # steps between two calls of a listener that need not hear of every one


class Epochs:
    """The steps of an epoch, captured.

    Parameters
    ----------
    device : Device
    compile : function (text) -> function (name) -> kernel
    step : function (params, opt_state, X, Y, weight) -> (params, opt_state, loss)
    state : tree of arrays
        (params, opt_state), of which shapes and data types are used.
    data : tree of arrays
        (X, Y, weight or None), which are kept.
    batches : IndexBatches

    Raises
    ------
    TracingError
        If the step can't be traced, or no kernel can be made for it.
    """

    def __init__(
        self, device: Device, compile: Compile, step: Callable[..., Any], state: Any, data: Any, batches: IndexBatches
    ) -> None:
        self.interrupted = False
        self._device, self._n_batches = device, batches.n_batches
        self._data = rebuilt(data, (device.contiguous(x) for x in leaves(data)))
        size = min(batches.batch_size, batches.n_samples)
        self._sizes = [min(size, batches.n_samples - first) for first in range(0, batches.n_samples, size)]
        order = batches.order
        rows = Rows(size, None if order is None else np.dtype(order.dtype))
        fusions = {
            n: Fusion(Trace(step, state, _first_rows(self._data, n)), direct=order is None and self._n_batches == 1)
            for n in dict.fromkeys(self._sizes)
        }
        self._memory = _Memory(device, list(fusions.values()), order, self._n_batches)
        self._graphs: dict[tuple[int, int], Callable[[], None]] = {}
        for n, fusion in fusions.items():
            self._capture(n, fusion, rows, compile)

    def run(
        self, state: Any, order: Array | None, on_batch: Callable[[int, Array], None] | None
    ) -> tuple[Any, Any, Array]:
        """Run one epoch, as `engines.Engine.run`.

        Parameters
        ----------
        state : tree of arrays
            (params, opt_state).
        order : integer array (n_samples,), or None
        on_batch : function (batch, loss) -> None, optional
        """
        memory, device = self._memory, self._device
        memory.load(list(leaves(state)), order)
        device.follow()
        interruption: BaseException | None = None
        every = _PACE if getattr(on_batch, "paced", False) else 1
        try:
            for n in range(self._n_batches):
                self._graphs[self._sizes[n], n % 2]()
                if on_batch is not None and (n % every == 0 or n == self._n_batches - 1):
                    device.hand_over()
                    on_batch(n, memory.loss(n))
        except (KeyboardInterrupt, StopTraining) as error:
            interruption = error
        finally:
            device.hand_over()
        # Ctrl-C may come between a launch and the next statement: the device knows whether the step was launched.
        done = self._n_batches if interruption is None else memory.steps_done()
        if interruption is not None and not done:
            raise interruption
        self.interrupted = isinstance(interruption, KeyboardInterrupt)
        params, opt_state = rebuilt(state, iter(memory.unload(done)))
        return params, opt_state, memory.losses(done)

    def _capture(self, n_rows: int, fusion: Fusion, rows: Rows, compile: Compile) -> None:
        written = source(fusion, rows, self._memory.apart)
        kernel_of = compile(written.text)
        places = self._memory.places(fusion, self._data)
        works = [self._work(fusion, written.kernels, kernel_of, places, parity) for parity in (0, 1)]
        for n in range(_REHEARSALS):
            self._memory.rewind()  # or a rehearsal would go on past the last row
            self._device.follow()
            self._device.rehearsed(works[n % 2])
        for parity, work in enumerate(works):
            if (n_rows, parity) in {(size, n % 2) for n, size in enumerate(self._sizes)}:
                self._graphs[n_rows, parity] = self._device.captured(work)

    def _work(
        self,
        fusion: Fusion,
        kernels: Sequence[Kernel],
        kernel_of: Callable[[str], Any],
        places: Callable[[Place, int], Array],
        parity: int,
    ) -> Callable[[], None]:
        """Return what launches one step."""
        device, waiting, calls = self._device, iter(kernels), list[Callable[[], None]]()

        def kernel_call(kernel: Kernel) -> Callable[[], None]:
            function, arrays = kernel_of(kernel.name), [places(place, parity) for place in kernel.places]
            return lambda: device.launch(function, kernel.n_blocks, arrays)

        def product_call(product: Product) -> Callable[[], None]:
            a, b = (_matrix(places(fusion.place_of(p.base), parity), p) for p in (product.a, product.b))
            out = places(Place("value", product.value), parity)
            return lambda: device.multiply(a, product.a.transposed, b, product.b.transposed, out)

        for launch in fusion.launches:
            calls.append(product_call(launch) if isinstance(launch, Product) else kernel_call(next(waiting)))

        def work() -> None:
            for call in calls:
                call()

        return work


class _Memory:
    """All arrays that the graphs of an engine use; they share them."""

    def __init__(self, device: Device, fusions: Sequence[Fusion], order: Array | None, n_batches: int) -> None:
        numbers = {n for fusion in fusions for n, leaf in enumerate(fusion.state) if leaf in fusion.apart}
        self.apart = {fusion.state[n] for fusion in fusions for n in numbers}
        self._leaves = [(leaf.shape, leaf.dtype) for leaf in fusions[0].state]
        together = [n for n in range(len(self._leaves)) if n not in numbers]
        self._starts, self._split = _laid_out(self._leaves, [*together, *sorted(numbers)], len(together))
        self._numbers = numbers
        n_bytes = self._starts[-1]
        self._state = device.zeros(n_bytes), device.zeros(n_bytes - self._split)  # the second of leaves apart alone
        self._steps = device.zeros(2 * 4).view(np.int32)
        loss = fusions[0].loss.dtype
        self._losses = device.zeros(n_batches * loss.itemsize).view(loss)
        self._order: Array = None
        if order is not None:
            self._order = device.zeros(order.size * order.dtype.itemsize).view(order.dtype)
        slots = Slots()
        self._slots = {fusion: slots.assigned(fusion) for fusion in fusions}
        self._blocks = [device.zeros(n) for n in slots.sizes]
        self._returned: tuple[list[Array], Array] = [], None

    def load(self, state: Sequence[Array], order: Array | None) -> None:
        """Copy the state to where the first step reads it."""
        returned, block = self._returned
        if len(returned) == len(state) and all(x is y for x, y in zip(state, returned, strict=True)):
            self._state[0][...] = block  # the very arrays that `unload` returned: one copy for all of them
        else:
            for n, x in enumerate(state):
                self._leaf(n, self._state[0], 0)[...] = x
        self.rewind()
        if order is not None:
            self._order[...] = order

    def rewind(self) -> None:
        """Begin with step 0."""
        self._steps[...] = 0

    def unload(self, n_steps: int) -> list[Array]:
        """Return copies of the state after that many steps."""
        block = self._state[0].copy()
        if n_steps % 2:
            block[self._split :] = self._state[1]
        state = [self._leaf(n, block, 0) for n in range(len(self._leaves))]
        self._returned = state, block
        return state

    def steps_done(self) -> int:
        """Return how many steps were launched in this epoch: waits for them."""
        return int(self._steps.max())

    def loss(self, n: int) -> Array:
        """Return a copy of one step's loss."""
        return self._losses[n : n + 1].copy().reshape(())

    def losses(self, n_steps: int) -> Array:
        """Return a copy of the losses."""
        return self._losses[:n_steps].copy()

    def places(self, fusion: Fusion, data: Any) -> Callable[[Place, int], Array]:
        """Return the function (place, parity of the step) -> array, as a trace's kernels see it."""
        slots = self._slots[fusion]
        numbers = {leaf: n for n, leaf in enumerate(fusion.state)}
        rows = dict(zip(fusion.batch, leaves(data), strict=True))
        whole = {"order": self._order, "losses": self._losses}

        def array(place: Place, parity: int) -> Array:
            x = place.of
            if place.role in ("step", "next_step"):
                k = parity if place.role == "step" else 1 - parity
                return self._steps[k : k + 1]
            if x is None:
                return whole[place.role]
            if place.role == "data":
                return rows[x]
            if place.role == "value":
                return _typed(self._blocks[slots[x]], 0, x.shape, x.dtype)
            n = numbers[x]
            if n not in self._numbers or parity == (place.role == "new"):
                return self._leaf(n, self._state[0], 0)
            return self._leaf(n, self._state[1], self._split)

        return array

    def _leaf(self, n: int, block: Array, first: int) -> Array:
        """Return a leaf in a block that begins at byte `first` of the layout."""
        return _typed(block, self._starts[n] - first, *self._leaves[n])


def _laid_out(arrays: Sequence[tuple[Any, Any]], order: Sequence[int], n_first: int) -> tuple[list[int], int]:
    """Return where each array starts, and at the end their size; and where those after the first `n_first` begin."""
    starts, end, split = [0] * (len(arrays) + 1), 0, 0
    for place, n in enumerate(order):
        if place == n_first:
            split = end
        starts[n] = end
        shape, dtype = arrays[n]
        end += aligned(math.prod(shape) * dtype.itemsize)
    starts[-1] = end
    return starts, split if n_first < len(order) else end


def _typed(block: Array, start: int, shape: tuple[int, ...], dtype: Any) -> Array:
    return block[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def _matrix(array: Array, part: Part) -> Array:
    n = part.shape[0] * part.shape[1]
    return array.reshape(-1)[part.offset : part.offset + n].reshape(part.shape)


def _first_rows(data: Any, n: int) -> Any:
    return rebuilt(data, (x[:n, ...] for x in leaves(data)))
