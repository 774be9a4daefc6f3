"""Zero code change: programs that import scikit-learn's MLPClassifier and MLPRegressor get this package's."""

import argparse
import os
import runpy
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from backprop_xp.backends import DEVICE_VARIABLE, select
from backprop_xp.errors import InputError

_CLASSES = ("MLPClassifier", "MLPRegressor")
# The second is the module that pickles of scikit-learn's own classes name.
_MODULES = ("sklearn.neural_network", "sklearn.neural_network._multilayer_perceptron")
_USAGE = """
  python -m backprop_xp.accel [--device DEVICE] script.py [argument ...]
  python -m backprop_xp.accel [--device DEVICE] -m module [argument ...]"""
_DESCRIPTION = """\
Run a Python program unchanged, with MLPClassifier and MLPRegressor of sklearn.neural_network replaced by
backprop_xp's, which take the same parameters and give the same numbers, on the device named."""
_EPILOG = f"""\
examples:
  python -m backprop_xp.accel fit.py                         on the CPU
  python -m backprop_xp.accel --device cuda fit.py --rows 9  on the GPU; --rows 9 is the script's
  python -m backprop_xp.accel --device auto -m pytest tests  on the GPU where there is one

Workers of joblib (n_jobs=2) use the same classes and device: the device is in the environment variable
{DEVICE_VARIABLE}, which may be set instead of --device. A process that the program starts anew, as
multiprocessing's "spawn" does, imports scikit-learn's own classes, unless it calls patch_sklearn itself:

  from backprop_xp.accel import patch_sklearn
  patch_sklearn("cuda")                                      before scikit-learn's classes are imported"""


class _Before(NamedTuple):
    """What `unpatch_sklearn` puts back."""

    classes: dict[str, Any]
    device: str | None


_before: _Before | None = None


def patch_sklearn(device: str | None = None, *, verbose: bool = True) -> None:
    """Put this package's MLPClassifier and MLPRegressor into `sklearn.neural_network`.

    What is imported from there afterwards is ours, and pickles of scikit-learn's own estimators load as ours. What was
    imported before stays scikit-learn's, and cannot be pickled until `unpatch_sklearn`: patch first, then import.
    Calling it again only changes the device.

    Parameters
    ----------
    device : str, optional
        "cpu", "cuda", "cuda:1", ... or "auto": where estimators made without `device` compute on host (NumPy) input.
        It is put into the environment variable BACKPROP_XP_DEVICE, so that joblib's workers inherit it. None leaves
        that variable as it is; where it is not set either, that is the CPU.
    verbose : bool
        Say on stderr, in one line and once, what was replaced.

    Raises
    ------
    InputError
        If the device is unknown or not there; then nothing was changed.

    Examples
    --------
    >>> from backprop_xp.accel import patch_sklearn, unpatch_sklearn
    >>> patch_sklearn("cpu", verbose=False)
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier.__module__.startswith("backprop_xp.")
    True
    >>> unpatch_sklearn()
    """
    global _before
    backend = select(device or os.environ.get(DEVICE_VARIABLE) or "cpu")
    if _before is None:
        ours, theirs = import_module("backprop_xp.estimators"), import_module(_MODULES[0])
        _before = _Before({name: getattr(theirs, name) for name in _CLASSES}, os.environ.get(DEVICE_VARIABLE))
        _place({name: getattr(ours, name) for name in _CLASSES})
        if verbose:
            names = " and ".join(_CLASSES)
            print(f"backprop_xp.accel: {names} of scikit-learn are backprop_xp's, on {backend.label}", file=sys.stderr)
    if device is not None:
        os.environ[DEVICE_VARIABLE] = device


def unpatch_sklearn() -> None:
    """Put scikit-learn's own classes back, and the environment variable BACKPROP_XP_DEVICE as it was.

    What was imported while the patch was on stays ours. Without a patch nothing is changed.
    """
    global _before
    if _before is None:
        return
    _place(_before.classes)
    os.environ.pop(DEVICE_VARIABLE, None)
    if _before.device is not None:
        os.environ[DEVICE_VARIABLE] = _before.device
    _before = None


def _place(classes: dict[str, Any]) -> None:
    """Set these names in scikit-learn's modules."""
    for module in _MODULES:
        vars(import_module(module)).update(classes)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main() -> None:
    """Run the program that the command line names, as `python` would."""
    parser = _Parser(
        "backprop_xp.accel",
        usage=_USAGE,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... or auto; it must stand before the program")
    parser.add_argument("-m", dest="by_name", action="store_true", help="the program is a module, as for python -m")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="script or module, and its own arguments")
    given = parser.parse_args()
    if not given.program:
        parser.error("name a script, or -m and a module; --help shows examples")
    name = given.program[0]
    run = _module(name, parser) if given.by_name else _script(name, parser)
    try:
        patch_sklearn(given.device)
    except InputError as error:
        parser.error(str(error))
    sys.argv = given.program
    run()


def _module(name: str, parser: _Parser) -> Callable[[], object]:
    """Return what runs the module; refuse one that is not there."""
    top = name.partition(".")[0]  # looking for the rest would import it, before the patch
    if find_spec(top) is None:
        parser.error(f"there is no module {name!r}, neither in this folder nor installed")
    return partial(runpy.run_module, name, run_name="__main__", alter_sys=True)


def _script(name: str, parser: _Parser) -> Callable[[], object]:
    """Return what runs the file; refuse one that cannot be read.

    Unlike `runpy.run_path` it leaves the file's module in place for threads and exit handlers, which outlive it.
    """
    path = os.path.abspath(name)
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        parser.error(f"cannot read the script {name!r}: {error.strerror}; name a file, or -m and a module")

    def run() -> None:
        if not sys.flags.safe_path:
            sys.path[0] = os.path.dirname(os.path.realpath(path))
        module = sys.modules["__main__"] = ModuleType("__main__")
        module.__file__, module.__loader__ = path, SourceFileLoader("__main__", path)
        exec(compile(source, path, "exec"), vars(module))

    return run


if __name__ == "__main__":
    import backprop_xp.accel  # the module under its own name: a script that imports it must find the patch in it

    backprop_xp.accel.main()
