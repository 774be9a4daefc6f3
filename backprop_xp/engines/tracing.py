"""A step as a list of array operations: what it does to arrays that have a shape and a data type, but no numbers yet.

The core is pure functions of arrays, so running a step once on such arrays records all of its mathematics. Engines
that turn a step into something else, a run of calls in place, scalar loops or kernels, read it here and write none of
it themselves.
"""

import hashlib
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

Shape = tuple[int, ...]

_numbers = itertools.count()


class TracingError(Exception):
    """The step does what cannot be recorded: it branches on a value, or calls what is not known here."""


class Value:
    """An array that a step makes or is given: by what, and of what.

    Parameters
    ----------
    op : str
        What makes it: "input", "constant", "arange", an elementwise function by NumPy's name, "astype", "matmul",
        "vecdot", "sum", "max", "min", "concat", or one of the views "reshape", "transpose" and "index".
    inputs : tuple of Value
        What it is made of.
    shape : tuple of int
    dtype : numpy.dtype
    detail : object
        A constant's number; a reduction's (axes, keepdims); an index's key; a concatenation's axis.

    Attributes
    ----------
    number : int
        Grows from each value to those made later.
    """

    __slots__ = ("detail", "dtype", "inputs", "number", "op", "shape")

    def __init__(self, op: str, inputs: tuple["Value", ...], shape: Shape, dtype: Any, detail: Any = None) -> None:
        self.op, self.inputs, self.shape, self.dtype, self.detail = op, inputs, shape, np.dtype(dtype), detail
        self.number = next(_numbers)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def source_of(x: Value) -> Value:
    """Return what a view is a view of."""
    while x.op in VIEWS:
        (x,) = x.inputs
    return x


class Traced:
    """An array without numbers, for the step to compute with; `value` is what it stands for."""

    __slots__ = ("value",)
    __array_ufunc__ = None  # NumPy's functions refuse it, rather than make an array of objects
    __hash__ = None  # type: ignore[assignment]
    device = "traced"

    def __init__(self, value: Value) -> None:
        self.value = value

    @property
    def shape(self) -> Shape:
        """As an array's."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """As an array's."""
        return len(self.value.shape)

    @property
    def dtype(self) -> Any:
        """As an array's."""
        return self.value.dtype

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    def __array_function__(self, *given: Any) -> Any:
        raise TracingError("a function of NumPy's own, not of its namespace")

    def __getitem__(self, key: Any) -> "Traced":
        key = key if isinstance(key, tuple) else (key,)
        if not all(part is None or part is Ellipsis or isinstance(part, slice | int) for part in key):
            raise TracingError(f"an index of {key!r}")
        return _made("index", (self,), np.broadcast_to(np.empty(()), self.shape)[key].shape, self.dtype, key)

    def __bool__(self) -> bool:
        raise TracingError("a branch on a value")

    __float__ = __int__ = __index__ = __complex__ = __bool__

    def __neg__(self) -> "Traced":
        return _elementwise("negative", self)

    def __abs__(self) -> "Traced":
        return _elementwise("abs", self)

    def __pow__(self, exponent: Any) -> "Traced":
        plain = {2: "square", 0.5: "sqrt", -1: "reciprocal"}  # as NumPy's arrays do
        if isinstance(exponent, int | float) and exponent in plain:
            return _elementwise(plain[exponent], self)
        return _elementwise("power", self, exponent)

    def __rpow__(self, base: Any) -> "Traced":
        return _elementwise("power", base, self)


def _made(op: str, inputs: Sequence[Traced], shape: Shape, dtype: Any, detail: Any = None) -> Traced:
    return Traced(Value(op, tuple(x.value for x in inputs), shape, dtype, detail))


def _elementwise(name: str, *operands: Any) -> Traced:
    """Return the function of the operands, one of them at least a Traced, in NumPy's data type for them."""
    chosen = operands[1:] if name == "where" else operands
    common = np.result_type(*(x.dtype if isinstance(x, Traced) else x for x in chosen))
    inputs = [_operand(x, common) for x in chosen]
    if name == "where":
        if getattr(operands[0], "dtype", None) != np.dtype(bool):
            raise TracingError("where() by what is not true or false")
        inputs, dtype = [operands[0], *inputs], common
    else:
        dtype = _dtype_of(name, common, len(inputs))
    return _made(name, inputs, np.broadcast_shapes(*(x.shape for x in inputs)), dtype)


def _operand(operand: Any, dtype: Any) -> Traced:
    if isinstance(operand, Traced):
        return astype(operand, dtype)
    if isinstance(operand, bool | int | float | np.number) or (isinstance(operand, np.ndarray) and not operand.ndim):
        return _made("constant", (), (), dtype, np.asarray(operand, dtype=dtype).item())
    raise TracingError(f"an operand of type {type(operand).__name__}")


