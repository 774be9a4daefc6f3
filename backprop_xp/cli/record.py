"""What `train --record` tells the recorder of the data and the command."""

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from backprop_xp.columns import as_python
from backprop_xp.datasets import BUILT_IN, Dataset
from backprop_xp.files import user_path
from backprop_xp.job import Job
from backprop_xp.recorder import Recorder

_COLUMNS = 12  # of a raw row that are shown
# What makes no difference to the figures, and would to a run that repeats them.
_ASIDE = ("checkpoint", "every", "every_steps", "keep", "resume", "record", "tensorboard", "output", "plot", "log")


def recorder(path: Path, data: str, source: Dataset, job: Job, context: typer.Context) -> Recorder:
    """Return the recorder of a job."""
    about = {
        "data": source.name,
        "sha256": None if data in BUILT_IN else _digest(data),
        "target_name": source.target_name,
        "target": job.target.to_json(),
        "preprocessing": job.encoder.to_json(),
        "notes": list(job.notes),
        "command": shlex.join(["backprop-xp", "train", *_given(context)]),
    }
    return Recorder(path, about, lambda places: [_row(job, int(place)) for place in places])


def _row(job: Job, place: int) -> dict[str, Any]:
    """Return what a reader needs to find a row, and to judge it."""
    inputs, target = job.judged.inputs, job.judged.target
    assert target is not None  # what is trained on has one
    number = place + 1 if job.judged.numbers is None else int(job.judged.numbers[place])
    row = {"row": number, "target": _plain(target[place])}
    if hasattr(inputs, "column_names"):
        row["values"] = {name: _plain(as_python(inputs[name][place])) for name in inputs.column_names[:_COLUMNS]}
        row["more"] = max(0, len(inputs.column_names) - _COLUMNS)
    return row


def _plain(value: Any) -> Any:
    """Return what JSON has for it: numbers as they are, dates and the like as text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return value if value is None or isinstance(value, int | float | str | list) else str(value)


def _given(context: typer.Context) -> Iterator[str]:
    """Yield the arguments that were given, DATA first, but for files and checkpoints."""
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or parameter.name in _ASIDE:
            continue
        if parameter.param_type_name == "argument":
            yield str(value)
        elif value is True:
            yield parameter.opts[0]
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                yield from (parameter.opts[0], str(each))


def _digest(path: str) -> str:
    with user_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
