"""Backends by a flag: (device, backend) -> a namespace and a device of it; arrays to and from it; what is missing.

CuPy, JAX, PyTorch and array-api-strict are imported inside functions here, and only when they are asked for.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from backprop_xp.errors import InputError, lookup, nearest
from backprop_xp.namespaces import NUMPY, namespace_of

Array = Any

# Names the device of host input whose estimator names none; `accel` sets it, so that worker processes inherit it.
DEVICE_VARIABLE = "BACKPROP_XP_DEVICE"


class Backend(NamedTuple):
    """An array library and a device of it.

    Parameters
    ----------
    name : str
        "numpy", "cupy", "jax", "torch" or "array_api_strict".
    xp : namespace
    device : object
        As the library names it, for `device=` in its functions.
    label : str
        As the user names it: "cpu", "cuda:0", ...
    """

    name: str
    xp: Any
    device: Any
    label: str


def select(device: str = "cpu", backend: str | None = None, dtype: str = "float32") -> Backend:
    """Return the backend for the flags.

    Parameters
    ----------
    device : str
        "cpu", "cuda", "cuda:1", ... or "auto": CUDA where the backend finds it, else the CPU. array-api-strict also
        has "device1" and "device2".
    backend : str, optional
        None is NumPy on the CPU and CuPy on CUDA.
    dtype : str
        "float32" or "float64"; JAX has the second only when told to.

    Raises
    ------
    InputError
        If a name is unknown, the library is not installed or the device is not there; the message says what to do.
    """
    if backend is not None:
        lookup("backend", backend, _SELECTORS)
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype must be float32 or float64, not {dtype!r}{nearest(dtype, ('float32', 'float64'))}")
    device = str(device)
    if device == "auto":
        return _first_that_works(backend, dtype)
    kind, _, index = device.partition(":")
    if backend == "array_api_strict":
        return _array_api_strict(device, 0, dtype)
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise InputError(f"unknown device {device!r}{nearest(kind, ('cpu', 'cuda', 'auto'))}, cuda:1 and so on")
    name = backend or {"cpu": "numpy", "cuda": "cupy"}[kind]
    return _SELECTORS[name](kind, int(index or 0), dtype)


def _first_that_works(backend: str | None, dtype: str) -> Backend:
    """CUDA where the backend finds it, else the CPU; CuPy has no CPU, so there NumPy."""
    try:
        return select("cuda", backend, dtype)
    except InputError:
        return select("cpu", None if backend == "cupy" else backend, dtype)


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"backend {module!r} needs {module}, {lacking(extra, error)}") from None


def lacking(extra: str, error: ImportError) -> str:
    """Return why a library is not there, "which is not installed", and the command that installs its extra."""
    why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    return f"which {why}: {install(extra)}"


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'backprop-xp[{extra}]'"


def _numpy(kind: str, index: int, dtype: str) -> Backend:
    if kind != "cpu":
        raise InputError("backend 'numpy' has no CUDA: leave --backend out (CuPy), or use cupy, jax or torch")
    return Backend("numpy", NUMPY, "cpu", "cpu")


def _cupy(kind: str, index: int, dtype: str) -> Backend:
    if kind != "cuda":
        raise InputError("backend 'cupy' runs on CUDA only: use --device cuda, or --backend numpy on the CPU")
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise InputError(
            f"device 'cuda' needs CuPy, {lacking('cuda12', error)} (or cuda13, as nvidia-smi shows)"
        ) from None
    _require_cuda(cupy, index)
    from array_api_compat import cupy as xp

    return Backend("cupy", xp, cupy.cuda.Device(index), f"cuda:{index}")


def _require_cuda(cupy: Any, index: int) -> None:
    """Raise the error that helps unless CuPy can compute on that device: no driver, no device, or no libraries."""
    runtime = cupy.cuda.runtime
    try:
        driver, count = runtime.driverGetVersion(), runtime.getDeviceCount()
    except runtime.CUDARuntimeError:
        driver, count = _driver_version(runtime), 0
    if driver == 0:
        raise InputError("device 'cuda': no CUDA driver on this machine: install NVIDIA's driver, or use --device cpu")
    if count == 0:
        raise InputError("device 'cuda': no CUDA device found (does nvidia-smi list one?): use --device cpu")
    if index >= count:
        raise InputError(f"device 'cuda:{index}' does not exist: this machine has cuda:0 to cuda:{count - 1}")
    cupy.cuda.Device(index).use()
    try:
        _smoke(cupy)
    except (
        Exception
    ) as error:  # any of ImportError, DynamicLibNotFoundError, CompileException: the libraries are missing
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"device 'cuda': CuPy finds the GPU but not CUDA's libraries ({cause}): {install('cuda12')} brings them"
        ) from None


def _driver_version(runtime: Any) -> int:
    try:
        return int(runtime.driverGetVersion())
    except runtime.CUDARuntimeError:
        return 0


def _smoke(cupy: Any) -> None:
    """Use cuBLAS and NVRTC once."""
    ones = cupy.ones((2, 2), dtype=cupy.float32)
    (ones @ ones + 1.0).get()


def _jax(kind: str, index: int, dtype: str) -> Backend:
    jax = _import("jax", "jax")
    if dtype == "float64" and not jax.config.jax_enable_x64:
        raise InputError("JAX computes in float32 unless the environment says JAX_ENABLE_X64=1: set it, or use float32")
    try:
        devices = jax.devices(kind)
    except RuntimeError:
        raise InputError("JAX finds no CUDA device: pip install 'jax[cuda12]', or use --device cpu") from None
    if index >= len(devices):
        raise InputError(f"JAX has no device {kind}:{index}, only {len(devices)} of {kind}")
    import jax.numpy as xp

    return Backend("jax", xp, devices[index], kind if kind == "cpu" else f"{kind}:{index}")


def _torch(kind: str, index: int, dtype: str) -> Backend:
    torch = _import("torch", "torch")
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise InputError(
            f"PyTorch finds {torch.cuda.device_count()} CUDA devices, so there is no 'cuda:{index}': "
            "install a build with CUDA, or use --device cpu"
        )
    from array_api_compat import torch as xp

    label = kind if kind == "cpu" else f"{kind}:{index}"
    return Backend("torch", xp, torch.device(label), label)


def _array_api_strict(device: str, index: int, dtype: str) -> Backend:
    xp = _import("array_api_strict", "test")
    known = {"cpu": "CPU_DEVICE", "device1": "device1", "device2": "device2"}
    return Backend("array_api_strict", xp, xp.Device(lookup("device", device, known)), device)


_SELECTORS: dict[str, Callable[[str, int, str], Backend]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "jax": _jax,
    "torch": _torch,
    "array_api_strict": _array_api_strict,
}


def of(array: Array) -> Backend:
    """Return the backend that an array is of: its library, and the device it lies on.

    Parameters
    ----------
    array : array of any library of the array API
    """
    xp = namespace_of(array)
    if xp is NUMPY:
        return _numpy("cpu", 0, "float32")
    device = array_api_compat.device(array)
    for name, (ours, label) in _LIBRARIES.items():
        if ours(array):
            return Backend(name, xp, device, label(device))
    return Backend(xp.__name__, xp, device, str(device))


_LIBRARIES: dict[str, tuple[Callable[[Any], bool], Callable[[Any], str]]] = {
    "cupy": (array_api_compat.is_cupy_array, lambda device: f"cuda:{device.id}"),
    "jax": (array_api_compat.is_jax_array, lambda device: "cpu" if device.platform == "cpu" else f"cuda:{device.id}"),
    "torch": (array_api_compat.is_torch_array, str),
    "array_api_strict": (
        lambda array: type(array).__module__.startswith("array_api_strict"),
        lambda device: str(device).split("'")[1].replace("CPU_DEVICE", "cpu"),
    ),
}


def to_device(array: Any, backend: Backend, dtype: str | None = None) -> Array:
    """Return the array on the backend's device, in the data type named; NumPy arrays are not copied needlessly."""
    xp = backend.xp
    kind = None if dtype is None else getattr(xp, dtype)
    if not isinstance(array, np.ndarray):
        if array_api_compat.is_array_api_obj(array) and namespace_of(array) is xp:
            array = array_api_compat.to_device(array.detach() if backend.name == "torch" else array, backend.device)
            return array if kind is None or array.dtype == kind else xp.astype(array, kind)
        array = to_host(array)
    array = np.asarray(array, dtype=dtype)
    if backend.name == "numpy":
        return array
    if backend.name == "torch":  # torch.asarray would share memory with the caller's array, and warn if it is read-only
        return xp.asarray(np.array(array), device=backend.device)
    return xp.asarray(array, device=backend.device)


