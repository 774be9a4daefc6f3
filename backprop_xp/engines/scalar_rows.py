"""The rows of a batch brought together in compiled loops: copied whole, the next batch's fetched ahead of their use."""

from functools import cache
from typing import Any

_LINE = 64  # bytes of a line of the processor's cache
_AHEAD = 2**18  # bytes of a batch's rows that may be fetched ahead: more would drive out what the step works on


@cache
def gather() -> Any:
    """Return what `ScalarCode.source` calls `gather`, for numba to compile: (order, first, n_rows, ...) -> None.

    Copies the rows whose numbers are order[first : first + n_rows] from the flat array `samples`, with `width` numbers
    a row, into the flat array `memory` from `place` on. A row is one call of LLVM's `memcpy`, in a quarter of the time
    of a loop over its numbers; processors foresee the rows of a shuffled order as little as their addresses, so that
    the next batch's are fetched while the step computes.

    Raises
    ------
    ImportError
        If numba is not installed.
    """
    from llvmlite import ir
    from numba import njit, types, uint64
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]
    def copy(typing: Any, target: Any, to: Any, source: Any, at: Any, n: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            there, here = (
                builder.gep(context.make_array(signature.args[k])(context, builder, args[k]).data, [args[k + 1]])
                for k in (0, 2)
            )
            size = context.get_abi_sizeof(context.get_data_type(target.dtype))
            cgutils.raw_memcpy(builder, there, here, args[4], size)
            return context.get_dummy_value()

        return types.void(target, types.intp, source, types.intp, types.intp), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def fetch(typing: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(array)(context, builder, args[0]).data
            place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
            prefetch = builder.module.declare_intrinsic("llvm.prefetch", (place.type,), kind)
            builder.call(prefetch, [place, number(0), number(3), number(1)])  # to read; into every cache; data
            return context.get_dummy_value()

        return types.void(array, types.intp), generate

    @njit  # type: ignore[untyped-decorator]
    def gather(order: Any, first: int, n_rows: int, samples: Any, width: int, memory: Any, place: int) -> None:
        for i in range(n_rows):
            copy(memory, place + i * width, samples, order[uint64(first + i)] * width, width)
        if n_rows * width * samples.itemsize <= _AHEAD:
            for i in range(first + n_rows, min(first + 2 * n_rows, len(order))):
                row = order[uint64(i)] * width
                for k in range(0, width, _LINE // samples.itemsize):
                    fetch(samples, row + k)

    return gather