@cache
def _dtype_of(name: str, dtype: Any, n_operands: int) -> Any:
    """Return the data type that NumPy's function gives for operands of one type."""
    try:
        return getattr(np, name)(*[np.ones(1, dtype)] * n_operands).dtype
    except TypeError:
        raise TracingError(f"{name}() of {dtype}") from None


_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "rshift": "right_shift", "lshift": "left_shift",
}  # fmt: skip
_COMPARISONS = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
                "ne": "not_equal"}  # fmt: skip
_FUNCTIONS = (
    "abs", "exp", "expm1", "log", "log1p", "sqrt", "square", "tanh", "cos", "sin", "sign", "floor", "reciprocal",
    "negative", "isfinite", "logical_not", "add", "subtract", "multiply", "divide", "maximum", "minimum", "less",
    "less_equal", "greater", "greater_equal", "equal", "not_equal", "where",
)  # fmt: skip

for _method, _name in _OPERATORS.items():
    setattr(Traced, f"__{_method}__", lambda self, other, name=_name: _elementwise(name, self, other))
    setattr(Traced, f"__r{_method}__", lambda self, other, name=_name: _elementwise(name, other, self))
for _method, _name in _COMPARISONS.items():
    setattr(Traced, f"__{_method}__", lambda self, other, name=_name: _elementwise(name, self, other))

REDUCE = {"sum": np.add.reduce, "max": np.maximum.reduce, "min": np.minimum.reduce}
REDUCTIONS = frozenset(REDUCE)
ELEMENTWISE = frozenset({*_FUNCTIONS, *_OPERATORS.values(), *_COMPARISONS.values(), "power", "astype"})
VIEWS = frozenset({"reshape", "transpose", "index"})


def matmul(a: Traced, b: Traced) -> Traced:
    """Return the matrix product over the last two axes."""
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if a.shape[-1] != b.shape[-2]:
        raise TracingError(f"a product of {a.shape} and {b.shape}")
    return _made("matmul", (a, b), shape, np.result_type(a.dtype, b.dtype))


