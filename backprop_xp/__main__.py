"""`python -m backprop_xp` and the command `backprop-xp`."""

import sys
import warnings

_EXTRA = ("typer", "rich", "pyarrow", "matplotlib")


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from backprop_xp.cli import run
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit(f"backprop-xp: the command line needs {error.name}: pip install 'backprop-xp[cli]'")
    warnings.showwarning = lambda message, *_: print(f"backprop-xp: warning: {message}", file=sys.stderr)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal's encoding may lack what a column is called
    sys.exit(run())


if __name__ == "__main__":
    main()
