"""README's section of measurements, put between its two marks."""

from pathlib import Path

from backprop_xp.errors import InputError
from benchmarks.report import tables
from benchmarks.report.grids import heats
from benchmarks.report.machine import machine_line
from benchmarks.report.markup import escaped, markdown, to_markdown
from benchmarks.report.page import save
from benchmarks.report.pictures import loops, peers
from benchmarks.report.pictures.canvas import Picture
from benchmarks.report.results import Results, device
from benchmarks.report.wording import gap_name

START = '<!-- benchmarks: made by "python -m benchmarks report --readme" -->'
END = "<!-- /benchmarks -->"
ROOT = Path(__file__).parents[2]


def section(results: Results, picture_folder: Path) -> str:
    """Return the section in Markdown, and write its pictures.

    Parameters
    ----------
    picture_folder : Path
        Where the pictures go; they are named relative to the root of the repository if it lies inside.
    """
    heat = [loops.heat_map(found) for found in heats(results)]
    bars = peers.overview(results, "sgd")
    drawn = [*heat, *([bars] if bars else [])]
    save(drawn, picture_folder)
    parts = [_image(picture, picture_folder) for picture in drawn]
    for where in dict.fromkeys(device(case.values) for case in results.measured("peers")):
        parts += _steps(results, where)
    fits = tables.fit_ratios(results)
    parts += (
        ["The time of `MLPClassifier(...).fit` on digits, ending at the same coefficients:", to_markdown(fits)]
        if fits.rows
        else []
    )
    parts.append(
        f"Measured on {markdown(machine_line(results))}. "
        "Repeat it: `python -m benchmarks run && python -m benchmarks report`."
    )
    return "\n\n".join(parts)


def _image(picture: Picture, folder: Path) -> str:
    path = (folder / f"{picture.name}.svg").resolve()
    source = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    image = f'<img src="{escaped(source.as_posix())}" alt="{escaped(picture.description)}" width="480">'
    return f"**{markdown(picture.title)}**\n\n{image}"


def _steps(results: Results, where: str) -> list[str]:
    """Return the verdicts on the steps, the times that those of SGD come from, and why there is none."""
    verdicts = {rule: made for rule in ("sgd", "adam") if (made := tables.verdicts(results, rule, where)).rows}
    if not verdicts:
        return []
    on = "" if where == "cpu" else f", {where}"
    said = [
        f"A step{on}, as ratios of times: below 1, what stands before the slash is the faster one. Ahead or behind "
        "where three rounds in four say so and by more than 2 %, level otherwise. Limits, which products alone and "
        "bare steps are, have no such word."
    ]
    for rule, made in verdicts.items():
        said += [f"With {rule}:", to_markdown(made)]
    if "sgd" in verdicts:
        times = tables.medians(results, "sgd", where)
        said += [f"The times of a step of sgd{on}; the fastest in bold:", to_markdown(times)]
    return [*said, *_reasons(results, where)]


def _reasons(results: Results, where: str) -> list[str]:
    gaps = [
        gap
        for gap in results.gaps
        if gap.suite == "peers" and gap.case.get("optimizer") == "sgd" and gap.device == where
    ]
    said = dict.fromkeys(markdown(f"{gap.contender}, {gap_name(gap.kind)}: {gap.reason}") for gap in gaps)
    return ["\n".join(f"- {line}" for line in said)] if said else []


def update(readme: Path, text: str) -> bool:
    """Put `text` between the marks of a file; return whether that changed it.

    Raises
    ------
    InputError
        If the marks are not there, once each and in order.
    """
    before = readme.read_text(encoding="utf-8")
    start, end = before.find(START), before.find(END)
    if not 0 <= start < end or before.count(START) + before.count(END) != 2:
        raise InputError(
            f"{str(readme)!r} lacks the marks that the section goes between; add a line {START} and after it {END}"
        )
    after = f"{before[: start + len(START)]}\n\n{text}\n\n{before[end:]}"
    if after != before:
        readme.write_text(after, encoding="utf-8")
    return after != before