def matrix_transpose(x: Traced) -> Traced:
    """Return the last two axes exchanged."""
    return _made("transpose", (x,), (*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)


def vecdot(a: Traced, b: Traced, *, axis: int = -1) -> Traced:
    """Return the sum of products over the last axis."""
    if axis != -1:
        raise TracingError("vecdot over another axis than the last")
    return _made("vecdot", (a, b), np.broadcast_shapes(a.shape, b.shape)[:-1], np.result_type(a.dtype, b.dtype))


def reshape(x: Traced, shape: Shape) -> Traced:
    """Return the elements in another shape; -1 is what is left."""
    shape = np.broadcast_to(np.empty(()), x.shape).reshape(shape).shape
    return x if shape == x.shape else _made("reshape", (x,), shape, x.dtype)


def concat(arrays: Sequence[Traced], *, axis: int | None = 0) -> Traced:
    """Return the arrays one after the other; without an axis, their elements."""
    if axis is None:
        arrays, axis = [reshape(x, (-1,)) for x in arrays], 0
    axis = axis % arrays[0].ndim
    shape = list(arrays[0].shape)
    shape[axis] = sum(x.shape[axis] for x in arrays)
    return _made("concat", tuple(arrays), tuple(shape), np.result_type(*(x.dtype for x in arrays)), axis)


def astype(x: Traced, dtype: Any, *, copy: bool = True) -> Traced:
    """Return the array in another data type."""
    return x if np.dtype(dtype) == x.dtype else _made("astype", (x,), x.shape, dtype)


def _reduction(name: str) -> Callable[..., Traced]:
    def reduce(x: Traced, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Traced:
        axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = tuple(sorted(a % x.ndim for a in axes))
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
        x = astype(x, REDUCE[name](np.ones(1, x.dtype)).dtype)  # sums of bool and small integers are of large ones
        return _made(name, (x,), shape, x.dtype, (axes, keepdims))

    return reduce


def full(shape: int | Shape, value: Any, *, dtype: Any = None, device: Any = None) -> Traced:
    """Return a constant; an array of one is not made, since it is only ever broadcast."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.result_type(value) if dtype is None else np.dtype(dtype)
    return _made("constant", (), shape, dtype, np.asarray(value, dtype=dtype).item())


def arange(start: int, stop: int | None = None, *, dtype: Any = None, device: Any = None) -> Traced:
    """Return start, start + 1, ... stop - 1; with one number, 0 to that less 1."""
    first, end = (0, start) if stop is None else (start, stop)
    numbers = _made("arange", (), (end - first,), np.dtype(dtype or np.int64))
    return _elementwise("add", numbers, first) if first else numbers


def _function(name: str) -> Callable[..., Traced]:
    return lambda *operands: _elementwise(name, *operands)


NAMESPACE = ModuleType("traced", "What of the array API a step can use while it is recorded.")
vars(NAMESPACE).update(
    {
        **{name: np.dtype(name) for name in ("bool", "uint8", "int32", "int64", "float32", "float64")},
        **{name: _function(name) for name in _FUNCTIONS},
        **{name: _reduction(name) for name in REDUCE},
        "arange": arange,
        "asarray": lambda value, *, dtype=None, device=None: full((), value, dtype=dtype),
        "astype": astype,
        "concat": concat,
        "full": full,
        "full_like": lambda x, value: full(x.shape, value, dtype=x.dtype),
        "isdtype": np.isdtype,
        "matmul": matmul,
        "matrix_transpose": matrix_transpose,
        "ones_like": lambda x: full(x.shape, 1, dtype=x.dtype),
        "pow": operator.pow,
        "reshape": reshape,
        "vecdot": vecdot,
        "zeros": lambda shape, *, dtype=None, device=None: full(shape, 0.0, dtype=dtype),
        "zeros_like": lambda x: full(x.shape, 0, dtype=x.dtype),
    }
)


def leaves(tree: Any) -> list[Any]:
    """Return a tree's arrays in order; a tree is an array, None or a tuple of trees."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Any, found: list[Any]) -> None:
    if isinstance(tree, tuple):
        for branch in tree:
            _collect(branch, found)
    elif tree is not None:
        found.append(tree)


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """Return the tree with its arrays replaced, in their order."""
    if isinstance(tree, tuple):
        branches = [rebuilt(branch, values) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    return None if tree is None else next(values)


class Trace:
    """One step, recorded.

    Parameters
    ----------
    step : function (params, opt_state, X, Y, weight) -> (params, opt_state, loss)
    state : tree of arrays
        (params, opt_state), of which shapes and data types are used.
    batch : tree of arrays
        (X, Y, weight or None).

    Attributes
    ----------
    state, batch : list of Value
        The inputs, a leaf each.
    new_state : list of Value
        What each leaf of the state becomes; the same object where it stays.
    loss : Value
    operations : list of Value
        All that is computed on the way, each after what it is made of; inputs and constants left out.

    Raises
    ------
    TracingError
        If the step cannot be recorded.
    """

    def __init__(self, step: Callable[..., Any], state: Any, batch: Any) -> None:
        traced_state, traced_batch = _as_inputs(state), _as_inputs(batch)
        try:
            params, opt_state, loss = step(*traced_state, *traced_batch)
        except TracingError:
            raise
        except Exception as error:  # the step's own functions may be anybody's
            raise TracingError(f"{type(error).__name__}: {error}") from error
        results = [*leaves((params, opt_state)), loss]
        if not all(isinstance(result, Traced) for result in results):
            raise TracingError("a step that returns numbers")
        self.state, self.batch = ([x.value for x in leaves(tree)] for tree in (traced_state, traced_batch))
        *self.new_state, self.loss = (x.value for x in results)
        if [(x.shape, x.dtype) for x in self.new_state] != [(x.shape, x.dtype) for x in self.state]:
            raise TracingError("a step whose state changes its form")
        if self.loss in self.state:
            raise TracingError("a loss that is a part of the state")
        self.operations = _needed([*self.new_state, self.loss])


def _as_inputs(tree: Any) -> Any:
    return rebuilt(tree, (_made("input", (), tuple(x.shape), _dtype(x)) for x in leaves(tree)))


def _dtype(array: Any) -> Any:
    """NumPy's name of an array's data type, whatever the library."""
    return np.dtype(str(array.dtype).rpartition(".")[2])


def _needed(results: Sequence[Value]) -> list[Value]:
    found: dict[int, Value] = {}
    waiting = list(results)
    while waiting:
        x = waiting.pop()
        if x.number not in found:
            found[x.number] = x
            waiting.extend(x.inputs)
    return [found[n] for n in sorted(found) if found[n].op not in ("input", "constant")]


def of_step(step: Callable[..., Any], state: Any, batch: Any) -> str:
    """Return the fingerprint of a step: of all the operations that it does, whatever it was made from.

    Parameters
    ----------
    step : function (params, opt_state, X, Y, weight) -> (params, opt_state, loss)
    state : (params, opt_state)
    batch : (X, Y, weight or None)

    Returns
    -------
    str
        "untraceable" if the step does what cannot be recorded: nothing is known of it then.
    """
    try:
        trace = Trace(step, state, batch)
    except TracingError:
        return "untraceable"
    inputs: list[Value] = [*trace.state, *trace.batch]
    numbers = {x.number: place for place, x in enumerate(inputs)}

    def described(x: Value) -> str:
        if x.op == "constant":
            return repr((x.op, x.shape, x.dtype.str, x.detail))
        return f"v{numbers[x.number]}"

    lines = []
    for x in trace.operations:
        operands = ", ".join(map(described, x.inputs))
        numbers[x.number] = len(numbers)
        lines.append(f"{described(x)} = {x.op}({operands}) {x.shape} {x.dtype.str} {x.detail!r}")
    lines.append(", ".join(map(described, [*trace.new_state, trace.loss])))
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
