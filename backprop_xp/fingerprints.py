"""What a run is made of, told by a few characters: two of them are equal if the data, or the mathematics, are."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from backprop_xp import backends
from backprop_xp.engines.tracing import Trace, TracingError, Value

Array = Any

_ROWS = 65_536  # hashed at once


def of_arrays(*arrays: Array | None) -> str:
    """Return the fingerprint of arrays: of their shapes, data types and numbers, wherever they lie.

    Parameters
    ----------
    arrays : array (n, ...), or None
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(repr((tuple(array.shape), str(array.dtype).rpartition(".")[2])).encode())
        if not array.ndim:
            digest.update(backends.to_host(array).tobytes())
            continue
        for first in range(0, array.shape[0], _ROWS):
            digest.update(
                np.ascontiguousarray(backends.to_host(array[first : min(first + _ROWS, array.shape[0]), ...])).data
            )
    return digest.hexdigest()


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
