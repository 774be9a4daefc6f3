"""Pages: one HTML file each that loads nothing, of a template and the styles and scripts that it names."""

import html
import re
from importlib import resources


def page(name: str, title: str, **parts: str) -> str:
    """Return a page.

    Parameters
    ----------
    name : str
        Of the template beside this file, in which ``<!--style.css-->`` is that file and ``<!--lead-->`` a part.
    title : str
        As text; the parts are HTML.
    """
    given = {"title": html.escape(title), **parts}

    def content(place: re.Match[str]) -> str:
        return _read(place[1]) if "." in place[1] else given[place[1]]

    return re.sub(r"<!--([\w./]+)-->", content, _read(f"{name}.html"))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
