"""Flags to backends, and what is said when a device or a library is not there."""

import builtins
import contextlib
import importlib
import types

import numpy as np
import pytest
from conftest import LIBRARIES

from backprop_xp import InputError, backends


def test_the_defaults():
    assert backends.select()[::3] == ("numpy", "cpu")
    assert backends.select("auto").label in ("cpu", "cuda:0")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_to_the_device_and_back(lib, dtype):
    there = backends.to_device(np.arange(6).reshape(2, 3), lib.backend, dtype)
    back = backends.to_host(there)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, [[0, 1, 2], [3, 4, 5]])
    backends.synchronize(there)
    again = backends.to_device(there, lib.backend, "float32")
    assert backends.to_host(again).dtype == np.float32


def test_torch_does_not_share_the_callers_memory():
    pytest.importorskip("torch")
    array = np.zeros(3)
    there = backends.to_device(array, backends.select("cpu", "torch"))
    there += 1
    assert not array.any()


@pytest.mark.parametrize(("flags", "message"), [
    (("cuba",), "unknown device 'cuba'; did you mean 'cuda'"),
    (("cuda:x",), "unknown device 'cuda:x'"),
    (("cpu:1",), "unknown device"),
    (("cpu", "numpi"), "unknown backend 'numpi'; did you mean 'numpy'"),
    (("cuda", "numpy"), "'numpy' has no CUDA"),
    (("cpu", "cupy"), "runs on CUDA only"),
    (("cpu", None, "half"), "dtype must be float32 or float64"),
])  # fmt: skip
def test_flags_that_cannot_be(flags, message):
    with pytest.raises(InputError, match=message):
        backends.select(*flags)


@pytest.mark.parametrize("name", [name for name in LIBRARIES if isinstance(name, str) and name != "numpy"] + ["cupy"])
def test_a_missing_library_names_the_command_that_installs_it(monkeypatch, name):
    real = importlib.import_module

    def without(module, *rest):
        if module == name:
            raise ModuleNotFoundError(name=name)
        return real(module, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match=r"not installed: pip install 'backprop-xp\["):
        backends.select("cuda" if name == "cupy" else "cpu", name)


class FakeCupy(types.ModuleType):
    """What CuPy answers on machines with a driver or devices or libraries missing; see FACTS in the tests' names."""

    def __init__(self, driver=13000, devices=1, broken=None):
        super().__init__("cupy")
        self.float32, self.float64 = np.float32, np.float64

        class CUDARuntimeError(RuntimeError):
            pass

        def count():
            if not devices:
                raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
            return devices

        def ones(shape, dtype):
            if broken:
                raise broken
            return types.SimpleNamespace(__matmul__=None)

        runtime = types.SimpleNamespace(
            driverGetVersion=lambda: driver, getDeviceCount=count, CUDARuntimeError=CUDARuntimeError
        )
        self.cuda = types.SimpleNamespace(runtime=runtime, Device=lambda i: types.SimpleNamespace(use=lambda: None))
        self.ones = ones


@pytest.mark.parametrize(("cupy", "device", "message"), [
    (FakeCupy(driver=0, devices=0), "cuda", "no CUDA driver on this machine"),
    (FakeCupy(devices=0), "cuda", "no CUDA device found"),
    (FakeCupy(devices=2), "cuda:2", "has cuda:0 to cuda:1"),
    (FakeCupy(broken=ImportError("libcublas.so.13: cannot open")), "cuda", r"CUDA's libraries \(libcublas.* pip"),
])  # fmt: skip
def test_cuda_that_is_not_whole_gives_the_message_that_helps(monkeypatch, cupy, device, message):
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name, *rest: cupy if name == "cupy" else real(name, *rest))
    with pytest.raises(InputError, match=message):
        backends.select(device)
    assert backends.select("auto").name == "numpy" or device != "cuda"


def test_what_a_librarys_pool_holds_free_counts_as_free(monkeypatch):
    cupy = FakeCupy()
    cupy.cuda.runtime.memGetInfo = lambda: (1_000, 9_000)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 500)
    asked = []
    cuda = types.SimpleNamespace(
        mem_get_info=lambda device: (asked.append(device) or 2_000, 9_000),
        memory_reserved=lambda device: 700,
        memory_allocated=lambda device: 300,
    )
    fakes = {"cupy": cupy, "torch": types.SimpleNamespace(cuda=cuda)}
    monkeypatch.setattr(importlib, "import_module", fakes.__getitem__)
    assert backends.free_memory(backends.Backend("cupy", np, contextlib.nullcontext(), "cuda:0")) == 1_500
    assert backends.free_memory(backends.Backend("torch", np, "cuda:1", "cuda:1")) == 2_400
    assert asked == ["cuda:1"]


def test_jax_in_float64_needs_to_be_told(monkeypatch):
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(type(jax.config), "jax_enable_x64", False, raising=False)
    with pytest.raises(InputError, match="JAX_ENABLE_X64=1"):
        backends.select("cpu", "jax", "float64")


def test_what_is_installed_is_told_with_its_command():
    rows = {row.name: row for row in backends.installed()}
    assert set(rows) == {"cupy", "jax", "torch", "numba", "array_api_strict"}
    assert all(row.install.startswith("pip install 'backprop-xp[") for row in rows.values())
    assert rows["array_api_strict"].version is not None


def test_nothing_optional_is_imported_for_the_cpu(monkeypatch):
    real = builtins.__import__

    def guarded(name, *rest, **named):
        assert name.split(".")[0] not in ("cupy", "jax", "torch", "numba", "array_api_strict")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert backends.select("cpu").name == "numpy"


def test_the_backend_of_an_array_is_the_one_it_was_made_by(lib):
    assert backends.of(lib.array([1.0])) == lib.backend
