"""Pages: one HTML file each that loads nothing, of a template, a style that all share, and a script."""

import html
from importlib import resources


def page(name: str, title: str, **parts: str) -> str:
    """Return a page.

    Parameters
    ----------
    name : str
        Of the template beside this file, and of its script if it has one.
    title : str
        As text; the parts are HTML.
    """
    text = _read(f"{name}.html")
    parts = {"title": html.escape(title), "style": _read("style.css"), **parts}
    if "<!--script-->" in text:
        parts["script"] = _read(f"{name}.js")
    for place, part in parts.items():
        text = text.replace(f"<!--{place}-->", part)
    return text


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
