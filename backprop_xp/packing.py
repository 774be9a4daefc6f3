"""All parameters in one row: an update is then a few calls, not a few for every leaf.

A packed tree is one layer without bias, ((row, None),), row (..., 1, n_parameters): every weight, layer by layer, then
every bias. So an optimizer takes it as it is. At scikit-learn's usual sizes the calls are what an update costs; with
many weights the copying is.
"""

from collections.abc import Callable
from typing import Any

from backprop_xp.namespaces import namespace_of

Array = Any
Params = tuple[tuple[Array, Array | None], ...]
Shapes = tuple[tuple[tuple[int, int], tuple[int, int] | None], ...]


def pack(params: Params, xp: Any = None) -> Params:
    """Return params or gradients, (W, b) a layer, as one row.

    Parameters
    ----------
    params : tuple of (W, b)
    xp : namespace, optional
    """
    xp = namespace_of(params[0][0]) if xp is None else xp
    leaves = [W for W, _ in params] + [b for _, b in params if b is not None]
    if leaves[0].ndim == 2:
        return ((xp.concat(leaves, axis=None)[None, :], None),)
    return ((xp.concat([xp.reshape(leaf, (*leaf.shape[:-2], 1, -1)) for leaf in leaves], axis=-1), None),)


def unpacker(shapes: Shapes) -> Callable[[Params, Any], Params]:
    """Return `unpack(packed, xp) -> params`, whose layers (W, b) are views where the library has them.

    Parameters
    ----------
    shapes : tuple
        `Network.shapes`.
    """
    places, start = [], 0
    for shape in [shape_W for shape_W, _ in shapes] + [shape_b for _, shape_b in shapes if shape_b is not None]:
        end = start + shape[0] * shape[1]
        places.append(((..., slice(start, end)), shape))
        start = end
    of_biases: list[Any] = [where for where, _ in places[len(shapes) :]] or [None] * len(shapes)
    plan = list(zip(places[: len(shapes)], of_biases, strict=True))

    def unpack(packed: Params, xp: Any) -> Params:
        row = packed[0][0]
        leading = row.shape[:-2]
        return tuple(
            (xp.reshape(row[of_W], leading + shape), None if of_b is None else row[of_b])
            for (of_W, shape), of_b in plan
        )

    return unpack
