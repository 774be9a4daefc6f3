"""What ours is held against beside the best peer: its limits, and the same by hand; Trainer.fit, its bare steps."""

from typing import NamedTuple

from benchmarks.contenders import BARE, ON_CUPY, ON_NUMPY
from benchmarks.report.results import Case, Row
from benchmarks.report.wording import short


class Standard(NamedTuple):
    """A contender of ours, and those of whom the fastest is its standard: in words, as a head and at length.

    A limit is nothing that could be beaten but by chance.
    """

    ours: str
    others: tuple[str, ...]
    head: str
    words: str
    limit: bool = False

    @property
    def title(self) -> str:
        """What is divided by what."""
        return f"{short(self.ours)} / {self.head}"

    def pair(self, case: Case) -> tuple[Row, Row] | None:
        """Return the two rows of a case, or None if one is missing."""
        ours = case.row(self.ours)
        others = [row for row in case.rows if row.contender in self.others]
        return (ours, min(others, key=lambda row: row.median)) if ours and others else None


_PRODUCTS = ("matrix products alone",), "products", "its matrix products alone, called one by one", True
_JAX = ("JAX, jit a step", "JAX, scan an epoch"), "JAX by hand", "the faster of the two written by hand in JAX"
_NUMPY = ("NumPy by hand, in place",), "by hand", "the step written by hand in NumPy, in place"
STANDARDS = (
    Standard(ON_NUMPY.name, *_NUMPY),
    Standard(ON_NUMPY.name, *_PRODUCTS),
    Standard(ON_CUPY.name, *_PRODUCTS),
    Standard("backprop_xp, CUDA graph", *_PRODUCTS),
    Standard("backprop_xp, engine loops", *_PRODUCTS),
    Standard("backprop_xp, engine jax", *_JAX),
    *(Standard(fit, bare, "bare steps", "its bare steps", True) for fit, bare in BARE.items()),
)
