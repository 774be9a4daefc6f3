"""The page of results: what was found, the pictures with their numbers, what was left out, and how to repeat it."""

from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.report import tables
from benchmarks.report.findings import findings, in_all
from benchmarks.report.machine import machine_line, machine_table
from benchmarks.report.markup import Table, escaped, to_html
from benchmarks.report.pictures import fits, growth, jobs, loops, peers, tutorial
from benchmarks.report.pictures.canvas import Picture
from benchmarks.report.results import Results
from benchmarks.report.sheet import Section, commands, document, figures, paragraph

DRAW: dict[str, Callable[[Results], list[Picture]]] = {
    "loops": loops.pictures,
    "tutorial": tutorial.pictures,
    "peers": peers.pictures,
    "jobs": jobs.pictures,
    "fits": fits.pictures,
    "growth": growth.pictures,
}
HEADINGS = {
    "loops": ("Loops", "Loops against matrices"),
    "tutorial": ("S1 and S2", "S1 against S2"),
    "peers": ("Peers", "Peers and the floor"),
    "jobs": ("Jobs", "Whole jobs"),
    "fits": ("Fits", "Whole fits, to the same numbers"),
    "growth": ("Growth", "How time grows"),
}
WORDS = {
    "loops": """One SGD step of a network with one hidden layer and ten outputs. Blue cells are won, orange ones are
    lost; a heavy line runs between them. Hatched cells were left out and are not guessed at.""",
    "tutorial": """The tutorials' own two versions of the AND system: a gradient looped over rows and weights, and one
    written with matrices.""",
    "peers": """One step of the same network on the same rows; everybody's parameters were compared beforehand. Bars are
    times the matrix products alone, called one by one through NumPy's BLAS (on a GPU, CuPy's): what would be left of
    our step if all else cost nothing. A peer that brings its own products, or compiles the whole step, can lie below.
    The best peer is the fastest of the other libraries; what is written by hand for these networks is no peer. Ours is
    in bold: the same step on NumPy or CuPy, as the engines run it, and in Trainer.fit, which shuffles, and is held
    against the bare steps of its engine. Its first epochs are not in its figures, nor is what a fit costs once.""",
    "jobs": """From loaded arrays to a fitted model, with everybody's own shuffling, batches and records. Memory is the
    peak of the whole process, and of it what fitting added.""",
    "fits": """MLPClassifier(...).fit(X, y) on digits, with one hidden layer, at the defaults but for what a line names.
    All iterations are gone through, and nobody is timed whose coefficients are not scikit-learn's in the end.""",
    "growth": """One size varied, all else held. Dispatch-bound: a step takes less than twice the time of the smallest
    size. Arithmetic-bound: the products alone take at least half of it. Memory-bound: neither. The matrix rate
    is the best that square products reached here through NumPy's BLAS, or CuPy's; another library's may reach more.
    Exponents are fitted over the sizes where size matters.""",
}
TABLES: dict[str, dict[str, Callable[[Results], Table]]] = {
    "peers": {"Who is ahead": tables.verdicts, "Microseconds a step": tables.steps},
    "jobs": {"Whole jobs": tables.jobs},
    "fits": {"Whole fits": tables.fits},
}
LARGE = ("loops", "tutorial")  # few pictures, and what the page is about
REPEAT = (
    "pip install '.[bench]'",
    "pytest benchmarks",
    "python -m benchmarks run",
    "python -m benchmarks report",
    "python -m benchmarks compare A B",
)
METHOD = (
    """The contenders of a case take turns, round by round, so that a change of the machine's speed meets all of them; a
    ratio is taken within each round, and its median over the rounds is what is shown.""",
    """Each contender runs in a process of its own, and is warmed up before any figure counts: compiling is not
    timed.""",
    """Times are medians; what stands behind ± is half the distance between the quartiles, as a share of the median. A
    ratio is called ahead or behind where its quartiles lie on one side of 1 and its median is 2 % off, and level
    otherwise.""",
    """Nothing is extrapolated: exponents hold between the sizes named, and crossovers lie between measured
    neighbours.""",
)


def write(results: Results, folder: Path) -> Path:
    """Write report.html, and every picture as a file of its own under pictures/, where nothing older is left.

    Returns
    -------
    Path
        The page.
    """
    drawn = {suite: draw(results) for suite, draw in DRAW.items()}
    for old in (folder / "pictures").glob("*.svg"):
        old.unlink()
    save([picture for pictures in drawn.values() for picture in pictures], folder / "pictures")
    path = folder / "report.html"
    path.write_text(html(results, drawn), encoding="utf-8")
    return path


def save(pictures: Iterable[Picture], folder: Path) -> None:
    """Write pictures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (folder / f"{picture.name}.svg").write_text(picture.svg, encoding="utf-8")


def html(results: Results, drawn: dict[str, list[Picture]]) -> str:
    """Return the page."""
    sections = [
        Section("found", "Found", "What was found", _found(results)),
        *(Section(suite, *HEADINGS[suite], _suite(results, suite, drawn[suite])) for suite in DRAW),
        Section("left-out", "Left out", "What was left out", _left_out(results)),
        Section("machine", "Machine", "The machine", to_html(machine_table(results), "The machine")),
        Section("repeat", "Repeat", "How to repeat it", commands(*REPEAT)),
        Section("method", "Method", "How it was measured", "".join(map(paragraph, METHOD))),
    ]
    lead = f"{machine_line(results)}. {in_all(results)}."
    return document("backprop_xp, measured", lead, sections)


def _found(results: Results) -> str:
    items = [
        f"<li><strong>{escaped(found.number)}</strong><span>{escaped(found.text)}</span></li>"
        for found in findings(results)
    ]
    return f'<ul class="found">\n{"".join(items)}\n</ul>' if items else paragraph("Nothing that could be compared.")


def _suite(results: Results, suite: str, drawn: list[Picture]) -> str:
    if not results.cases(suite):
        return f"<p>Not measured yet. This makes it: <code>python -m benchmarks run {suite}</code></p>"
    if not results.measured(suite):
        return paragraph("Nothing here could be measured: what was left out says why.")
    made = "\n".join(to_html(make(results), name) for name, make in TABLES.get(suite, {}).items())
    return f"{paragraph(WORDS[suite])}\n{made}\n{figures(drawn, large=suite in LARGE)}"


def _left_out(results: Results) -> str:
    if not results.gaps:
        return paragraph("Nothing: every contender has a figure in every case.")
    return paragraph("Every contender without a figure, and why.") + to_html(tables.gaps(results), "What was left out")