def to_host(array: Any) -> NDArray[Any]:
    """Return the array as a NumPy array, waiting for the device if need be."""
    if array_api_compat.is_torch_array(array):
        array = array.detach()
    if array_api_compat.is_cupy_array(array) or array_api_compat.is_torch_array(array):
        array = array_api_compat.to_device(array, "cpu")
    elif _LIBRARIES["array_api_strict"][0](array):
        array = array.to_device(importlib.import_module("array_api_strict").Device("CPU_DEVICE"))
    return np.asarray(array)


def synchronize(array: Array) -> None:
    """Wait until the work that makes `array` is done."""
    if array_api_compat.is_cupy_array(array):
        array.device.synchronize()
    elif array_api_compat.is_torch_array(array) and array.is_cuda:
        importlib.import_module("torch").cuda.synchronize(array.device)
    elif array_api_compat.is_jax_array(array):
        array.block_until_ready()


def free_memory(backend: Backend) -> int | None:
    """Return the bytes that can still be had on the device, within this process's limits; None if nothing tells."""
    if backend.name == "cupy":
        with backend.device:
            cupy = importlib.import_module("cupy")
            free: int = cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()
        return free
    if str(backend.device).startswith("cuda"):
        if backend.name != "torch":
            return None
        cuda = importlib.import_module("torch").cuda
        kept = cuda.memory_reserved(backend.device) - cuda.memory_allocated(backend.device)
        return int(cuda.mem_get_info(backend.device)[0] + kept)
    free_on_host = [*_free_of_the_machine(), *_free_under_limits()]
    return min(free_on_host, default=None)


