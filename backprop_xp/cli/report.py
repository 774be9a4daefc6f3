"""report: one page on a recorded run."""

from pathlib import Path
from typing import Annotated

import typer

from backprop_xp import display, flags
from backprop_xp.files import write_output
from backprop_xp.recorded_run import load_run


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What train --record wrote.")],
    output: Annotated[
        Path | None, typer.Option(help="The page to write, .html. Default: RUN's name with -report.html.")
    ] = None,
) -> int:
    """Write one page on a training run.

    It shows the data and what became of them, the network, curves, learning
    rate, the size of weights and gradients by layer, the confusion matrix or
    residuals, the worst rows, where it ran and how to repeat it. The file loads
    nothing, so it can be sent as it is.

    For example:

      backprop-xp train digits --record digits.run

      backprop-xp report digits.run
    """
    recorded = load_run(run)
    output = run.with_name(f"{run.stem}-report.html") if output is None else output
    flags.all_different({"RUN": run, "--output": output})
    flags.output_file("--output", output, (".html", ".htm"))

    from backprop_xp.run_report import written

    write_output(output, written(recorded, run.stem).encode())
    display.out.print(f"{output}: {output.stat().st_size / 2**20:.2f} MiB; open it in a browser")
    return 0
