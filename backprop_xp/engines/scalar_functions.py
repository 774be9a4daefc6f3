"""The exponential and its kin in plain arithmetic, which a compiler can turn into vectors, as it cannot a call.

exp(x) = 2^k e^r, where k is the whole number nearest to x / ln 2 and r = x - k ln 2 lies within ln(2) / 2 of 0, where
few terms of Taylor's series do. k ln 2 is subtracted in two parts, the first of which is exact (Cody and Waite 1980,
Software Manual for the Elementary Functions, chapter 6). The others follow from e^r - 1, which keeps its digits near 0.
"""

import math
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache

import numpy as np

NAMES = ("exp", "expm1", "tanh")
_LN2 = Fraction(Decimal(2).ln(Context(prec=40)))
# By data type: bits after the point of the first part of ln 2, terms of the series, the integer as wide, the bits of
# the significand, and what is added to an exponent for half of 2^k.
_FORMATS = {"float32": (9, 7, "int32", 23, 126), "float64": (32, 13, "int64", 52, 1022)}

# Half of 2^k, since for the largest x 2^k itself is too large. Past `most`, exp is infinite; below `least`, where it
# would be less than twice the smallest normal number, 0.
_TEMPLATE = """
def parts_{real}(x):
    x = x if x < {most} else {most}
    x = {least} if x < {least} else x
    k = floor(x * {by_ln2} + {half})
    r = (x - k * {high}) - k * {low}
    scale = {integer}(({integer}(k) + {integer}({bias})) << {integer}({bits})).view({real})
    return scale, r + r * r * ({series})


def exp_{real}(x):
    scale, rest = parts_{real}(x)
    y = {two} * (scale + scale * rest)
    y = {inf} if x > {most} else y
    y = {zero} if x < {least} else y
    return y if x == x else x


def expm1_{real}(x):
    scale, rest = parts_{real}(x)
    y = {two} * (scale * rest + (scale - {half}))
    y = {inf} if x > {most} else y
    return y if x == x else x


def tanh_{real}(x):
    scale, rest = parts_{real}({minus_two} * abs(x))
    e = {two} * (scale * rest + (scale - {half}))
    y = abs(e / (e + {two}))
    y = -y if x < {zero} else y
    return y if x == x else x
"""


@cache
def source(dtype: str) -> str:
    """Return the text of functions of one number: parts_float32, exp_float32 and so on.

    Parameters
    ----------
    dtype : "float32" or "float64"
    """
    high_bits, n_terms, integer, bits, bias = _FORMATS[dtype]
    high = Fraction(round(_LN2 * 2**high_bits), 2**high_bits)
    most, least = math.log(float(np.finfo(dtype).max)), math.log(2 * float(np.finfo(dtype).smallest_normal))
    numbers = {"by_ln2": float(1 / _LN2), "high": float(high), "low": float(_LN2 - high), "most": most, "least": least}
    numbers |= {"half": 0.5, "two": 2.0, "minus_two": -2.0, "zero": 0.0, "inf": math.inf}
    terms = [_literal(1 / math.factorial(n), dtype) for n in range(2, n_terms + 1)]
    series = " + r * (".join(terms) + ")" * (len(terms) - 1)
    fields = {name: _literal(number, dtype) for name, number in numbers.items()}
    return _TEMPLATE.format(**fields, series=series, real=dtype, integer=integer, bits=bits, bias=bias)


def _literal(number: float, dtype: str) -> str:
    return f"{dtype}({number!r})" if math.isfinite(number) else f"{dtype}(1e999)"
