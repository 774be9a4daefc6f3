"""What a run's figures depend on beside its data and settings: versions, BLAS, processor."""

import os
import platform
import re
from pathlib import Path

import numpy as np

from backprop_xp import __version__


def described() -> list[tuple[str, str]]:
    """Return rows of a name and what this machine has by that name."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return [
        ("backprop-xp", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("NumPy", f"{np.__version__}, BLAS {blas.get('name')} {blas.get('version')}"),
        ("processor", f"{processor()}, {os.cpu_count()} cores"),
    ]


def processor() -> str:
    """Return the processor's name."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
