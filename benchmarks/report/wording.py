"""Numbers, times and lists as they are written in the report."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
GAPS = {
    "missing": "not installed",
    "no device": "no GPU",
    "over budget": "over budget",
    "refused": "refused",
    "failed": "failed",
    "unfit": "does not apply",
}


def printable(text: Any) -> str:
    """Return text without the characters that XML has no way to write."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def slug(text: str) -> str:
    """Return text as it may stand in a name of a file or an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def number(value: float, digits: int = 3) -> str:
    """Return a number at a few significant digits, with separators of thousands."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def factor(value: float, digits: int = 3) -> str:
    """Return a number of times."""
    return f"{number(value, digits)}{TIMES}"


def percent(share: float) -> str:
    """Return a share of 1 as a percentage."""
    return f"{number(100 * share, 2)} %"


def duration(seconds: float, digits: int = 3) -> str:
    """Return a time in the unit that suits it."""
    unit, name = next(((u, n) for u, n in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if seconds >= u), (1e-9, "ns"))
    return f"{number(seconds / unit, digits)} {name}"


def size(n_bytes: float, digits: int = 3) -> str:
    """Return an amount of memory in the unit that suits it."""
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if n_bytes >= u), (1, "bytes"))
    return f"{number(n_bytes / unit, digits)} {name}"


def count(n: int, noun: str) -> str:
    """Return "1 case", "3 cases"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listing(words: Iterable[str]) -> str:
    """Return "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def between(values: Sequence[float], write: Callable[[float], str] = number) -> str:
    """Return "1.40 to 2,600", or the one value that all are."""
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def shortened(text: str, length: int) -> str:
    """Return text that is no longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def short(contender: str) -> str:
    """Return a contender's name without what all of ours have in front."""
    return contender.removeprefix("backprop_xp, ").removeprefix("backprop_xp ")


def case_name(case: Mapping[str, Any]) -> str:
    """Return a case in words: "784-128-10, batch 128, sgd"."""
    plain, counted = {"shape", "data", "optimizer", "dtype"}, {"rows", "epochs"}
    words = [] if "axis" not in case else [f"{case['axis']} {case.get('size', '')}".strip()]
    for name, value in case.items():
        if name not in {"axis", "size", "device", case.get("axis")}:
            words.append(str(value) if name in plain else f"{value} {name}" if name in counted else f"{name} {value}")
    where = [str(case["device"])] if case.get("device", "cpu") != "cpu" else []
    return ", ".join(
        sorted(words, key=lambda word: word not in map(str, (case.get("data"), case.get("shape")))) + where
    )


def gap_name(kind: str) -> str:
    """Return why there is no figure, in two words."""
    return GAPS.get(kind, kind)
