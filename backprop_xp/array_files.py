"""Arrays from NumPy's files (.npy, .npz) and from idx files, the format of MNIST; nothing in them is executed."""

import gzip
import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.errors import InputError

Array = NDArray[Any]

# http://yann.lecun.com/exdb/mnist, "The IDX file format": the third byte of the magic number. Big-endian throughout.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_MAX_NDIM = 4
# Deflate makes no file smaller than this fraction (zlib's technical notes, "Maximum Compression Factor").
_DEFLATE_MAX_RATIO = 1032
_ROWS_AT_ONCE = 65_536
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


# What NumPy, Arrow, zipfile and the decompressors raise of files that are damaged, or made to be.
_UNREADABLE = (
    OSError, EOFError, MemoryError, zlib.error, zipfile.BadZipFile, struct.error, ValueError, TypeError, LookupError,
    OverflowError, RecursionError, NotImplementedError, RuntimeError, SyntaxError,
    tokenize.TokenError,
)  # fmt: skip


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system or a decompressor says about `path` into a one-line InputError."""
    try:
        yield
    except PermissionError:
        raise InputError(f"{path} may not be read by you: change its permissions, for instance chmod u+r") from None
    except InputError:
        raise
    except _UNREADABLE as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read, it may be damaged or cut short: {cause}") from error


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip's decompressor if it starts with gzip's magic number."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]


def is_idx(start: bytes) -> bool:
    """Tell whether a file that begins with these four bytes is an idx file."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in _IDX_TYPES and 1 <= start[3] <= _IDX_MAX_NDIM


def read_array(path: Path) -> Array:
    """Return the array of a .npy or idx file; idx images (n, rows, columns) become (n, rows * columns).

    Raises
    ------
    InputError
        If the file is neither, holds Python objects, or is longer or shorter than its header says.
    """
    with path.open("rb") as file:
        is_npy = file.read(6) == b"\x93NUMPY"
    if is_npy:
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except ValueError as error:
            raise _not_loaded(f"{path}", error) from error
    with open_binary(path) as file:
        start = file.read(4)
    if is_idx(start):
        return _read_idx(path)
    raise InputError(f"{path} is neither a NumPy array (.npy) nor an idx file: save it with numpy.save")


def read_npz(path: Path, target: str) -> tuple[Array, Array | None]:
    """Return the arrays X and `target` of an archive, None for a target that it doesn't hold.

    Raises
    ------
    InputError
        If the file is not an archive of arrays, has no X, or one of the two holds Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not an .npz archive: save it with numpy.savez(path, X=X, y=y)")
    # NumPy leaves a file open that it opened itself and found damaged. Nothing is read yet but the list of arrays.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if "X" not in archive.files:
            found = ", ".join(archive.files) or "none"
            raise InputError(f"{path} has no array 'X', it has: {found}; save it with numpy.savez(path, X=X, y=y)")
        return _member(archive, path, "X"), _member(archive, path, target) if target in archive.files else None


def labels_beside(path: Path) -> Path | None:
    """Return the idx file of labels that belongs to a file of images named as MNIST's are, if it is there."""
    name, changed = re.subn(r"images([-.])idx3", r"labels\1idx1", path.name)
    if not changed:
        return None
    plain = name.removesuffix(".gz")
    choices = (path.with_name(each) for each in (name, plain, f"{plain}.gz"))
    return next((each for each in choices if each.exists()), None)


def check_inputs(name: str, X: Array) -> None:
    """Refuse `X` unless it is a real, finite array (n_samples, n_features) with at least one sample.

    Raises
    ------
    InputError
        Naming the first row and column (counted from 0) that are not finite, or what else is wrong.
    """
    _check_kind(name, X, "biuf", "numbers")
    if X.ndim != 2:
        way = "X.reshape(-1, 1)" if X.ndim < 2 else "X.reshape(len(X), -1)"
        raise InputError(f"{name} must be 2-D (n_samples, n_features), not of shape {X.shape}: save {way}")
    if 0 in X.shape:
        raise InputError(f"{name} is empty, its shape is {X.shape}: at least one sample and one feature are needed")
    _check_finite(name, X)


