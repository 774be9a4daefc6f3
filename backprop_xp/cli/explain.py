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
from backprop_xp.cli.use import encoded
from backprop_xp.errors import InputError, nearest
from backprop_xp.explanation import Explanation, text
from backprop_xp.explanation import explain as explained
from backprop_xp.explanation.page import written
from backprop_xp.explanation.recording import Recording, at_rest, explained_step, record, trained
from backprop_xp.explanation.systems import SYSTEMS
from backprop_xp.files import write_output
from backprop_xp.losses import LOSSES
from backprop_xp.model import load as load_model
from backprop_xp.optimizers import sgd

_PAGE_ROWS, _PAGE_WEIGHTS = 32, 20_000


def explain(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help=f"A small system ({', '.join(SYSTEMS)}) or a model file that train wrote."),
    ] = "xor",
    weight: Annotated[
        str | None, typer.Option(help="Such as 'layer 2, unit 1, from 1' or 'layer 2, unit 1, bias'; all count from 1.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Such as 'layer 1, unit 2': its delta, and the sum behind it.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(help="Of a system: after so many steps of training; with --html the length of the recorded run."),
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

      backprop-xp explain xor --html xor.html
    """
    flags.at_least("--step", step or 0, 0)
    flags.output_file("--html", page, (".html", ".htm"))
    rates = [] if learning_rate is None else _rates(learning_rate)
    of_file = what not in SYSTEMS and os.path.isfile(what)  # which is False for what cannot be a file's name
    flags.all_different({"WHAT": what if of_file else None, "--data": data, "--html": page})
    if of_file:
        _refuse([
            (step is not None, "--step is for the small systems: a model file holds the end of its training"),
            (len(rates) > 1, "several learning rates are for the page of a small system: give one"),
        ])  # fmt: skip
    elif what in SYSTEMS:
        _refuse([
            (data is not None or target is not None, f"{what} has its own data: leave out --data and --target"),
            (
                len(rates) > 1 and page is None,
                "several learning rates are for the page of a small system: give one, or --html PAGE",
            ),
            (row is not None and page is not None, "the page of a small system shows every row: leave out --row"),
        ])  # fmt: skip
    else:
        raise InputError(f"{what!r} is neither a file nor a small system{nearest(what, SYSTEMS)}")
    one = weight is not None or unit is not None
    _refuse([
        (
            page is not None and (one or as_json),
            "the page shows every weight and unit: leave out --weight, --unit and --json",
        ),
        (as_json and one, "--json prints every weight and unit: leave out --weight and --unit"),
    ])  # fmt: skip
    if page is not None and not of_file:
        return _recorded(what, step, rates, page)
    it = _of_model(what, data, target, row, rates) if of_file else _of_system(what, step or 0, row, rates)
    if page is not None:
        return _written(page, f"{Path(what).name} on {data}", [at_rest(_small(it))])
    if as_json:
        with _finite():
            printed = json.dumps(it.to_json(), allow_nan=False)
        print(printed)
        return 0
    for line in _lines(it, weight, unit):
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


def _small(it: Explanation) -> Explanation:
    n_weights = sum(W.size for W, _ in it.params)
    if len(it.X) > _PAGE_ROWS or n_weights > _PAGE_WEIGHTS:
        raise InputError(
            f"a page holds up to {_PAGE_ROWS} rows and {_PAGE_WEIGHTS:,} weights, not {len(it.X):,} and "
            f"{n_weights:,}: choose a row with --row, or look in the terminal"
        )
    return it


def _recorded(name: str, n_steps: int | None, rates: list[float], page: Path) -> int:
    """Train the system by each learning rate, and write the page."""
    system = SYSTEMS[name]()
    n_steps = system.n_steps if n_steps is None else n_steps
    return _written(page, f"{name}: where its gradients come from", [
        record(system, n_steps, rate) for rate in rates or system.learning_rates
    ])  # fmt: skip


def _written(page: Path, title: str, recordings: list[Recording]) -> int:
    with _finite():
        content = written(title, recordings).encode()
    write_output(page, content)
    display.out.print(f"{page} written, {len(content) / 2**20:.2f} MiB: open it in a browser")
    return 0


@contextmanager
def _finite() -> Iterator[None]:
    """JSON has no infinity; what it is asked to write of one is the user's to mend."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except ValueError:
        raise InputError("some of the numbers are not finite: try a lower --learning-rate, or fewer steps") from None


def _rates(given: str) -> list[float]:
    try:
        rates = [float(rate) for rate in given.split(",")]
    except ValueError:
        raise InputError(f"--learning-rate must be a number, or several with commas; not {given!r}") from None
    return [flags.positive("--learning-rate", rate) for rate in rates]


def _of_system(name: str, n_steps: int, row: int | None, rates: list[float]) -> Explanation:
    system = SYSTEMS[name]()
    _rows(row, len(system.X))
    rate = rates[0] if rates else system.learning_rate
    with np.errstate(over="ignore", invalid="ignore"):  # a rate too high shows in the numbers
        *_, (params, state, _) = trained(system, n_steps, rate)
        return explained_step(system, rate, params, state, row)


def _of_model(file: str, data: str | None, target: str | None, row: int | None, rates: list[float]) -> Explanation:
    if data is None:
        raise InputError("a model file holds no rows: give --data FILE with the inputs and targets to explain")
    model = load_model(file)
    X, values = encoded(model, data, target, need_target=True)
    assert model.target is not None  # or encoded() refuses
    rows = _rows(row, len(X))
    Y = model.target.encode(values)[rows]
    loss = LOSSES[model.loss]
    if loss.parameter is not None:
        setting = model.extra.get("loss_setting")
        if not isinstance(setting, float | int):
            raise InputError(
                f"the model file does not say by what setting of {model.loss} it was trained: train it again"
            )
        loss = flags.loss(f"{model.loss}:{setting}")
    rule = sgd(rates[0] if rates else 0.1)
    return explained(model.network, model.params, X[rows], Y, loss, optimizer=rule, first_row=row or 1)


def _rows(row: int | None, n_rows: int) -> slice:
    if row is None:
        return slice(None)
    if not 1 <= row <= n_rows:
        raise InputError(f"--row must be one of 1 to {n_rows:,}, not {row}")
    return slice(row - 1, row)


_PLACE = re.compile(r"\s*layer\s*(\d{1,9})\s*,\s*unit\s*(\d{1,9})\s*,\s*(?:from\s*(\d{1,9})|bias)\s*")


def _place(given: str, flag: str) -> tuple[int, int, int | None]:
    match = _PLACE.fullmatch(given.lower())
    if match is None:
        example = "'layer 1, unit 2'" if flag == "--unit" else "'layer 2, unit 1, from 1' or 'layer 2, unit 1, bias'"
        raise InputError(f"{flag} must be such as {example}, all counted from 1; not {given.removesuffix(', bias')!r}")
    layer, unit, source = match.groups()
    return int(layer), int(unit), None if source is None else int(source)
