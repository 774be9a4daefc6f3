"""The command line: train, report, predict, evaluate, explain, parity, info."""

import sys
from typing import Annotated, Any

import typer

from backprop_xp import __version__, display
from backprop_xp.cli.explain import explain
from backprop_xp.cli.machine import info, parity
from backprop_xp.cli.report import report
from backprop_xp.cli.train import train
from backprop_xp.cli.use import evaluate, predict
from backprop_xp.errors import DivergedError, InputError

# Typer carries its own copy of click since 0.26, under a private name; the base class of its errors is found through
# what is public.
_UsageError: type[Any] = typer.BadParameter.__mro__[1].__mro__[1]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Train multilayer perceptrons on the CPU or a GPU, and use them. Start with: backprop-xp train",
)  # fmt: skip
for _command in (train, report, predict, evaluate, explain, parity, info):
    app.command()(_command)


def run(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0; 2 for unusable input, 1 for other failures, 130 after Ctrl-C.

    SIGTERM ends a `train` that keeps checkpoints by SystemExit, with 143.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except _UsageError as error:
        if not error.format_message():  # no command was given, and the help has been shown
            return 2
        return _fail(f"{error.format_message()} (backprop-xp --help tells more)")
    except DivergedError as error:
        return _fail(str(error), 1)
    except MemoryError as error:
        return _fail(f"not enough memory ({error}): use fewer rows, a smaller --hidden or --batch-size", 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            display.out.on_broken_pipe()
            return 0
        return _fail(f"cannot write the output: {error.strerror}", 1)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int = 2) -> int:
    print(f"backprop-xp: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(f"backprop-xp {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
