"""A recorded step as Python source, for a compiler: an epoch of it in loops over flat arrays, and products by BLAS."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backprop_xp.engines import scalar_functions
from backprop_xp.engines.scalar_plan import FOLDS, Nest, Plan, Strides
from backprop_xp.engines.tracing import Shape, Trace, Value, source_of

_WALK = re.compile(r" \+ (i0 \* \d+[^\]]*)\]")  # what an index adds to the first element's

# A product with loops of its own adds so many terms at a time to a row of the result: fewer loads and stores of it.
_TERMS = 4
# One with more multiplications is left to BLAS.
_BLAS = 2**11
# In loops so long, arithmetic that becomes vectors is ahead of calls of the mathematical library.
_VECTOR = 16

_BINARY = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "bitwise_and": "&", "bitwise_or": "|",
    "bitwise_xor": "^", "right_shift": ">>", "left_shift": "<<", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
_TRUTHS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "isfinite", "logical_not"}
# The forms of maximum, minimum and sign hand a NaN on, as NumPy's do.
FORMS = {
    **{name: f"math.{name}({{0}})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "cos", "sin")},
    **{name: f"{{0}} {sign} {{1}}" for name, sign in _BINARY.items()},
    "abs": "abs({0})",
    "floor": "floor({0})",
    "isfinite": "math.isfinite({0})",
    "logical_not": "not {0}",
    "maximum": "{1} if {1} > {0} or {1} != {1} else {0}",
    "minimum": "{1} if {1} < {0} or {1} != {1} else {0}",
    "negative": "-{0}",
    "reciprocal": "{one} / {0}",
    "sign": "{one} if {0} > 0 else -{one} if {0} < 0 else {0}",
    "square": "{0} * {0}",
    "where": "{1} if {0} else {2}",
    "astype": "{0}",
}  # fmt: skip
_START = {"sum": 0.0, "vecdot": 0.0, "max": -math.inf, "min": math.inf}
_FOLD = {
    "sum": "{0} + {1}",
    "vecdot": "{0} + {1}",
    "max": "{1} if {1} > {0} or {1} != {1} else {0}",
    "min": "{1} if {1} < {0} or {1} != {1} else {0}",
}


class ScalarCode:
    """The source of an epoch of a recorded step.

    Parameters
    ----------
    trace : Trace

    Attributes
    ----------
    source : str
        A module that defines `epoch(first, n_steps, done, losses, order, *samples, *memory)`: it takes `n_steps` steps
        on the rows of the samples from `first` on, writes the loss of each, and counts them in done[0]. They are the
        rows whose numbers stand in `order`, brought together by a function `gather` that is given to the module (see
        `scalar_rows`); or, if the order is empty, the rows as they stand, read where they lie.
    memory : dict of str to int
        The length of the flat array of each data type, in the order of the arguments.
    state_places : list of (str, int, tuple of int)
        Where each leaf of the state lies: the data type's name, the first element, and the leaf's shape.
    batch_dtypes : list of numpy.dtype
    loss_dtype : numpy.dtype

    Raises
    ------
    TracingError
        If the step has operations that are not known here.
    """

    def __init__(self, trace: Trace) -> None:
        self._plan = Plan(trace)
        self._names: dict[int, str] = {}
        self._constants: dict[tuple[str, str], str] = {}
        self._functions_of: set[str] = set()  # data types
        self.memory = self._plan.memory
        self.state_places = [(leaf.dtype.name, self._plan.place(leaf), leaf.shape) for leaf in trace.state]
        self.batch_dtypes, self.loss_dtype = [x.dtype for x in trace.batch], trace.loss.dtype
        self.source = "\n".join(self._module(trace))

    def _module(self, trace: Trace) -> Iterator[str]:
        body = list(self._step(trace))  # first: it finds the constants and the memory
        yield "import math"
        yield "from numpy import bool_, dot, floor, float32, float64, int32, int64, uint8"
        for (dtype, number), name in self._constants.items():
            yield f"{name} = {dtype}({number})"
        yield from map(scalar_functions.source, sorted(self._functions_of))
        samples = [_named("samples", i, x) for i, x in enumerate(trace.batch)]
        memory = [f"m_{dtype}" for dtype in self.memory]
        yield f"def epoch({', '.join(['first', 'n_steps', 'done', 'losses', 'order', *samples, *memory])}):"
        yield "    shuffled = len(order) > 0"
        for i, x in enumerate(trace.batch):
            yield f"    {_named('batch', i, x)} = m_{x.dtype.name} if shuffled else {samples[i]}"
        scalars = [x for x in trace.state if not x.shape]
        for x in scalars:
            yield f"    {self._name(x)} = m_{x.dtype.name}[{self._plan.place(x)}]"
        yield "    for step in range(n_steps):"
        yield from ("        " + line for line in body)
        for x in scalars:
            yield f"    m_{x.dtype.name}[{self._plan.place(x)}] = {self._name(x)}"

    def _step(self, trace: Trace) -> Iterator[str]:
        n_rows = trace.batch[0].shape[0]
        yield f"row = first + step * {n_rows}"
        for i, x in enumerate(trace.batch):
            width, memory, place = x.size // n_rows, f"m_{x.dtype.name}", self._plan.reserve(x.dtype.name, x.size)
            yield f"b{i} = {place} if shuffled else row * {width}"
            yield "if shuffled:"
            yield f"    gather(order, row, {n_rows}, {_named('samples', i, x)}, {width}, {memory}, {place})"
        for nest in reversed(self._plan.nests):
            if nest.shape is not None:
                yield from self._nest(nest)
            elif nest.operations[0].op == "matmul":
                yield from self._product(nest.operations[0])
            else:
                yield from self._concatenation(nest.operations[0])
            self._plan.release(nest)
        for new, old in self._plan.copies:
            memory = f"m_{old.dtype.name}"
            yield f"for i0 in range({old.size}):"
            yield f"    {memory}[{self._plan.place(old)} + i0] = {memory}[{self._plan.place(new)} + i0]"
        for old, new in zip(trace.state, self._plan.new_state, strict=True):
            if not old.shape and new is not old:
                yield f"{self._name(old)} = {self._name(new)}"
        yield f"losses[done[0]] = {self._name(self._plan.loss)}"
        yield "done[0] += 1"

    def _nest(self, nest: Nest) -> Iterator[str]:
        """Yield the loops of elementwise operations, reductions and short products over one shape."""
        shape = nest.shape
        assert shape is not None
        self._plan.take_over(nest)
        places = [
            self._plan.strides(x, shape)
            for op in nest.operations
            for x in op.inputs
            if self._plan.in_memory(x, op, nest)
        ]
        places += [
            self._plan.strides(op, shape) for op in nest.operations if op.shape == shape and self._plan.stored(op)
        ]
        folds = [op for op in nest.operations if op.op in FOLDS]
        places += [self._plan.result_strides(op, shape) for op in folds]
        for op in nest.operations:
            if op.op == "matmul":
                places += [self._plan.term(op, k) for k in (0, 1)]
        axes = _merged(shape, [strides for _, strides in places])
        before: list[list[str]] = [[] for _ in range(len(axes) + 1)]
        after: list[list[str]] = [[] for _ in range(len(axes) + 1)]
        body, stores = [], []
        for op in nest.operations:
            name = self._name(op)
            if op.op in FOLDS:
                body += self._fold(op, nest, axes, before, after)
                continue
            if op.op == "matmul":
                body += self._short_product(op, shape, axes)
            else:
                body.append(f"{name} = {self._form(op, nest, axes)}")
            if self._plan.stored(op):
                stores.append(f"{self._memory(op, self._plan.strides(op, shape), axes)} = {name}")
        yield from _loops([n for n, _ in axes], before, _with_walks([*body, *stores], len(axes)), after)

    def _short_product(self, op: Value, shape: Shape, axes: list[tuple[int, int]]) -> list[str]:
        """Return the lines that add up one element of a product."""
        name, n_terms = self._name(op), op.inputs[0].shape[-1]
        a, b = (self._cell(op.inputs[k], self._plan.term(op, k), [*axes, (n_terms, len(shape))], op) for k in (0, 1))
        return [
            f"{name} = {self._constant(op.dtype, 0.0)}",
            f"for i{len(axes)} in range({n_terms}):",
            f"    {name} = {name} + {a} * {b}",
        ]

    def _fold(
        self, op: Value, nest: Nest, axes: list[tuple[int, int]], before: list[list[str]], after: list[list[str]]
    ) -> list[str]:
        """Return a reduction's line in the body; put what comes before and after at the loop that it starts anew in."""
        assert nest.shape is not None
        name, start = self._name(op), self._constant(op.dtype, _START[op.op])
        term = " * ".join(self._at(x, nest, axes, op) for x in op.inputs)
        place = self._plan.result_strides(op, nest.shape)
        moves = [place[1][last] != 0 for _, last in axes]
        depth = sum(moves)
        result = self._memory(op, place, axes) if op.shape else name
        if moves[:depth] == [True] * depth:
            before[depth].append(f"{name} = {start}")
            if op.shape:
                after[depth].append(f"{result} = {name}")
            if op.op in ("max", "min"):
                return [f"t = {term}", f"{name} = {_FOLD[op.op].format(name, 't')}"]
            return [f"{name} = {_FOLD[op.op].format(name, term)}"]
        before[0] += [f"for i0 in range({op.size}):", f"    m_{op.dtype.name}[{place[0]} + i0] = {start}"]
        return [f"t = {term}", f"{result} = {_FOLD[op.op].format(result, 't')}"]

    def _form(self, op: Value, nest: Nest, axes: list[tuple[int, int]]) -> str:
        """Return the expression of an elementwise operation."""
        inputs = op.inputs
        common = np.result_type(*(x.dtype for x in inputs)) if op.op in _TRUTHS else op.dtype
        operands = [
            self._at(x, nest, axes, op) if op.op == "where" and i == 0 else self._at(x, nest, axes, op, common)
            for i, x in enumerate(inputs)
        ]
        form = FORMS[op.op]
        if op.op in scalar_functions.NAMES and axes and axes[-1][0] >= _VECTOR:
            self._functions_of.add(op.dtype.name)
            form = f"{op.op}_{op.dtype.name}({{0}})"
        if op.op in ("maximum", "minimum") and inputs[1].op == "constant":  # one comparison: the number is no NaN
            form = f"{{1}} if {{0}} {'<' if op.op == 'maximum' else '>'} {{1}} else {{0}}"
        text = form.format(*operands, one=self._constant(op.dtype, 1) if "{one}" in form else "")
        return f"{op.dtype.name}({text})" if op.dtype.kind in "iu" else text  # whose arithmetic a compiler may widen

    def _product(self, op: Value) -> Iterator[str]:
        """Yield a matrix product: BLAS's if it is large and its factors lie in one piece, else in loops."""
        a, b = op.inputs
        large = op.size * a.shape[-1] >= _BLAS and op.dtype.kind == "f" and a.dtype == b.dtype == op.dtype
        if large and (of_a := self._matrix(a)) and (of_b := self._matrix(b)):
            yield f"dot({of_a}, {of_b}, {self._matrix(op)})"
        else:
            yield from self._product_in_loops(op)

    def _product_in_loops(self, op: Value) -> Iterator[str]:
        """Yield a matrix product in loops whose inner one runs along a row of the result and of the right factor."""
        a, b = op.inputs
        (n, m), n_terms = op.shape, a.shape[-1]
        memory, of_a, of_b = ("[".join(self._lies(x)) for x in (op, a, b))
        at_a, (a_i, a_k) = self._plan.strides(a, a.shape)
        at_b, (b_k, b_j) = self._plan.strides(b, b.shape)
        at_c = self._plan.place(op)
        written = None
        if b_j != 1 and m > 1:  # one write of a factor is little beside its use for every row
            written = self._plan.reserve(b.dtype.name, b.size)
            yield f"for k in range({n_terms}):"
            yield f"    for j in range({m}):"
            yield f"        m_{b.dtype.name}[{written} + k * {m} + j] = {of_b}{at_b} + k * {b_k} + j * {b_j}]"
            of_b, at_b, b_k = f"m_{b.dtype.name}[", written, m
        yield f"for i in range({n}):"
        yield f"    c = {at_c} + i * {m}"
        for first, last, size in _blocks(n_terms, _TERMS):
            indent = "    "
            if last - first > size:
                yield f"    for k in range({first}, {last}, {size}):"
                indent += "    "
            else:
                yield f"    k = {first}"
            for t in range(size):
                factor = f"{of_a}{at_a} + i * {a_i} + (k + {t}) * {a_k}]"
                yield f"{indent}a{t} = {self._cast(factor, a.dtype, op.dtype)}"
            yield f"{indent}b = {at_b} + k * {b_k}"
            yield f"{indent}for j in range({m}):"
            terms = [f"a{t} * {self._cast(f'{of_b}b + {t * b_k} + j]', b.dtype, op.dtype)}" for t in range(size)]
            already = f"{memory}c + j] + " if first else ""
            yield f"{indent}    {memory}c + j] = {already}{' + '.join(terms)}"
        if written is not None:
            self._plan.give_back(b.dtype.name, b.size, written)

    def _matrix(self, x: Value) -> str:
        """Return a matrix as a view of memory, or nothing if its elements do not lie together."""
        (name, start), (place, _), lies = self._lies(x), self._plan.strides(x, x.shape), self._plan.layout(x).flags
        elements = f"{name}[{start}{place}:{start}{place + x.size}]"
        if lies.c_contiguous:
            return f"{elements}.reshape({x.shape})"
        return f"{elements}.reshape({x.shape[::-1]}).T" if lies.f_contiguous else ""

    def _concatenation(self, op: Value) -> Iterator[str]:
        """Yield the copies of arrays, one after the other along an axis."""
        start, whole = 0, self._plan.layout(op)
        for x in op.inputs:
            end = start + x.shape[op.detail]
            part = whole[(slice(None),) * op.detail + (slice(start, end),)]
            ahead = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
            size = op.dtype.itemsize
            place = self._plan.place(op) + ahead // size, tuple(stride // size for stride in part.strides)
            axes = _merged(x.shape, [place[1], self._plan.strides(x, x.shape)[1]])
            value = self._cell(x, self._plan.strides(x, x.shape), axes, op)
            empty: list[list[str]] = [[] for _ in range(len(axes) + 1)]
            yield from _loops([n for n, _ in axes], empty, [f"{self._memory(op, place, axes)} = {value}"], empty)
            start = end

    def _at(self, x: Value, nest: Nest, axes: Sequence[tuple[int, int]], op: Value, dtype: Any = None) -> str:
        """Return the value of an operand at the loops' present element, in a data type."""
        source, dtype = source_of(x), x.dtype if dtype is None else dtype
        if source.op == "constant":
            return self._constant(dtype, source.detail)
        if self._plan.in_memory(x, op, nest):
            assert nest.shape is not None
            return self._cell(x, self._plan.strides(x, nest.shape), axes, op, dtype)
        return self._cast(self._name(source), x.dtype, dtype)

    def _cell(
        self,
        x: Value,
        place: Strides,
        axes: Sequence[tuple[int, int]],
        op: Value,
        dtype: Any = None,
    ) -> str:
        source, dtype = source_of(x), op.dtype if dtype is None else dtype
        if source.op == "constant":
            return self._constant(dtype, source.detail)
        if not source.shape:
            return self._cast(self._name(source), x.dtype, dtype)
        if source.op == "arange":  # which holds the numbers of its elements
            return f"{dtype.name}({_address(place, axes)})"
        return self._cast(self._memory(x, place, axes), x.dtype, dtype)

    def _memory(self, x: Value, place: Strides, axes: Sequence[tuple[int, int]]) -> str:
        name, start = self._lies(x)
        return f"{name}[{start}{_address(place, axes)}]"

    def _lies(self, x: Value) -> tuple[str, str]:
        """Return the name of the array in which a value lies, and what is added to a place in it."""
        batch = self._plan.trace.batch
        if source_of(x) in batch:
            i = batch.index(source_of(x))
            return _named("batch", i, batch[i]), f"b{i} + "
        return f"m_{x.dtype.name}", ""

    def _cast(self, text: str, dtype: Any, wanted: Any) -> str:
        if dtype == wanted:
            return text
        if dtype.kind == "b":
            return f"({self._constant(wanted, 1)} if {text} else {self._constant(wanted, 0)})"
        return f"{wanted.name}({text})" if wanted.kind != "b" else f"({text} != 0)"

    def _constant(self, dtype: Any, number: Any) -> str:
        name = "bool_" if dtype.kind == "b" else dtype.name
        text = repr(number) if math.isfinite(number) else f"float('{number}')"
        return self._constants.setdefault((name, text), f"c{len(self._constants)}")

    def _name(self, x: Value) -> str:
        return self._names.setdefault(x.number, f"v{len(self._names)}")