def check_target(name: str, y: Array, n_samples: int) -> Array:
    """Return `y` (n_samples,) or (n_samples, n_outputs), one column flattened, if it fits `n_samples`.

    Raises
    ------
    InputError
        As `check_inputs`; text is allowed.
    """
    _check_kind(name, y, "biufU", "numbers or text")
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] == 0):
        raise InputError(f"{name} must be (n_samples,) or (n_samples, n_outputs), not of shape {y.shape}")
    if len(y) != n_samples:
        raise InputError(f"{name} has {len(y)} rows, X has {n_samples}: they must be of the same length")
    _check_finite(name, y)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _member(archive: Any, path: Path, name: str) -> Array:
    try:
        _check_claim(archive.zip, path, name)
        return np.asarray(archive[name])
    except InputError:
        raise
    except ValueError as error:
        raise _not_loaded(f"array {name!r} of {path}", error) from error


def _check_claim(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    """Refuse an array whose header claims more than the file can hold, before memory is taken for it."""
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE_MAX_RATIO}.get(member.compress_type)
    if ratio is None:
        raise InputError(f"array {name!r} of {path} is compressed in an unusual way: save it with numpy.savez")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise InputError(f"array {name!r} of {path} has a header of version {version}: save it with numpy.savez")
        shape, _, dtype = _HEADERS[version](file)
    most = min(member.file_size, ratio * min(member.compress_size, path.stat().st_size))
    if math.prod(shape) * dtype.itemsize > most:
        raise InputError(f"array {name!r} of {path} is damaged: its header says {shape} {dtype}, it holds too little")


def _not_loaded(name: str, error: Exception) -> InputError:
    if "object" in str(error).lower():
        return InputError(
            f"{name} holds Python objects; unpickling may run code, so save it with a numeric or text dtype"
        )
    return InputError(f"{name} cannot be read, it may be damaged or cut short: {' '.join(str(error).split())}")


def _read_idx(path: Path) -> Array:
    on_disk = path.stat().st_size
    with open_binary(path) as file:
        magic = file.read(4)
        dtype, ndim = np.dtype(_IDX_TYPES[magic[2]]), magic[3]
        sizes = file.read(4 * ndim)
        shape = struct.unpack(f">{ndim}I", sizes) if len(sizes) == 4 * ndim else (0,)
        n_bytes = math.prod(shape) * dtype.itemsize
        most = on_disk * _DEFLATE_MAX_RATIO if isinstance(file, gzip.GzipFile) else on_disk
        data = file.read(n_bytes + 1) if n_bytes <= most else b""
    if not n_bytes or len(data) != n_bytes:
        found = "too little" if len(data) <= n_bytes else "more"
        raise InputError(
            f"{path} is damaged: its header says {' x '.join(map(str, shape))} {dtype.name}, it holds {found}"
        )
    array = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    return array.reshape(shape[0], -1) if ndim > 1 else array


def _check_kind(name: str, array: Array, kinds: str, meaning: str) -> None:
    if array.dtype.kind == "c":
        raise InputError(
            f"{name} holds complex numbers ({array.dtype}): save real and imaginary part as columns of their own"
        )
    if array.dtype.kind not in kinds:
        raise InputError(f"{name} is of type {array.dtype}: it must hold {meaning}")


def _check_finite(name: str, array: Array) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _ROWS_AT_ONCE):
        finite = np.isfinite(array[start : start + _ROWS_AT_ONCE])
        if not finite.all():
            row, *column = np.argwhere(~finite)[0].tolist()
            value = array[(start + row, *column)]
            where = f"row {start + row}" + (f", column {column[0]}" if column else "")
            raise InputError(f"{name} holds {value} at {where} (counted from 0): remove or replace such values")
