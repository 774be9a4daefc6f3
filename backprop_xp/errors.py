"""The errors a user can put right, and the nearest name for one that is unknown."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it and the way out."""


class StopTraining(Exception):  # noqa: N818  (no error: the name says what raising it does)
    """Raised by a callback to end training; what was trained so far is kept. Its text becomes `Trainer.stopped`."""


class DivergedError(ArithmeticError):
    """Training stopped because the loss was no longer finite.

    Attributes
    ----------
    epoch, step : int
        Where the first loss that is not finite stood, both counted from 1; `step` within the epoch.
    learning_rate : float
        The rate at the end of that epoch.
    checkpoint : path or None
        The last good one.
    """

    def __init__(self, epoch: int, step: int, learning_rate: float, checkpoint: object = None) -> None:
        kept = "the initial parameters" if epoch == 1 else f"the parameters of epoch {epoch - 1}"
        kept += "" if checkpoint is None else f", and the checkpoint {checkpoint}"
        super().__init__(
            f"the loss is not finite at epoch {epoch}, step {step}, learning rate {learning_rate:g}; {kept} are kept; "
            "try a lower learning rate, gradient clipping (clip_norm=1.0), or inputs and targets scaled to about 1"
        )
        self.epoch, self.step, self.learning_rate, self.checkpoint = epoch, step, learning_rate, checkpoint


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the choice nearest to `name`, and the choices."""
    choices = sorted(choices)
    close = difflib.get_close_matches(str(name).lower(), choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} Known: {', '.join(choices)}"


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return `table[name]`.

    Raises
    ------
    InputError
        If there is no such name; the message suggests the nearest.
    """
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}{nearest(name, table)}")
    return table[name]
