"""predict, evaluate: what a model file says of data."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from backprop_xp import display, flags
from backprop_xp.cli import options
from backprop_xp.datasets import is_row_index, load, text_columns
from backprop_xp.errors import InputError
from backprop_xp.model import Model
from backprop_xp.model import load as load_model
from backprop_xp.scoring import scores
from backprop_xp.tables import TableEncoder, encoder_from_json, listed


def predict(
    model: options.ModelFile,
    data: options.DataSource,
    output: Annotated[
        Path | None, typer.Option(help="The file to write, .csv or .parquet. Default: CSV on the standard output.")
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Add the probability of each class.")] = False,
    device: options.DeviceOption = "cpu",
    backend: options.BackendOption = None,
) -> int:
    """Predict every row of DATA with MODEL.

    A table needs the columns that the model was trained on, by name and in any order; others are left aside.
    """
    flags.all_different({"MODEL": model, "DATA": data, "--output": output})
    flags.output_file("--output", output, (".csv", ".parquet"))
    chosen = load_model(model)
    if proba and (chosen.target is None or chosen.target.task == "regression"):
        raise InputError("--proba: this model predicts numbers, which have no probabilities; leave it out")
    X, _ = encoded(chosen, data, None, need_target=False)
    outputs = _outputs(chosen, X, device, backend)
    classes = None if chosen.target is None else chosen.target.classes
    columns = display.predictions(chosen.decide(outputs), outputs, classes, with_outputs=proba)
    _write_table(columns, output)
    if output is not None:
        display.out.print(f"{len(outputs):,} predictions written to {output}")
    return 0


def evaluate(
    model: options.ModelFile,
    data: options.DataSource,
    target: options.TargetOption = None,
    device: options.DeviceOption = "cpu",
    backend: options.BackendOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> int:
    """Compare MODEL's predictions with the targets in DATA."""
    chosen = load_model(model)
    X, values = encoded(chosen, data, target, need_target=True)
    if Path(data).name == chosen.extra.get("data"):
        print(
            "the model was trained on data of this name: rows it has not seen are likely to do worse", file=sys.stderr
        )
    figures = scores(chosen, _outputs(chosen, X, device, backend), values)
    if as_json:
        print(json.dumps({"rows": len(X), **figures}))
    else:
        display.out.print(display.table(f"{model} on {data}: {len(X):,} rows", display.figures(figures)))
    return 0


def encoded(model: Model, data: str, target: str | None, *, need_target: bool) -> tuple[NDArray[Any], Any]:
    """Return (X, raw targets) of the data, made ready as the model's training data were.

    Raises
    ------
    InputError
        If the model or the data cannot be used with each other.
    """
    if model.preprocessing is None:
        raise InputError("this model was saved by the library, without preprocessing: use backprop_xp.load in Python")
    if need_target and model.target is None:
        raise InputError("the model file does not say what its outputs stand for: only predict can use it")
    encoder = encoder_from_json(model.preprocessing)
    named, dropped = model.extra.get("target"), model.extra.get("dropped", [])
    if not isinstance(named, str | None) or not isinstance(dropped, list):
        raise InputError("the model file is damaged: its target has no name, or its dropped columns are no list")
    text = text_columns(encoder, model.target, target or named)
    source = load(data, target or named, need_target=need_target, text=text)
    for note in source.notes:
        print(note, file=sys.stderr)
    if isinstance(encoder, TableEncoder) and hasattr(source.inputs, "column_names"):
        aside = set(map(str, dropped))
        ignored = [name for name in encoder.extra(source.inputs) if name not in aside and not is_row_index(name)]
        if ignored:
            print(f"columns the model was not trained on are ignored: {listed(ignored)}", file=sys.stderr)
    return encoder.transform(source.inputs, str(model.params[0][0].dtype)), source.target


def _outputs(model: Model, X: NDArray[Any], device: str, backend: str | None) -> NDArray[Any]:
    """Return the network's outputs, once all are finite."""
    flags.allow_float64(backend, str(model.params[0][0].dtype))
    outputs = model.outputs(X, device=device, backend=backend)
    if not np.isfinite(outputs).all():
        row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
        raise InputError(f"the model's output for row {row + 1} is not finite: are its inputs like those of training?")
    return outputs


def _write_table(columns: dict[str, NDArray[Any]], path: Path | None) -> None:
    """Write the columns as CSV or Parquet, or as CSV to the standard output."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    from backprop_xp.files import write_output

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    buffer = pa.BufferOutputStream()
    if path is not None and path.suffix.lower() == ".parquet":
        parquet.write_table(table, buffer)
    else:
        csv.write_csv(table, buffer, csv.WriteOptions(quoting_style="needed"))
    content = buffer.getvalue().to_pybytes()
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)  # UTF-8, whatever the terminal's encoding
    else:
        write_output(path, content)
