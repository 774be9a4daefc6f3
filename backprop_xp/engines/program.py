"""A traced step as a straight run of NumPy calls, into arrays that are made once.

The calls are those that NumPy would make for the step itself, in the same order, so the results are the same to the
last bit. What is saved is all the rest: fresh arrays, transposed views, the search for functions, and memory, since
chains of elementwise calls go through large arrays a piece at a time.
"""

from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.engines.tracing import (
    ELEMENTWISE,
    REDUCE,
    REDUCTIONS,
    VIEWS,
    Trace,
    TracingError,
    Value,
    source_of,
)  # fmt: skip

Array = NDArray[Any]

_PIECE = 2**18  # bytes of each array that a chain of elementwise calls goes through at once
_FOREVER = 2**62  # a call's place after all others


class Program:
    """A step that overwrites its own state.

    Parameters
    ----------
    trace : Trace
        Of arrays of NumPy's.
    state : list of array
        For the leaves of (params, opt_state): set them, call `take`, read them.

    Attributes
    ----------
    loss : array
        Of the last step.
    take : function (X, Y, weight) -> None
        One step; the arguments have the shapes and data types that were traced.
    source : str
        What `take` runs.

    Raises
    ------
    TracingError
        If an operation has no counterpart that writes into a given array.
    """

    def __init__(self, trace: Trace, state: Sequence[Array]) -> None:
        writer = _Writer(trace, state)
        if trace.loss not in writer.arrays:
            raise TracingError("a loss that is a view")
        self.loss = writer.arrays[trace.loss]
        self.source, self.take = writer.source, writer.compiled()


