"""The record of the machine: what the figures were measured on, and with which versions. No names of hosts or users."""

import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from backprop_xp import backends, environment
from backprop_xp.errors import InputError

LIBRARIES = ("backprop-xp", "numpy", "scikit-learn", "jax", "torch", "numba", "cupy-cuda12x", "cupy-cuda13x")

# Variables by which a library is bidden to take other kernels than it would for this processor: a rival's users have
# none of them set, and they may halve its rate.
KERNELS = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "MKL_CBWR",
    "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
)  # fmt: skip


def unbidden() -> dict[str, str]:
    """Return the environment without these variables."""
    return {name: value for name, value in os.environ.items() if name not in KERNELS}


def record(threads: int) -> dict[str, Any]:
    """Return the machine as JSON values; what cannot be found out is None."""
    cpu, gpu = environment.processor(), device()
    return {
        "name": name(cpu, gpu),
        "processor": cpu,
        "cores": cores(),
        "threads": threads,
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": environment.blas(),
        "libraries": {library: _version(library) for library in LIBRARIES if _version(library)},
        "device": gpu,
    }


def name(cpu: str, gpu: dict[str, Any] | None) -> str:
    """Return what a folder of this machine's results is called."""
    said = (
        gpu["name"]
        if gpu
        else f"{re.sub(r'[0-9]+-Core.*|CPU.*|Processor.*|[(]R[)]|[(]TM[)]', '', cpu)} {cores()} cores"
    )
    return re.sub(r"[^a-z0-9]+", "-", said.lower()).strip("-")


def cores() -> int:
    """Return the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device() -> dict[str, Any] | None:
    """Return the CUDA device that CuPy finds, None without one."""
    try:
        backends.select("cuda", "cupy")
    except InputError:
        return None
    runtime = importlib.import_module("cupy").cuda.runtime
    properties = runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(),
        "memory_bytes": properties["totalGlobalMem"],
        "driver": str(runtime.driverGetVersion()),
        "runtime": str(runtime.runtimeGetVersion()),
    }


def pace() -> float:
    """Return the seconds that a fixed loop takes now: it shows what else this machine does, and its neighbours do."""
    start = time.perf_counter()
    for _ in range(200_000):
        pass
    return time.perf_counter() - start


def unrest(paces: Sequence[float]) -> float | None:
    """Return how many times as long the fixed loop took in the slow rounds as in the quick ones: 1 is a quiet machine.

    Without the slowest and the quickest tenth; None of fewer than ten rounds.
    """
    if len(paces) < 10:
        return None
    quick, slow = np.quantile(paces, (0.1, 0.9))
    return float(slow / quick)


def _memory() -> int | None:
    if "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
