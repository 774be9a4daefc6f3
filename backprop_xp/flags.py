"""The command line's texts turned into what they mean, each refused with a line that says what it may be."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from backprop_xp import losses, optimizers, schedules
from backprop_xp.errors import InputError, lookup
from backprop_xp.losses import LOSSES, Loss
from backprop_xp.optimizers import Optimizer

# Each keeps the variance from layer to layer under its activation; the others start by Glorot's rule.
INITIALIZERS = {
    "relu": "he_uniform", "leaky_relu": "he_uniform", "elu": "he_uniform", "gelu": "he_uniform", "selu": "lecun_normal",
}  # fmt: skip
_MAX_UNITS = 10_000_000
RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001}


def hidden(text: str) -> tuple[int, ...]:
    """Return the hidden sizes: "256,128" -> (256, 128), "none" -> ().

    Raises
    ------
    InputError
        If one is not a positive whole number.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = (0,)
    if max(sizes) > _MAX_UNITS:
        raise InputError(f"--hidden {text!r}: a layer may have {_MAX_UNITS:,} units at most")
    if min(sizes) < 1:
        raise InputError(f"--hidden must be positive whole numbers with commas, such as 256,128, or none; not {text!r}")
    return sizes


def loss(text: str) -> Loss:
    """Return the loss: a name, or huber:DELTA or pinball:QUANTILE.

    Raises
    ------
    InputError
        If the name is unknown or its setting is out of range.
    """
    name, _, setting = text.partition(":")
    known = lookup("loss", name, LOSSES)
    if not setting:
        return known
    try:
        return losses.with_setting(name, float(setting))
    except ValueError as error:
        raise InputError(f"--loss {text}: {error}") from None


def optimizer(name: str, rate: float | None, schedule: str, total: int) -> Optimizer:
    """Return the optimizer.

    Parameters
    ----------
    name : str
    rate : float, optional
        Default: the optimizer's own in `RATES`.
    schedule : str
    total : int
        Updates in the whole of training.

    Raises
    ------
    InputError
        If a name is unknown or the rate is not positive.
    """
    make = lookup("optimizer", name, optimizers.OPTIMIZERS)
    rate = RATES[name] if rate is None else positive("--learning-rate", rate)
    plan = lookup("schedule", schedule, schedules.PLANNED)
    return make(rate if schedule == "constant" else plan(rate, max(total, 1)))


def at_least(name: str, value: int, least: int) -> None:
    """Check a whole number.

    Raises
    ------
    InputError
        If it is smaller.
    """
    if value < least:
        raise InputError(f"{name} must be at least {least}, not {value}")


def allow_float64(backend: str | None, dtype: str) -> None:
    """Let JAX, which is imported later, have float64 where that is asked of it."""
    if backend == "jax" and dtype == "float64":
        os.environ.setdefault("JAX_ENABLE_X64", "1")


def positive(name: str, value: float) -> float:
    """Return the value.

    Raises
    ------
    InputError
        If it is not a positive finite number.
    """
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a positive number, not {value:g}")
    return value


def fraction(name: str, value: float) -> float:
    """Return the value.

    Raises
    ------
    InputError
        If it does not lie in [0, 1).
    """
    if not 0 <= value < 1:
        raise InputError(f"{name} must be at least 0 and below 1, not {value:g}")
    return value


def all_different(files: Mapping[str, Path | str | None]) -> None:
    """Check that no file is both read and written, or written twice.

    Raises
    ------
    InputError
        If two of them are the same file.
    """
    seen: dict[str, str] = {}
    for name, file in files.items():
        if file is not None:
            other = seen.setdefault(os.path.realpath(file), name)  # a link to itself is none either
            if other != name:
                raise InputError(f"{name} and {other} are the same file {str(file)!r}: one would overwrite the other")


def output_file(name: str, path: Path | None, endings: tuple[str, ...] = ()) -> None:
    """Check before long work that the file could be written.

    Raises
    ------
    InputError
        If its folder is missing or not writable, it is a folder itself, or its ending is none of `endings`.
    """
    if path is None:
        return
    if endings and path.suffix.lower() not in endings:
        raise InputError(f"{name} {str(path)!r} must end in {' or '.join(endings)}")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{name} {str(path)!r} is a device or a pipe: name a file")
    if path.is_dir():
        raise InputError(f"{name} {str(path)!r} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"{name} {str(path)!r}: there is no folder {str(path.parent)!r}; make it, or choose another")
    longest = os.pathconf(path.parent, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if len(os.fsencode(path.name)) > longest - 16:  # beside it comes a temporary file with a longer name
        raise InputError(f"{name}: the file's name has more than {longest - 16} bytes; choose a shorter one")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{name} {str(path)!r} is not writable: choose another")
