"""Arrays with a JSON header in one safetensors file: parsed, never executed, and read only as far as the file goes."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.errors import InputError

Arrays = dict[str, NDArray[Any]]

_KEY = "backprop_xp"  # of the header in safetensors' own


class DamagedError(Exception):
    """The file is not what was written; the text says why, as in "it is truncated"."""


def packed(kind: str, version: int, arrays: Mapping[str, Any], header: Mapping[str, Any]) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    kind : str
        What it is a file of: "model", "checkpoint".
    version : int
        Of the format.
    arrays : mapping of str to array
        On the host.
    header : mapping
        JSON, and NumPy's scalars and arrays; the versions that write it are added.

    Raises
    ------
    TypeError
        If the header holds what JSON cannot.
    """
    from safetensors.numpy import save

    from backprop_xp import __version__

    versions = {"backprop_xp": __version__, "numpy": np.__version__, "python": platform.python_version()}
    described = {"format": f"backprop_xp {kind}", "version": version, **header, "versions": versions}
    text = json.dumps(described, default=_plain)
    return bytes(save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata={_KEY: text}))


def unpacked(path: Path, kind: str, version: int) -> tuple[dict[str, Any], Arrays]:
    """Return (header, arrays) of a file of this kind.

    Parameters
    ----------
    path : path
    kind : str
    version : int
        The latest that is read.

    Raises
    ------
    DamagedError
        If it is anything else.
    InputError
        If a later version wrote it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise DamagedError(f"it is a safetensors file, but not a {kind} of backprop-xp")
            header = json.loads(metadata[_KEY])
            if header["format"] != f"backprop_xp {kind}":
                raise DamagedError(f"its format is {header['format']!r}, not 'backprop_xp {kind}'")
            if header["version"] > version:
                raise InputError(
                    f"it was written by a later version (format {header['version']}, this one reads up to {version}): "
                    "pip install --upgrade backprop-xp"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (the file is no mapping)
    except InputError:
        raise
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"it is truncated or no safetensors file ({error})") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedError(f"its header is damaged ({type(error).__name__}: {error})") from None
    return header, arrays


def kind_of(path: Path) -> str | None:
    """Return what a file says it is a file of: "model", "run"; None if it is none of the package's."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            said = json.loads((file.metadata() or {})[_KEY])["format"]
        return str(said).removeprefix("backprop_xp ")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    """Turn a NumPy scalar or array into what JSON has."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be kept in a file")
