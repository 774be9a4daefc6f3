"""Where the operations of a recorded step stand in scalar loops, and where their results lie in memory.

Elementwise operations on arrays of one shape share a loop nest, as late as what they are used for allows, and hand each
other scalars; only what another nest reads is written to memory. A sum goes into the loops of what it sums. Memory is
one flat array for each data type, since a compiler can tell two places of one array apart. The state lies at its
beginning and is updated where it lies; the place of any other value is used again once the last nest that reads it has
run. Batches are read where they lie among the samples, or in places that are theirs alone if they are gathered.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_xp.engines.tracing import ELEMENTWISE, REDUCTIONS, VIEWS, Shape, Trace, TracingError, Value, source_of

Strides = tuple[int, tuple[int, ...]]

# A product of so few terms is added up for each element, inside the loops of the elementwise operations that use it.
_SHORT = 8
_ALIGNED = 16  # elements; of float32 they fill a line of the processor's cache, which no two arrays share
_DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
FOLDS = REDUCTIONS | {"vecdot"}


class Nest:
    """Operations in one nest of loops over `shape`; None for one that has loops of its own."""

    def __init__(self, shape: Shape | None) -> None:
        self.shape = shape
        self.operations: list[Value] = []


class Plan:
    """The nests of loops of a recorded step, and its memory.

    Parameters
    ----------
    trace : Trace

    Attributes
    ----------
    nests : list of Nest
        The last to be run first.
    new_state : list of Value
        What makes each leaf of the new state, an operation of its own; the old leaf where it stays.
    loss : Value
    copies : list of (Value, Value)
        New leaves that are to be copied to the old ones' places after the last nest.
    memory : dict of str to int
        The length of the flat array of each data type.

    Raises
    ------
    TracingError
        If the step has operations that are not known here.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        _check(trace)
        *self.new_state, self.loss = _own_results(trace)
        self.memory: dict[str, int] = {}
        self._layouts: dict[int, Any] = {}
        self._places: dict[int, int] = {}
        self._free: dict[tuple[str, int], list[int]] = {}
        self._left: set[int] = set()  # what had places that others have taken over
        self._schedule()
        for leaf in trace.state:  # the first in memory
            self.place(leaf)
        self._place_new_state()

    # ---- which operations share loops -------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Put every operation into a nest, the last first, and note who reads what from where."""
        traced = [*self.trace.new_state, self.trace.loss]
        copied = [new for new, old in zip([*self.new_state, self.loss], traced, strict=True) if new is not old]
        self.nests: list[Nest] = []  # the last to be run first
        self._nest_of: dict[int, int] = {}
        self._readers: dict[int, list[tuple[int, bool]]] = {}
        riders: dict[int, list[Value]] = {}  # sums of an operation's result, which go into its loops
        for operation in reversed([*self.trace.operations, *copied]):
            if operation.op in VIEWS or operation.op == "arange":
                continue
            shape = _loops_of(operation)
            if operation.op == "sum" and _pointwise(operation.inputs[0]):
                riders.setdefault(operation.inputs[0].number, []).append(operation)
                continue
            together = [operation, *riders.get(operation.number, ())]
            bound = max(map(self._bound, together))
            fits = (k for k in range(bound, len(self.nests)) if shape is not None and self.nests[k].shape == shape)
            k = next(fits, len(self.nests))
            if k == len(self.nests):
                self.nests.append(Nest(shape))
            self.nests[k].operations[:0] = together
            for each in together:
                self._nest_of[each.number] = k
                for x in each.inputs:
                    handed = x.shape == shape and _pointwise(x) and each.op != "matmul"
                    self._readers.setdefault(source_of(x).number, []).append((k, handed))

    def _bound(self, operation: Value) -> int:
        """Return the last nest, by number the first, that is early enough for those that read an operation's result."""
        return max((k if handed else k + 1 for k, handed in self._readers.get(operation.number, ())), default=0)

    def _place_new_state(self) -> None:
        """Let a new leaf take the old one's place, unless that is still read afterwards or from other elements."""
        self.copies: list[tuple[Value, Value]] = []
        for old, new in zip(self.trace.state, self.new_state, strict=True):
            if new is old or not old.shape:
                continue
            k, in_place = self._nest_of[new.number], _pointwise(new)
            if all(reader > k or (reader == k and same and in_place) for reader, same in self._all_readers(old)):
                self._places[new.number] = self._places[old.number]
            else:
                self.copies.append((new, old))

    def _all_readers(self, leaf: Value) -> Iterator[tuple[int, bool]]:
        """Yield (nest, whether at the very element that the nest is at) of all that read an input."""
        for k, nest in enumerate(self.nests):
            for operation in nest.operations:
                for x in operation.inputs:
                    if source_of(x) is leaf:
                        yield k, x is leaf and nest.shape == leaf.shape and operation.op != "matmul"

    def stored(self, operation: Value) -> bool:
        """Tell whether another nest, or the caller, reads the result from memory."""
        if not operation.shape:
            return False
        k = self._nest_of[operation.number]
        readers = self._readers.get(operation.number, ())
        return any(new is operation for new in self.new_state) or any(r != k or not same for r, same in readers)

    # ---- where values lie -------------------------------------------------------------------------------------------

    def place(self, x: Value) -> int:
        """Return the first element of an array in the memory of its data type; 0 for one of the batch's."""
        if x in self.trace.batch:
            return 0
        if x.number not in self._places:
            self._places[x.number] = self.reserve(x.dtype.name, x.size)
        return self._places[x.number]

    def reserve(self, dtype: str, size: int) -> int:
        """Return the first element of memory for so many of a data type, used before or new."""
        whole = dtype, _whole_lines(size)
        if self._free.get(whole):
            return self._free[whole].pop()
        place = self.memory.get(dtype, 0)
        self.memory[dtype] = place + whole[1]
        return place

    def give_back(self, dtype: str, size: int, place: int) -> None:
        """Let memory that was reserved be used again."""
        self._free.setdefault((dtype, _whole_lines(size)), []).append(place)

    def take_over(self, nest: Nest) -> None:
        """Let results lie where operands lie that are used up in the same nest, if it only reads them where it is."""
        read = [(source_of(x), x is source_of(x) and by.op != "matmul") for by in nest.operations for x in by.inputs]
        elsewhere = {x.number for x, there in read if not there}
        free = [x for x in self._used_up(nest) if x.shape == nest.shape and x.number not in elsewhere]
        for result in nest.operations:
            if _pointwise(result) and self.stored(result) and result.number not in self._places:
                x = next((x for x in free if x.dtype == result.dtype), None)
                if x is not None:
                    free.remove(x)
                    self._places[result.number] = self._places[x.number]
                    self._left.add(x.number)

    def release(self, nest: Nest) -> None:
        """Give free the memory of what is read in a nest for the last time."""
        for x in self._used_up(nest):
            if x.number not in self._left:
                self.give_back(x.dtype.name, x.size, self._places[x.number])

    def _used_up(self, nest: Nest) -> list[Value]:
        """Return what has a place of its own and is read in a nest for the last time."""
        k = self._number(nest)
        read = {source_of(x).number: source_of(x) for operation in nest.operations for x in operation.inputs}
        kept = {x.number for x in (*self.trace.state, *self.new_state)}
        owned = (x for number, x in read.items() if number in self._places and number not in kept)
        return [x for x in owned if min(reader for reader, _ in self._readers[x.number]) == k]

    def layout(self, x: Value) -> Any:
        """Return an array whose strides are those of `x` in the memory of what it views; NumPy works them out."""
        if x.number not in self._layouts:
            if x.op not in VIEWS:
                layout = np.empty(x.shape, x.dtype)
            elif x.op == "transpose":
                layout = self.layout(x.inputs[0]).mT
            elif x.op == "index":
                key = x.detail if any(part is Ellipsis for part in x.detail) else (*x.detail, ...)
                layout = self.layout(x.inputs[0])[key]
            else:
                try:
                    layout = self.layout(x.inputs[0]).reshape(x.shape, copy=False)
                except ValueError:
                    raise TracingError("another shape for elements that do not lie together") from None
            self._layouts[x.number] = layout
        return self._layouts[x.number]

    def strides(self, x: Value, shape: Shape) -> Strides:
        """Return (first element, strides) of `x` broadcast to a shape, in elements."""
        layout, source = np.broadcast_to(self.layout(x), shape), source_of(x)
        ahead = layout.__array_interface__["data"][0] - self.layout(source).__array_interface__["data"][0]
        size = x.dtype.itemsize
        place = 0 if source.op == "arange" else self.place(source)
        return place + ahead // size, tuple(stride // size for stride in layout.strides)

    def result_strides(self, reduction: Value, shape: Shape) -> Strides:
        """Return (first element, strides) of a reduction's result over the loops: 0 along what it reduces."""
        kept = [1 if axis in _axes(reduction) else n for axis, n in enumerate(shape)]
        layout = np.broadcast_to(np.empty(kept, reduction.dtype), shape)
        return self.place(reduction), tuple(stride // reduction.dtype.itemsize for stride in layout.strides)

    def in_memory(self, x: Value, op: Value, nest: Nest) -> bool:
        """Tell whether an operand is read by its element's number in memory (or is such a number)."""
        source = source_of(x)
        if source.op == "constant" or not source.shape or op.op == "matmul":
            return False
        return not (x is source and x.shape == nest.shape and self._nest_of.get(x.number) == self._number(nest))

    def _number(self, nest: Nest) -> int:
        return self._nest_of[nest.operations[0].number]

    def term(self, product: Value, k: int) -> Strides:
        """Return (first element, strides) of a short product's left (k = 0) or right factor.

        The strides are those along the rows, the columns and the terms of the product.
        """
        place, (first, second) = self.strides(product.inputs[k], product.inputs[k].shape)
        return place, (first, 0, second) if k == 0 else (0, second, first)


def _whole_lines(size: int) -> int:
    return size + -size % _ALIGNED


def _check(trace: Trace) -> None:
    known = ELEMENTWISE | REDUCTIONS | VIEWS | {"matmul", "vecdot", "concat", "arange"}
    for op in [*trace.state, *trace.batch, *trace.operations]:
        if op.dtype.name not in _DTYPES:
            raise TracingError(f"arrays of {op.dtype.name}")
        if op.op != "input" and (op.op not in known or (op.op in ("max", "min") and op.dtype.kind != "f")):
            raise TracingError(f"the operation {op.op!r} of {op.dtype.name}")
        if op.op == "matmul" and any(len(x.shape) != 2 or source_of(x).op in ("constant", "arange") for x in op.inputs):
            raise TracingError("a product of other than two matrices of numbers: it runs one network at a time")
    if trace.loss.shape:
        raise TracingError(f"a loss of shape {trace.loss.shape}: it runs one network at a time")


def _own_results(trace: Trace) -> list[Value]:
    """Return what makes each leaf of the new state, and the loss, each by an operation of its own.

    A view, an input, or the result of another leaf, is copied; a leaf that stays as it is, stays.
    """
    found: list[Value] = []
    for old, new in zip([*trace.state, None], [*trace.new_state, trace.loss], strict=True):
        again = new.op in VIEWS | {"input", "constant", "arange"} or any(new is x for x in found)
        found.append(Value("astype", (new,), new.shape, new.dtype) if again and new is not old else new)
    return found


def _pointwise(x: Value) -> bool:
    """Tell whether a value is there as soon as the loops reach its element."""
    return x.op in ELEMENTWISE or (x.op == "matmul" and x.inputs[0].shape[-1] <= _SHORT)


def _loops_of(op: Value) -> Shape | None:
    """Return the shape that an operation loops over, or None if it needs loops of its own."""
    if op.op in FOLDS:
        return np.broadcast_shapes(*(x.shape for x in op.inputs))
    return op.shape if _pointwise(op) else None


def _axes(reduction: Value) -> tuple[int, ...]:
    if reduction.op == "vecdot":
        return (len(reduction.shape),)
    axes: tuple[int, ...] = reduction.detail[0]
    return axes
