"""A trace in the form that kernels are made of: every reduction over one axis, the long ones in two stages."""

from collections.abc import Sequence
from typing import NamedTuple

from backprop_xp.engines.tracing import REDUCTIONS, Trace, TracingError, Value

THREADS = 256  # of a block
_LONG = 32  # elements that one thread goes through; beyond it a reduction is done in two stages
_ENOUGH = 1024  # blocks that fill the device however long each takes
_MOST = 2**31 - 2**20  # elements of an array, so that places among them are 32-bit integers


class Over(NamedTuple):
    """What a reduction in normal form goes over, in place of the trace's (axes, keepdims); the axis stays, length 1.

    Parameters
    ----------
    axis : int
    piece : int or None
        The first of two stages: elements of `axis` that go into each result, of shape (n_pieces, n_others).
    """

    axis: int
    piece: int | None = None


def power_of_two(n: int) -> int:
    """Return the least power of two that is not less than n."""
    return 1 << (n - 1).bit_length()


def threads_a_result(n: int, n_results: int, *, along_rows: bool) -> int:
    """Return how many threads of a block share one result of a reduction of n elements.

    Along rows neighbouring threads read neighbouring elements of one row. Down columns they read those of neighbouring
    columns, so that as many columns go into a block as a warp is wide.
    """
    most = THREADS if along_rows else THREADS // min(32, power_of_two(n_results))
    return min(most, power_of_two(n))


class Normal:
    """A trace in normal form.

    Parameters
    ----------
    trace : Trace

    Attributes
    ----------
    state, batch, new_state : list of Value
    loss : Value
    products : list of Value
        The matrix products, in the order of the step.

    Raises
    ------
    TracingError
        If there are more than two axes, or too many elements for 32-bit indices.
    """

    def __init__(self, trace: Trace) -> None:
        self._became: dict[Value, Value] = {}
        self.state, self.batch = trace.state, trace.batch
        self.products: list[Value] = []
        for x in [*trace.state, *trace.batch, *trace.operations]:
            if len(x.shape) > 2:
                raise TracingError("networks stacked on a leading axis")
            if x.size >= _MOST:
                raise TracingError(f"an array of {x.size} elements")
        for x in trace.operations:
            self._became[x] = y = self._rewritten(x)
            if y.op == "matmul":
                self.products.append(y)
        self.new_state = [self._of(x) for x in trace.new_state]
        self.loss = self._of(trace.loss)

    def _of(self, x: Value) -> Value:
        return self._became.get(x, x)

    def _rewritten(self, x: Value) -> Value:
        inputs = tuple(self._of(y) for y in x.inputs)
        if x.op in REDUCTIONS:
            return _over_axes(x.op, inputs[0], x.detail[0], x)
        if x.op == "vecdot":
            a, b = (_unflattened(y, inputs) for y in inputs)
            product = Value("multiply", (a, b), a.shape, x.dtype)
            return _over_axes("sum", product, tuple(range(len(product.shape))) if a is not inputs[0] else (-1,), x)
        return x if inputs == x.inputs else Value(x.op, inputs, x.shape, x.dtype, x.detail)


def _unflattened(y: Value, both: Sequence[Value]) -> Value:
    """Return the matrix that `y` was flattened from, if both operands were flattened from one shape."""
    if all(z.op == "reshape" and z.inputs[0].shape == both[0].inputs[0].shape for z in both):
        return y.inputs[0]
    return y


def _over_axes(op: str, x: Value, axes: tuple[int, ...], wanted: Value) -> Value:
    for axis in sorted((axis % len(x.shape) for axis in axes), reverse=True):  # along rows first
        x = _over_axis(op, x, axis)
    return x if x.shape == wanted.shape else Value("reshape", (x,), wanted.shape, x.dtype)


def _over_axis(op: str, x: Value, axis: int) -> Value:
    n = x.shape[axis]
    if n == 1:
        return x
    n_results = x.size // n
    along_rows = axis == len(x.shape) - 1 or n_results == 1
    threads = threads_a_result(n, n_results, along_rows=along_rows)
    shape = tuple(1 if i == axis else length for i, length in enumerate(x.shape))
    if n > _LONG * threads and n_results * threads < _ENOUGH * THREADS:
        piece = _LONG * threads
        pieces = Value(op, (x,), (-(-n // piece), n_results), x.dtype, Over(axis, piece))
        x = _over_axis(op, pieces, 0)
        return x if x.shape == shape else Value("reshape", (x,), shape, x.dtype)
    return Value(op, (x,), shape, x.dtype, Over(axis))
