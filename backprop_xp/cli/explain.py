"""explain: the chain rule with the numbers of a network."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from backprop_xp import display, flags
from backprop_xp.cli import options
from backprop_xp.cli.subjects import ModelFile, SmallSystem, Subject, TrainedRun
from backprop_xp.errors import InputError, nearest
from backprop_xp.explanation import Explanation, text
from backprop_xp.explanation.page import written
from backprop_xp.explanation.systems import SYSTEMS
from backprop_xp.files import write_output
from backprop_xp.tensor_files import kind_of


def explain(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help=f"A small system ({', '.join(SYSTEMS)}), a recorded run, or a model file."),
    ] = "xor",
    weight: Annotated[
        str | None, typer.Option(help="Such as 'layer 2, unit 1, from 1' or 'layer 2, unit 1, bias'; all count from 1.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Such as 'layer 1, unit 2': its delta, and the sum behind it.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            help="After so many steps of training, of a recorded run the nearest kept; "
            "with --html the length of a system's run."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="For a model file: the rows, with their targets; as for evaluate.")
    ] = None,
    target: options.TargetOption = None,
    row: Annotated[
        int | None, typer.Option(help="The loss of that row alone: from 1, rows without a target left out.")
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(help="Of the update; for --html several: 0.1,0.5,2. Default: the system's; 0.1."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write a page to look at in a browser: it needs nothing else.")
    ] = None,
) -> int:
    """Show where a weight's gradient comes from: three terms, their product, and the update.

    Without --weight or --unit: the largest gradients, dead and saturated units and
    layers where gradients vanish, and the largest gradient's chain rule in full.

    For example:

      backprop-xp explain xor

      backprop-xp explain two-by-two --weight 'layer 2, unit 1, from 1' --step 100

      backprop-xp explain model.safetensors --data rows.csv --row 7

      backprop-xp train digits --record digits.run && backprop-xp explain digits.run --html digits.html

      backprop-xp explain xor --html xor.html
    """
    flags.at_least("--step", step or 0, 0)
    flags.output_file("--html", page, (".html", ".htm"))
    rates = [] if learning_rate is None else _rates(learning_rate)
    one = weight is not None or unit is not None
    _refuse([
        (
            page is not None and (one or as_json),
            "the page shows every weight and unit: leave out --weight, --unit and --json",
        ),
        (as_json and one, "--json prints every weight and unit: leave out --weight and --unit"),
    ])  # fmt: skip
    subject = _subject(what, step, data, target, row, rates)
    flags.all_different({"WHAT": what if what not in SYSTEMS else None, "--data": data, "--html": page})
    if page is not None:
        return _written(page, subject)
    it = subject.explanation()
    if as_json:
        with _finite(subject):
            printed = json.dumps(it.to_json(), allow_nan=False)
        print(printed)
        return 0
    for line in [*subject.told, *_lines(it, weight, unit)]:
        display.out.print(line)
    return 0


def _refuse(cases: list[tuple[bool, str]]) -> None:
    for wrong, message in cases:
        if wrong:
            raise InputError(message)


def _lines(it: Explanation, weight: str | None, unit: str | None) -> list[str]:
    """Return what was asked for, or the summary and the largest gradient."""
    if weight is None and unit is None:
        largest = it.findings()[0]
        of_largest = it.weight(largest.layer, largest.unit or 1, largest.source)
        return [*str(it).splitlines(), "", *text.of_weight(of_largest)]
    lines = [] if weight is None else text.of_weight(it.weight(*_place(weight, "--weight")))
    if unit is not None:
        layer, of_layer, _ = _place(f"{unit}, bias", "--unit")
        lines += text.of_unit(it.unit(layer, of_layer))
    return lines


def _subject(
    what: str, step: int | None, data: str | None, target: str | None, row: int | None, rates: list[float]
) -> Subject:
    """Return what is to be explained, once no option is given that is not for it."""
    if what in SYSTEMS:
        _refuse([(data is not None or target is not None, f"{what} has its own data: leave out --data and --target")])
        return SmallSystem(what, step, row, rates)
    if not os.path.isfile(what):  # which is False for what cannot be a file's name
        raise InputError(f"{what!r} is neither a file nor a small system{nearest(what, SYSTEMS)}")
    if kind_of(Path(what)) == "run":
        _refuse([
            (data is not None or target is not None, "a recorded run has its own rows: leave out --data and --target"),
            (bool(rates), "a recorded run has its own learning rate: leave out --learning-rate"),
        ])  # fmt: skip
        return TrainedRun(what, step, row)
    _refuse([(step is not None, "--step is for systems and recorded runs: a model file holds the end of its training")])
    return ModelFile(what, data, target, row, rates)


def _written(page: Path, subject: Subject) -> int:
    with _finite(subject):
        content = written(subject.title, subject.recordings()).encode()
    write_output(page, content)
    display.out.print(f"{page} written, {len(content) / 2**20:.2f} MiB: open it in a browser")
    return 0


@contextmanager
def _finite(subject: Subject) -> Iterator[None]:
    """JSON has no infinity; what it is asked to write of one is the user's to mend."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except InputError:
        raise
    except ValueError:
        raise InputError(f"some of the numbers are not finite: {subject.remedy}") from None


def _rates(given: str) -> list[float]:
    try:
        rates = [float(rate) for rate in given.split(",")]
    except ValueError:
        raise InputError(f"--learning-rate must be a number, or several with commas; not {given!r}") from None
    return [flags.positive("--learning-rate", rate) for rate in rates]


_PLACE = re.compile(r"\s*layer\s*(\d{1,9})\s*,\s*unit\s*(\d{1,9})\s*,\s*(?:from\s*(\d{1,9})|bias)\s*")


def _place(given: str, flag: str) -> tuple[int, int, int | None]:
    match = _PLACE.fullmatch(given.lower())
    if match is None:
        example = "'layer 1, unit 2'" if flag == "--unit" else "'layer 2, unit 1, from 1' or 'layer 2, unit 1, bias'"
        raise InputError(f"{flag} must be such as {example}, all counted from 1; not {given.removesuffix(', bias')!r}")
    layer, unit, source = match.groups()
    return int(layer), int(unit), None if source is None else int(source)
