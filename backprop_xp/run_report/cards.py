"""Pieces of HTML: cards, tables, remarks; whatever text they are given is escaped."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from backprop_xp.callbacks import parted


def shown(value: Any) -> str:
    """Return a number in four digits."""
    return f"{float(value):.4g}"


def few(values: Sequence[Any] | Any, n: int) -> str:
    """Return the first so many with commas, and how many there are."""
    named = [str(value) for value in values]
    return ", ".join(named[:n]) + (f", … ({len(named):,} in all)" if len(named) > n else "")


def text(said: Any) -> str:
    """Return text as HTML."""
    return html.escape(str(said))


def card(title: str, body: str, *, wide: bool = False) -> str:
    """Return a section under its title; a wide one goes over all columns."""
    return f"<section{' class=wide' if wide else ''}><h2>{text(title)}</h2>{body}</section>"


def soft(said: str) -> str:
    """Return a remark."""
    return f'<p class="soft">{text(said)}</p>'


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values."""
    cells = "".join(f"<tr><th scope=row>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows)
    return f'<div class="box"><table class="pairs">{cells}</table></div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table under its heads; the first cell of a row is what it is of."""
    head = "".join(f"<th scope=col>{text(each)}</th>" for each in heads)
    lines = [
        f"<th scope=row>{text(first)}</th>{''.join(f'<td>{text(each)}</td>' for each in row)}" for first, *row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    # A wide one is scrolled by keys too.
    reached = f' tabindex=0 role=group aria-label="Table by {text(heads[0])}"' if len(heads) > 5 else ""
    return f'<div class="box"{reached}><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, body: str) -> str:
    """Return what is seen once its title is chosen."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def side_by_side(pictures: Iterable[str]) -> str:
    """Return pictures beside each other, below each other where there is no room."""
    return f'<div class="pictures">{"".join(pictures)}</div>'


def named(name: str) -> str:
    """Return a figure's or a setting's name as words."""
    figure, held = parted(name)
    return f"{'validation ' if held else ''}{figure.replace('_', ' ')}"