class _Writer:
    """Decides where each value of a trace lies, and writes the calls."""

    def __init__(self, trace: Trace, state: Sequence[Array]) -> None:
        self.arrays: dict[Value, Array] = dict(zip(trace.state, state, strict=True))
        self._trace = trace
        self._given: dict[Value, str] = dict(
            zip(trace.batch, ("X", "Y", "weight"), strict=False)
        )  # names of what changes every step
        self._bound: dict[str, Any] = {}
        self._names: dict[int, str] = {}  # by identity of what is bound, which lives as long as this
        self._lines: list[str] = []
        self._owned: dict[Value, Array] = {}  # arrays that may be overwritten once their value is used up
        self._free: dict[tuple[Any, ...], list[Array]] = {}
        self._calls = self._worked_out()
        self._places = {x: place for place, x in enumerate(self._calls)}
        self._last = self._last_uses()
        self._slots = self._slots_of_new_state()
        self._write()

    @property
    def source(self) -> str:
        """The calls as a function."""
        bound = "".join(f", {name}={name}" for name in self._bound)
        return f"def take(X, Y, weight=None{bound}):\n" + "".join(f"    {line}\n" for line in self._lines)

    def compiled(self) -> Callable[..., None]:
        """Return the function of the source."""
        found = dict(self._bound)
        exec(compile(self.source, "<a traced step>", "exec"), found)
        return found["take"]  # type: ignore[no-any-return]

    def _worked_out(self) -> list[Value]:
        """Work out what depends on constants alone; return what is left to call."""
        constant: set[Value] = set()
        calls = []
        for x in self._trace.operations:
            for y in x.inputs:
                if y.op == "constant":
                    self.arrays[y] = np.full(y.shape, y.detail, y.dtype)
                    constant.add(y)
            if constant.issuperset(x.inputs):
                self.arrays[x] = _evaluated(x, [self.arrays[y] for y in x.inputs])
                constant.add(x)
            elif x.op not in VIEWS:
                calls.append(x)
        return calls

    def _last_uses(self) -> dict[Value, int]:
        """Return where each array, or a view of it, is used last."""
        last = {}
        for place, x in enumerate(self._calls):
            last[x] = place
            for y in x.inputs:
                last[source_of(y)] = place
        return last | {source_of(x): _FOREVER for x in (*self._trace.new_state, self._trace.loss)}

    def _slots_of_new_state(self) -> dict[Value, Value]:
        """Return the new leaves that can be written over the old ones as soon as they are known, and those old ones."""
        slots: dict[Value, Value] = {}
        for old, new in zip(self._trace.state, self._trace.new_state, strict=True):
            last = self._last.get(old, -1)  # for ever, where it is part of the result
            if new in self._places and _overwrites(new) and last <= self._places[new]:
                slots.setdefault(new, old)
        return slots

    def _write(self) -> None:
        place = 0
        while place < len(self._calls):
            chain = self._chain_from(place)
            if len(chain) > 1:
                self._write_in_pieces(chain)
            else:
                x = self._calls[place]
                inputs = [self._operand(x, y) for y in x.inputs]
                self._lines.append(self._call(x, inputs, self._bind(self._place_for(x, x.shape))))
                self._release(x)
            place += max(1, len(chain))
        for old, new in zip(self._trace.state, self._trace.new_state, strict=True):
            if new is not old and self._slots.get(new) is not old:
                if source_of(new).op == "input":
                    raise TracingError("a state whose leaves change places")
                self._lines.append(f"{self._name(old)}[...] = {self._name(new)}")

    def _call(self, x: Value, inputs: Sequence[str], out: str) -> str:
        """Return the line that computes the value."""
        given = ", ".join(inputs)
        if x.op == "where":
            return f"{out}[...] = {inputs[2]}; {self._bind(np.copyto)}({out}, {inputs[1]}, 'same_kind', {inputs[0]})"
        if x.op == "astype":
            return f"{out}[...] = {given}"
        if x.op in REDUCTIONS:
            axes, keepdims = x.detail
            axis = axes[0] if len(axes) == 1 else axes
            return f"{self._bind(REDUCE[x.op])}({given}, {axis}, None, {out}, {keepdims})"
        if x.op == "concat":
            return f"{self._bind(np.concatenate)}(({given},), {x.detail}, {out})"
        if x.op == "matmul" and len(x.shape) == 2:
            return f"{self._bind(np.dot)}({given}, {out})"
        if x.op == "reciprocal":  # NumPy's own takes twice as long, to the same bits
            return f"{self._bind(np.divide)}({self._bind(np.ones((), x.dtype))}, {given}, {out})"
        if x.op in ("maximum", "minimum"):  # which warn of a third argument without its name
            return f"{self._bind(getattr(np, x.op))}({given}, out={out})"
        if x.op in ELEMENTWISE or x.op in ("matmul", "vecdot"):
            return f"{self._bind(getattr(np, x.op))}({given}, {out})"
        raise TracingError(x.op)

    def _bounds(self, x: Value, y: Value, shape: tuple[int, ...]) -> Array | None:
        """Return an array of the number that bounds one: NumPy's loops for two arrays take a third of the time."""
        if x.op in ("maximum", "minimum") and y.op == "constant" and not y.shape:
            return np.full(shape, y.detail, y.dtype)
        return None

    def _operand(self, x: Value, y: Value) -> str:
        bounds = self._bounds(x, y, x.shape)
        return self._name(y) if bounds is None else self._bind(bounds)

    # Where values lie

    def _place_for(self, x: Value, shape: tuple[int, ...]) -> Array:
        """Return the array for a value: its leaf of the state, that of an operand used up, a free one or a new one."""
        if x in self._slots:
            self.arrays[x] = self.arrays[self._slots[x]]
            return self.arrays[x]
        array = None
        if _overwrites(x):
            for y in x.inputs:
                used_up = y in self._owned and self._last[y] == self._places[x] and y.shape == x.shape
                if used_up and _fits(self._owned[y], shape, x.dtype):
                    array = self._owned.pop(y)
                    break
        if array is None:
            free = self._free.get((shape, x.dtype))
            array = free.pop() if free else np.empty(shape, x.dtype)
        self.arrays[x] = self._owned[x] = array
        return array

    def _release(self, x: Value, but: Set[Value] = frozenset()) -> None:
        """Free the arrays that were used for the last time."""
        for y in ({source_of(y) for y in x.inputs} | {x}) - but:
            if y in self._owned and self._last[y] <= self._places[x]:
                array = self._owned.pop(y)
                self._free.setdefault((array.shape, array.dtype), []).append(array)

    def _name(self, x: Value) -> str:
        """Return the name of a value; views of what lies still are made once, others in every step."""
        if x in self._given:
            return self._given[x]
        if x not in self.arrays:
            (y,) = x.inputs
            given = self._name(y)
            if source_of(x) in self._given:
                how = {"transpose": ".mT", "index": f"[{self._bind(x.detail)}]", "reshape": f".reshape({x.shape})"}
                self._given[x] = f"v{x.number}"
                self._lines.append(f"{self._given[x]} = {given}{how[x.op]}")
                return self._given[x]
            self.arrays[x] = _view(x, self.arrays[y])
        return self._bind(self.arrays[x])

    def _bind(self, value: Any) -> str:
        """Return the name under which the function finds the value."""
        fresh = f"{getattr(value, '__name__', 'a')}_{len(self._names)}"
        name = self._names.setdefault(id(value), fresh)
        self._bound[name] = value
        return name

    # Chains of elementwise calls on one large shape, a piece of its rows at a time

    def _chain_from(self, place: int) -> list[Value]:
        first, chain = self._calls[place], []
        if len(first.shape) == 2 and first.shape[0] > 1 and first.size * first.dtype.itemsize >= 2 * _PIECE:
            for x in self._calls[place:]:
                if x.op not in ELEMENTWISE or x.shape != first.shape:
                    break
                views = [y for y in x.inputs if y.op in VIEWS]
                if any(x.shape in (y.shape, source_of(y).shape) for y in views):  # pieces of these would be others
                    break
                if any(source_of(y) in self._trace.batch for y in x.inputs):
                    break
                chain.append(x)
        return chain

    def _write_in_pieces(self, chain: Sequence[Value]) -> None:
        shape, end = chain[0].shape, self._places[chain[-1]]
        length = max(1, _PIECE // (shape[1] * chain[0].dtype.itemsize))
        piece = (length, shape[1])
        pieces = [slice(start, min(start + length, shape[0])) for start in range(0, shape[0], length)]
        variables: dict[str, list[Array]] = {}

        def variable(array: Array) -> str:
            of = f"p{self._bind(array)}"
            whole = len(array) == shape[0]
            variables[of] = [array[rows if whole else slice(0, rows.stop - rows.start)] for rows in pieces]
            return of

        def operand(x: Value, y: Value) -> str:
            bounds = self._bounds(x, y, piece)
            if bounds is not None:
                return variable(bounds)
            name = self._name(y)
            return variable(self.arrays[y]) if _has_pieces(y, shape) else name

        used_whole = {source_of(y) for x in chain for y in x.inputs if not _has_pieces(y, shape)}
        calls = []
        for x in chain:
            inputs = [operand(x, y) for y in x.inputs]
            out = variable(self._place_for(x, piece if self._last[x] <= end else shape))
            calls.append(self._call(x, inputs, out))
            self._release(x, but=used_whole)
        for x in chain:
            self._release(x)
        loop = self._bind(list(zip(*variables.values(), strict=True)))
        self._lines += [f"for {', '.join(variables)}, in {loop}:", *(f"    {call}" for call in calls)]


def _has_pieces(x: Value, shape: tuple[int, ...]) -> bool:
    """Tell whether a piece of the chain takes a piece of this operand, not all of it."""
    return len(x.shape) == 2 and x.shape[0] == shape[0]


def _overwrites(x: Value) -> bool:
    """Tell whether the call may write over its own operands."""
    return x.op in ELEMENTWISE and x.op not in ("where", "astype")


def _fits(array: Array, shape: tuple[int, ...], dtype: Any) -> bool:
    return array.shape == shape and array.dtype == dtype


def _view(x: Value, array: Array) -> Array:
    if x.op == "transpose":
        return array.mT
    view: Array = array[x.detail] if x.op == "index" else array.reshape(x.shape)
    if view.size and not np.shares_memory(view, array):
        raise TracingError("another shape of an array that does not lie in one piece")
    return view


def _evaluated(x: Value, inputs: Sequence[Array]) -> Array:
    """Return the value of an operation on constants."""
    if x.op == "arange":
        return np.arange(x.shape[0], dtype=x.dtype)
    if x.op in VIEWS:
        return _view(x, inputs[0])
    if x.op == "astype":
        return inputs[0].astype(x.dtype)
    if x.op in ELEMENTWISE:
        return np.asarray(getattr(np, x.op)(*inputs), dtype=x.dtype)
    raise TracingError(f"{x.op} of constants")
