"""What a run's figures depend on beside its data and settings: versions, BLAS, processor."""

import os
import platform
import re
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from backprop_xp import __version__


def described() -> list[tuple[str, str]]:
    """Return rows of a name and what this machine has by that name."""
    return [
        ("backprop-xp", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("NumPy", f"{np.__version__}, BLAS {blas()}"),
        ("processor", f"{processor()}, {os.cpu_count()} cores"),
    ]


def blas() -> str:
    """Return NumPy's BLAS and, of OpenBLAS, for which processor it takes its kernels: half its rate may lie there."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    taken = {str(pool["architecture"]) for pool in threadpool_info() if pool.get("internal_api") == "openblas"}
    bidden = " by OPENBLAS_CORETYPE" if os.environ.get("OPENBLAS_CORETYPE") else ""
    kernels = [f"{kind} kernels{bidden}" for kind in sorted(taken)]
    return ", ".join([f"{built.get('name')} {built.get('version')}", *kernels])


def processor() -> str:
    """Return the processor's name."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