def _named(what: str, i: int, x: Value) -> str:
    """Return the name of an array of samples: with the data type, so that the source says what it is compiled for."""
    return f"{what}{i}_{x.dtype.name}"


def _merged(shape: Shape, strides: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Return the loops, (length, the last axis of those it runs over): neighbours that all read as one are one."""
    axes: list[tuple[int, int]] = []
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        if axes and all(s[axes[-1][1]] == s[axis] * n for s in strides):
            axes[-1] = axes[-1][0] * n, axis
        else:
            axes.append((n, axis))
    return axes


def _address(place: Strides, axes: Sequence[tuple[int, int]]) -> str:
    first, strides = place
    terms = [f"i{d}" if strides[axis] == 1 else f"i{d} * {strides[axis]}" for d, (_, axis) in enumerate(axes)]
    moving = [term for term, (_, axis) in zip(terms, axes, strict=True) if strides[axis]]
    return " + ".join([str(first), *moving])


def _loops(sizes: Sequence[int], before: list[list[str]], body: list[str], after: list[list[str]]) -> Iterator[str]:
    """Yield nested loops; before[d] and after[d] stand around the loop at depth d."""
    for d, n in enumerate(sizes):
        yield from ("    " * d + line for line in before[d])
        yield "    " * d + f"for i{d} in range({n}):"
    depth = len(sizes)
    yield from ("    " * depth + line for line in [*before[depth], *body, *after[depth]])
    for d in range(depth - 1, -1, -1):
        yield from ("    " * d + line for line in after[d])


def _with_walks(lines: list[str], depth: int) -> list[str]:
    """Return the lines of a body with each sum of its loops' indices that stands in many computed once.

    A compiler would see to it, but what it has to read is most of what it takes.
    """
    walks = Counter(walk for line in lines for walk in _WALK.findall(line) if f"i{depth}" not in walk)
    names = {walk: f"p{i}" for i, walk in enumerate(walk for walk, n in walks.items() if n > 1)}
    short = [_WALK.sub(lambda found: f" + {names.get(found[1], found[1])}]", line) for line in lines]
    return [*(f"{name} = {walk}" for walk, name in names.items()), *short]


def _blocks(n: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first, last, how many at a time): the first ones alone, then whole blocks, then the rest."""
    yield 0, size, size
    whole = n - n % size
    if whole > size:
        yield size, whole, size
    if n > whole:
        yield whole, n, n - whole
