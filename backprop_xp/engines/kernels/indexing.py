"""Which element of an operand goes into which element of a value: indices as expressions of C.

An index has an expression for each axis. Along an axis of length 1 it is "0", which is how broadcasting shows.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backprop_xp.engines.tracing import ELEMENTWISE, Shape, TracingError, Value

Index = tuple[str, ...]


def within(shape: Shape, at: Sequence[str]) -> Index:
    """Return the index with "0" along axes of length 1."""
    return tuple("0" if n == 1 else place for n, place in zip(shape, at, strict=True))


def flat(shape: Shape, at: Index) -> str:
    """Return the place of an element among all of a contiguous array."""
    place = ""
    for n, one in zip(shape, at, strict=True):
        place = f"({place}) * {n} + {one}" if place else one if one != "0" else ""
    return place or "0"


def operands(x: Value, at: Index) -> list[tuple[Value, Index]]:
    """Return each operand of an elementwise function or a view, and the index of its element that `x[at]` is made of.

    Of a concatenation that is what each part would be asked for, if the element lay in it.
    """
    if x.op in ELEMENTWISE:
        return [(y, within(y.shape, at[len(at) - len(y.shape) :])) for y in x.inputs]
    if x.op == "concat":
        starts = np.cumsum([0, *(y.shape[x.detail] for y in x.inputs)])
        return [
            (y, within(y.shape, (*at[: x.detail], f"({at[x.detail]} - {start})", *at[x.detail + 1 :])))
            for y, start in zip(x.inputs, starts, strict=False)
        ]
    if x.op == "arange":
        return []
    (y,) = x.inputs
    if x.op == "transpose":
        return [(y, (at[1], at[0]))]
    if x.op == "reshape":
        return [(y, _reshaped(y.shape, x.shape, at))]
    if x.op == "index":
        return [(y, within(y.shape, _indexed(y.shape, x.detail, at)))]
    raise TracingError(f"{x.op} in a kernel")


def _reshaped(shape: Shape, new_shape: Shape, at: Index) -> Index:
    if [n for n in shape if n != 1] == [n for n in new_shape if n != 1]:
        long = iter([place for n, place in zip(new_shape, at, strict=True) if n != 1])
        return tuple("0" if n == 1 else next(long) for n in shape)
    place = flat(new_shape, at)
    if len(shape) == 1:
        return (place,)
    return within(shape, (f"(({place}) / {shape[1]})", f"(({place}) % {shape[1]})"))


def _indexed(shape: Shape, key: tuple[Any, ...], at: Index) -> list[str]:
    """Follow a basic index: slices, integers, None and an ellipsis."""
    spelled = list(key)
    missing = len(shape) - sum(part is not None and part is not Ellipsis for part in key)
    if Ellipsis in spelled:
        where = spelled.index(Ellipsis)
        spelled[where : where + 1] = [slice(None)] * missing
    else:
        spelled += [slice(None)] * missing
    given, lengths, found = iter(at), iter(shape), list[str]()
    for part in spelled:
        if part is None:
            next(given)
        elif isinstance(part, slice):
            start, _, stride = part.indices(next(lengths))
            place = next(given)
            found.append(place if (start, stride) == (0, 1) else f"({start} + {stride} * {place})")
        else:
            found.append(str(int(part) % next(lengths)))
    return found


def uses(at: Index, names: Sequence[str]) -> bool:
    """Tell whether one of these variables stands in the index."""
    return any(name in names for place in at for name in re.findall(r"[a-z]+", place))


class Part(NamedTuple):
    """A matrix that lies in a stored array without gaps.

    Parameters
    ----------
    base : Value
    offset : int
        Elements of `base` before it.
    shape : (int, int)
        As it lies.
    transposed : bool
        Whether its transpose is meant.
    """

    base: Value
    offset: int
    shape: tuple[int, int]
    transposed: bool


def part(x: Value) -> Part:
    """Return where the matrix `x` lies: views are followed as long as they leave the rows without gaps.

    What is returned as `base` has to be stored.
    """
    views: list[Value] = []
    transposed = False
    base = x
    while base.op in ("transpose", "reshape", "index"):
        if base.op == "transpose":
            if views:  # a view of a transpose: store it
                return Part(views[0], 0, _matrix(views[0].shape), transposed)
            transposed = not transposed
        else:
            views.append(base)
        base = base.inputs[0]
    if not views:
        return Part(base, 0, _matrix(base.shape), transposed)
    whole = np.empty(base.shape, np.uint8)  # its memory is never touched
    seen = whole
    try:
        for view in reversed(views):
            seen = seen[view.detail] if view.op == "index" else np.reshape(seen, view.shape, copy=False)
    except ValueError:
        return Part(views[0], 0, _matrix(views[0].shape), transposed)
    if not seen.flags.c_contiguous:
        return Part(views[0], 0, _matrix(views[0].shape), transposed)
    return Part(base, seen.ctypes.data - whole.ctypes.data, _matrix(seen.shape), transposed)


def _matrix(shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise TracingError(f"a product of an array of shape {shape}")
    return shape[0], shape[1]
