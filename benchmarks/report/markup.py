"""A table, and how it is written in HTML and in Markdown."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Mark = Literal["", "ahead", "behind", "level", "gap", "ours", "fastest"]


@dataclass(frozen=True)
class Cell:
    """A cell's text, and what it is: a ratio in our favour or not, a time, a gap with its reason."""

    text: str
    mark: Mark = ""
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """Heads and rows; the first `labels` columns are words, the others figures."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1


def table(heads: Sequence[str], rows: Iterable[Iterable[Cell | str]], labels: int = 1) -> Table:
    """Return a table; plain texts become cells."""
    cells = (tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Table(tuple(heads), tuple(cells), labels)


def escaped(text: str) -> str:
    """Return text that HTML and XML show as it is, inside attributes too."""
    return html.escape(text, quote=True)


def to_html(table: Table, name: str) -> str:
    """Return the table in a box of its own that scrolls sideways, by keyboard too."""
    heads = "".join(f'<th scope="col"{_align(n, table)}>{escaped(head)}</th>' for n, head in enumerate(table.heads))
    body = "\n".join(
        f"<tr>{''.join(_html_cell(n, cell, table) for n, cell in enumerate(row))}</tr>" for row in table.rows
    )
    box = f'<div class="box" role="region" tabindex="0" aria-label="{escaped(name)}">'
    return f"{box}<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"


def _align(column: int, table: Table) -> str:
    return "" if column < table.labels else ' class="figure"'


def _html_cell(column: int, cell: Cell, table: Table) -> str:
    if column == 0:
        return f'<th scope="row">{escaped(cell.text)}</th>'
    kinds = " ".join(["figure"] * (column >= table.labels) + [cell.mark] * bool(cell.mark))
    style = f' class="{kinds}"' if kinds else ""
    title = f' title="{escaped(cell.reason)}"' if cell.reason else ""
    return f"<td{style}{title}>{escaped(cell.text)}</td>"


def to_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown."""
    rule = ["---"] * table.labels + ["---:"] * (len(table.heads) - table.labels)
    body = [[_in_markdown(cell) for cell in row] for row in table.rows]
    lines = [[markdown(head) for head in table.heads], rule, *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _in_markdown(cell: Cell) -> str:
    text = markdown(cell.text)
    return f"**{text}**" if cell.mark in {"behind", "ahead", "fastest"} else text


def markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]~])", r"\\\1", line)