def _free_of_the_machine() -> Iterator[int]:
    """Yield what Linux says can be had without swapping, and what its control group leaves."""
    with contextlib.suppress(OSError, ValueError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        yield int(lines["MemAvailable"].split()[0]) * 1024
    with contextlib.suppress(OSError, ValueError, KeyError):
        group = Path("/sys/fs/cgroup")
        counted = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cache = int(counted["active_file"]) + int(counted["inactive_file"])  # is given back when memory is wanted
        yield int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()) + cache


def _free_under_limits() -> Iterator[int]:
    """Yield what the limit of this process's address space leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        resource = importlib.import_module("resource")
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


class Library(NamedTuple):
    """What `installed` tells of an optional library."""

    name: str
    version: str | None
    devices: str
    adds: str
    install: str


_ADDS = {
    "cupy": ("--device cuda: training on NVIDIA GPUs", "cuda12"),
    "jax": ("--engine jax, --backend jax: compiled by XLA; CPU, CUDA, TPU", "jax"),
    "torch": ("--engine torch, --backend torch: PyTorch tensors; CPU and CUDA", "torch"),
    "numba": ("--engine loops: epochs compiled to loops, for networks of any size", "numba"),
    "array_api_strict": ("--backend array_api_strict: the standard and nothing else, for tests", "test"),
}


def installed() -> list[Library]:
    """Return each optional library: its version, the devices it sees, and the command that installs it."""
    rows = []
    for name, (adds, extra) in _ADDS.items():
        if importlib.util.find_spec(name) is None:
            rows.append(Library(name, None, "", adds, install(extra)))
            continue
        labels = ["cpu"] if name == "numba" else []
        for device in () if name == "numba" else ("cpu", "cuda"):
            try:
                labels.append(select(device, name).label)
            except InputError as error:
                if name == "cupy" and device == "cuda":
                    labels.append(str(error))
        rows.append(Library(name, importlib.import_module(name).__version__, ", ".join(labels), adds, install(extra)))
    return rows
