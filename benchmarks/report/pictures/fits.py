"""Whole fits: ours over scikit-learn's, a picture an optimizer."""

from collections import Counter
from collections.abc import Iterator

from benchmarks.report import tables
from benchmarks.report.pictures.canvas import Picture
from benchmarks.report.pictures.ratios import Dot, dots
from benchmarks.report.results import Results, ratio_spread
from benchmarks.report.wording import case_name


def pictures(results: Results) -> list[Picture]:
    """Return the ratios of each optimizer, from quartile to quartile."""
    optimizers = dict.fromkeys(str(case.values.get("optimizer")) for case in results.measured("fits"))
    found = ((optimizer, list(_dots(results, optimizer))) for optimizer in optimizers)
    return [_picture(results, optimizer, shown, n) for n, (optimizer, shown) in enumerate(found, 1) if shown]


def _dots(results: Results, optimizer: str) -> Iterator[Dot]:
    for case in results.measured("fits"):
        ours, peer = case.best("ours"), case.best("peer")
        if ours and peer and case.values.get("optimizer") == optimizer:
            low, median, high = spread = ratio_spread(ours, peer)
            words = {name: value for name, value in case.values.items() if name != "optimizer"}
            yield Dot(case_name(words), median, low, high, tables.verdict(spread, "").mark)


def _picture(results: Results, optimizer: str, shown: list[Dot], n: int) -> Picture:
    marks = Counter(dot.mark for dot in shown)
    counts = f"ahead in {marks['ahead']}, behind in {marks['behind']}, level in {marks['level']}"
    return dots(shown, f"fits-{n}", counts, tables.fits(results, optimizer), ("ours", "scikit-learn"), optimizer)
