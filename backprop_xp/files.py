"""Files that are there whole, or not at all, whatever happens while they are written."""

import os
import tempfile
from pathlib import Path

from backprop_xp.errors import InputError


def user_path(name: str | Path) -> Path:
    """Return the path, ~ being the home directory; a name such as ~$book.csv, which is no user's, stays as it is."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one: beside it, synced, then renamed.

    Raises
    ------
    OSError
        If it cannot be written; no temporary file stays behind.
    """
    handle, name = tempfile.mkstemp(prefix=temporary(path), dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp's files are for their owner alone
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def temporary(path: Path) -> str:
    """Return what the names of the temporary files of `write_whole` begin with."""
    return f".{path.name}."


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user asked for, as `write_whole`; a link to one stays a link.

    Raises
    ------
    InputError
        If the path cannot be written; no temporary file stays behind.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {str(path)!r}: it is no regular file; choose another --output")
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}; choose another --output") from None
