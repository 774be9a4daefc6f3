"""parity, info: what this machine has, and whether to trust it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from backprop_xp import backends, display, engines, environment, flags, reporting
from backprop_xp.cli import options
from backprop_xp.errors import lookup
from backprop_xp.model import load as load_model
from backprop_xp.parity import DTYPES, compare


def parity(
    device: options.DeviceOption = "cpu",
    backend: options.BackendOption = None,
    engine: Annotated[
        str, typer.Option(help="How steps are run there: eager, jax, torch, loops or cuda_graph.")
    ] = "eager",
    dtype: Annotated[str | None, typer.Option(help="float32 or float64. Default: both.")] = None,
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "tanh",
    steps: Annotated[int, typer.Option(help="Steps of the small job.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the job.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> int:
    """Train a small job on NumPy and on a device, and compare them step by step.

    It is what to run on a new machine before trusting it. The exit code is 1 if
    the two part by more than rounding explains.

    For example:

      backprop-xp parity --device cuda

      backprop-xp parity --backend jax --json
    """
    flags.at_least("--steps", steps, 1)
    flags.at_least("--seed", seed, 0)
    if dtype is not None:
        lookup("dtype", dtype, dict.fromkeys(DTYPES))
    dtypes = DTYPES if dtype is None else (dtype,)
    for each in dtypes:
        flags.allow_float64(engine if engine == "jax" else backend, each)
    report = compare(device, backend, engine, dtypes=dtypes, steps=steps, activation=activation, seed=seed)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        title = f"{report.backend} on {report.device}, engine {engine}, beside NumPy: {steps} steps"
        display.out.print(display.table(title, *reporting.parity(report)))
        display.out.print(reporting.verdict(report))
    return 0 if report.parted is None else 1


def info(
    model: Annotated[Path | None, typer.Argument(metavar="[MODEL]", help="A model file to describe.")] = None,
) -> int:
    """Show devices, libraries, BLAS and what each missing library would add; or what a MODEL file holds."""
    if model is not None:
        display.out.print(display.table(str(model), reporting.described(load_model(model))))
        return 0
    display.out.print(display.table("this machine", [*environment.described(), ("engine auto", engines.rule())]))
    libraries = [
        (row.name, row.version or "not installed", row.devices or row.install, row.adds) for row in backends.installed()
    ]
    display.out.print(
        display.table("optional", libraries, ("library", "version", "devices, or how to install", "adds"))
    )
    return 0
