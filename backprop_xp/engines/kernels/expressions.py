"""Elementwise functions as expressions of C that round and wrap as NumPy does, and numbers as its literals."""

from typing import Any

import numpy as np

from backprop_xp.engines.tracing import TracingError, Value

C_TYPES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned int", "int64": "long long", "uint64": "unsigned long long",
    "float32": "float", "float64": "double",
}  # fmt: skip

_ANY = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "square": "{0} * {0}", "negative": "-{0}",
    "less": "{0} < {1}", "less_equal": "{0} <= {1}", "greater": "{0} > {1}", "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}", "not_equal": "{0} != {1}", "logical_not": "!{0}", "where": "{0} ? {1} : {2}",
    "abs": "{0} < 0 ? -{0} : {0}", "sign": "{0} > 0 ? 1 : {0} < 0 ? -1 : {0}",
    "maximum": "{0} >= {1} || {0} != {0} ? {0} : {1}",  # a NaN on either side is the result
    "minimum": "{0} <= {1} || {0} != {0} ? {0} : {1}",
}  # fmt: skip
_WHOLE = {
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}", "right_shift": "{0} >> {1}",
    # Overflow of signed integers is undefined in C, and wraps around in NumPy.
    "add": "({T})(({U}){0} + ({U}){1})", "subtract": "({T})(({U}){0} - ({U}){1})",
    "multiply": "({T})(({U}){0} * ({U}){1})", "square": "({T})(({U}){0} * ({U}){0})",
    "negative": "({T})(0 - ({U}){0})", "left_shift": "({T})(({U}){0} << {1})",
}  # fmt: skip
_REAL = {
    "divide": "{0} / {1}", "reciprocal": "1 / {0}", "abs": "fabs{f}({0})", "isfinite": "{0} - {0} == 0",
    "power": "pow{f}({0}, {1})",
    **{name: name + "{f}({0})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "cos", "sin", "floor")},
}  # fmt: skip
_COMBINE = {"sum": "add", "max": "maximum", "min": "minimum"}


def c_type(dtype: Any) -> str:
    """Return C's name of a data type.

    Raises
    ------
    TracingError
        If there is none.
    """
    if dtype.name not in C_TYPES:
        raise TracingError(f"data type {dtype.name} in a kernel")
    return C_TYPES[dtype.name]


def literal(value: Any, dtype: Any) -> str:
    """Return a number as C writes it, exactly."""
    kind = c_type(dtype)
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype == np.int32 and value > -(2**31):
        return f"({value})"
    if dtype.kind != "f":
        return f"({kind}){int(value) % 2**64}ULL"
    if not np.isfinite(value):
        bits = int(np.asarray(value, dtype=dtype).view(f"u{dtype.itemsize}"))
        return f"__int_as_float({bits:#x})" if dtype.itemsize == 4 else f"__longlong_as_double({bits:#x}LL)"
    suffix = "f" if dtype.itemsize == 4 else ""
    return f"({float(np.asarray(value, dtype=dtype)).hex()}{suffix})"


def elementwise(x: Value, names: list[str]) -> str:
    """Return the expression of `x` from variables that hold its operands."""
    if x.op == "astype":
        return f"{names[0]} != 0" if x.dtype.kind == "b" else f"({c_type(x.dtype)}){names[0]}"
    kinds = [y.dtype for y in x.inputs]
    values = kinds[1:] if x.op == "where" else kinds
    common = np.result_type(*values) if x.dtype.kind == "b" else x.dtype
    cast = [
        name if kind == common or (x.op == "where" and place == 0) else f"(({c_type(common)}){name})"
        for place, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]
    return _written(x.op, common, cast)


def combined(reduction: Value, name: str, other: str) -> str:
    """Return the expression that takes two partial results of a reduction to one."""
    return _written(_COMBINE[reduction.op], reduction.dtype, [name, other])


def first(reduction: Value) -> str:
    """Return what a reduction begins with."""
    dtype = reduction.dtype
    if reduction.op == "sum":
        return literal(0, dtype)
    sign = -1 if reduction.op == "max" else 1
    if dtype.kind == "f":
        return literal(sign * np.inf, dtype)
    return literal(np.iinfo(dtype).min if sign < 0 else np.iinfo(dtype).max, dtype)


def _written(op: str, dtype: Any, names: list[str]) -> str:
    own = _REAL if dtype.kind == "f" else _WHOLE
    if op not in own and op not in _ANY:
        raise TracingError(f"{op} of {dtype.name} in a kernel")
    suffix = "f" if dtype == np.float32 else ""
    whole = c_type(dtype)
    bare = C_TYPES.get(f"uint{8 * dtype.itemsize}", whole)
    return (own.get(op) or _ANY[op]).format(*names, T=whole, U=bare, f=suffix)
