"""Engines: how many steps are run. Each is a module with a function `run`; none contains mathematics."""

from collections.abc import Callable
from typing import Any

from backprop_xp.engines import eager
from backprop_xp.errors import lookup

Run = Callable[..., tuple[Any, Any, Any]]

ENGINES: dict[str, Run] = {"auto": eager.run, "eager": eager.run}


def select(engine: str) -> Run:
    """Return the engine's `run`. "auto" chooses from what was measured to be faster: so far that is eager.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    return lookup("engine", engine, ENGINES)
