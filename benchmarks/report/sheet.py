"""The frame of every page: one file with its style inside, light and dark, that asks for nothing from outside."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.report.markup import Table, escaped, to_html
from benchmarks.report.pictures.canvas import Picture
from benchmarks.report.pictures.palette import COLOURS

_GROUND = {"ground": ("#f7f7f5", "#0f1216")}


class Section(NamedTuple):
    """A section: its id, its name in the navigation, its heading, and its HTML."""

    id: str
    short: str
    heading: str
    content: str


def document(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return a page; title and lead are plain text."""
    links = "".join(f'<li><a href="#{section.id}">{escaped(section.short)}</a></li>' for section in sections)
    body = "\n".join(
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escaped(heading)}</h2>\n{content}\n</section>'
        for name, _, heading, content in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(title)}</title>
<link rel="icon" href="data:,">
<style>
{_style()}
</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p class="lead">{escaped(lead)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _style() -> str:
    colours = {name: COLOURS[name] for name in ("ink", "soft", "line", "paper", "blue", "vermilion")} | _GROUND
    light, dark = (";".join(f"--{name}:{pair[side]}" for name, pair in colours.items()) for side in (0, 1))
    rules = (Path(__file__).parent / "page.css").read_text(encoding="utf-8").strip()
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{rules}"


def figures(pictures: Iterable[Picture], *, large: bool = False) -> str:
    """Return pictures side by side under the headings of their groups, each with its words and its numbers."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(picture)
    kind = "pictures large" if large else "pictures"
    return "".join(
        f'{f"<h3>{escaped(name)}</h3>" if name else ""}\n<div class="{kind}">\n{"".join(map(_figure, group))}</div>\n'
        for name, group in groups.items()
    )


def _figure(picture: Picture) -> str:
    return (
        f"<figure>\n<figcaption>{escaped(picture.title)}</figcaption>\n{picture.svg}"
        f"<p>{escaped(picture.description)}</p>\n{details('The numbers', picture.numbers, picture.title)}\n</figure>\n"
    )


def details(summary: str, numbers: Table, name: str) -> str:
    """Return a table that opens."""
    return f"<details><summary>{escaped(summary)}</summary>\n{to_html(numbers, name)}\n</details>"


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{escaped(' '.join(text.split()))}</p>"


def commands(*lines: str) -> str:
    """Return commands to be copied."""
    return f"<pre><code>{escaped(chr(10).join(lines))}</code></pre>"
