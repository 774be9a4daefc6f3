"""Frames: how the threads of a kernel share the elements of values, and which results of a reduction they have."""

from typing import NamedTuple

from backprop_xp.engines.kernels.indexing import Index, within
from backprop_xp.engines.kernels.normal import Over
from backprop_xp.engines.tracing import Shape, Value


class Frame(NamedTuple):
    """How threads share the elements of a task.

    Parameters
    ----------
    kind : str
        "map", a thread an element; "rows" and "columns", a group of threads for each row or column.
    shape : tuple of int
        Of the values of a map, else (n_groups,).
    pieces : (int, int, int), optional
        Of the first stage of a long reduction: elements of the axis, of a piece, and results of the second stage.
    """

    kind: str
    shape: Shape
    pieces: tuple[int, int, int] | None = None

    def at(self, shape: Shape) -> Index | None:
        """Return the index, in the task's variables, of an element of an array of this shape; None if it has none.

        The variables are e of a map, with i and j its row and column, else o, the group, and r along the group.
        """
        if self.kind == "map":
            return within(shape, "ij" if 1 not in shape and len(shape) == 2 else "e" * len(shape))
        (n_groups,) = self.shape
        if self.pieces:
            return within(shape, (f"(o / {shape[1]})", f"(o % {shape[1]})"))
        long = [n for n in shape if n != 1]
        if long == ([n_groups] if n_groups != 1 else []):
            return within(shape, "o" * len(shape))
        across = 0 if self.kind == "rows" else 1
        if len(shape) == 2 and shape[across] == n_groups:
            return within(shape, "or" if across == 0 else "ro")
        return None


def frame_of(reduction: Value) -> Frame:
    """Return the frame in which a reduction's results are worked out by the threads that have them."""
    (x,), over = reduction.inputs, reduction.detail
    assert isinstance(over, Over)
    n = x.shape[over.axis]
    n_results = x.size // n
    kind = "rows" if over.axis == len(x.shape) - 1 or n_results == 1 else "columns"
    if over.piece is not None:
        return Frame(kind, (reduction.size,), (n, over.piece, n_results))
    return Frame(kind, (n_results,))


def reduced(reduction: Value, at: Index) -> tuple[Value, Index]:
    """Return the operand of a reduction and the index that runs over what goes into the result at `at`."""
    (x,), axis = reduction.inputs, reduction.detail.axis
    pieces = frame_of(reduction).pieces
    if pieces is None:
        return x, within(x.shape, [place if i != axis else "r" for i, place in enumerate(at)])
    _, piece, n_results = pieces
    along, across = f"(o / {n_results} * {piece} + r)", f"(o % {n_results})"
    return x, within(x.shape, [along if i == axis else across for i in range(len(x.shape))])


def fits(reduction: Value, at: Index, frame: Frame) -> bool:
    """Tell whether the result at this index is the one that the thread's own group works out."""
    own = tuple(place for place in at if place != "0") == (() if frame.shape == (1,) else ("o",))
    return own and frame.kind != "map" and reduction.detail.piece is None and frame_of(reduction) == frame
