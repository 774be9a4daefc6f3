"""The errors a user can put right, what an integer must be, and the nearest name for one that is unknown."""

import difflib
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it and the way out."""


class StopTraining(Exception):  # noqa: N818  (no error: the name says what raising it does)
    """Raised by a callback to end training; what was trained so far is kept. Its text becomes `Trainer.stopped`."""


class DivergedError(ArithmeticError):
    """Training stopped because the loss, or a parameter, was no longer finite.

    Attributes
    ----------
    epoch, step : int
        Where the first loss that is not finite stood, or an epoch's last step if it left such parameters; both counted
        from 1, `step` within the epoch.
    learning_rate : float
        The rate at the end of that epoch.
    kept_epoch : int
        The epoch whose parameters are kept, 0 for the first parameters.
    checkpoint : path or None
        The last good one.
    """

    def __init__(
        self,
        epoch: int,
        step: int,
        learning_rate: float,
        kept_epoch: int,
        checkpoint: object = None,
        what: str = "the loss is",
    ) -> None:
        kept = f"the parameters of epoch {kept_epoch}" if kept_epoch else "the initial parameters"
        kept += "" if checkpoint is None else f", and the checkpoint {checkpoint}"
        super().__init__(
            f"{what} not finite at epoch {epoch}, step {step}, learning rate {learning_rate:g}; {kept} are kept; "
            "try a lower learning rate, gradient clipping (clip_norm=1.0), or inputs and targets scaled to about 1"
        )
        self.epoch, self.step, self.learning_rate = epoch, step, learning_rate
        self.kept_epoch, self.checkpoint, self._what = kept_epoch, checkpoint, what

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes another one: by default an exception is made from its text alone."""
        given = self.epoch, self.step, self.learning_rate, self.kept_epoch, self.checkpoint, self._what
        return type(self), given


def check_integer(name: str, value: object, least: int) -> None:
    """Refuse what is not an integer of at least so much.

    Raises
    ------
    InputError
        That names it, and the value that was given.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{name} must be an integer of at least {least}, not {value!r}")


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
