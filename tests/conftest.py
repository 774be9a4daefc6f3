"""Backends under test: one fixture, `lib`, for every array library that is importable."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("JAX_ENABLE_X64", "1")  # before jax is imported: the proofs are in float64
sys.path.append(str(Path(__file__).parent.parent))  # for `benchmarks`; last, so that an installed package is tested

import numpy as np
import pytest

from backprop_xp import backends
from backprop_xp.errors import InputError

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: the tests of Ctrl-C want it
    signal.signal(signal.SIGINT, signal.default_int_handler)

LIBRARIES = ["numpy", "array_api_strict", "jax", "torch", pytest.param("cupy", marks=pytest.mark.gpu)]
DEVICES = {"array_api_strict": "device1", "cupy": "cuda"}


class Lib(NamedTuple):
    """An array library under test."""

    name: str
    backend: backends.Backend

    @property
    def xp(self) -> Any:
        return self.backend.xp

    def array(self, values: Any, dtype: str = "float64") -> Any:
        return backends.to_device(np.asarray(values), self.backend, dtype)

    def params(self, params: Any) -> Any:
        return tuple(tuple(None if leaf is None else self.array(leaf, str(leaf.dtype)) for leaf in p) for p in params)

    def host(self, tree: Any) -> Any:
        """Return a tree of tuples with host arrays for leaves."""
        if tree is None or isinstance(tree, int | float):
            return tree
        if isinstance(tree, tuple | list):
            return tuple(self.host(leaf) for leaf in tree)
        return backends.to_host(tree)

    @contextlib.contextmanager
    def no_host_reads(self) -> Iterator[None]:
        """Forbid `float(x)`, `bool(x)` and the like: on array-api-strict, whose device stands for a GPU."""
        if self.name != "array_api_strict":
            yield
            return
        cls = type(self.array(0.0))

        def refuse(*_: Any) -> Any:
            raise AssertionError("a value was read back to the host")

        with pytest.MonkeyPatch.context() as patch:
            for method in ("__float__", "__bool__", "__int__", "__index__", "__complex__"):
                patch.setattr(cls, method, refuse)
            yield


def library(name: str) -> Lib:
    if name != "cupy":
        pytest.importorskip(name)
    try:
        return Lib(name, backends.select(DEVICES.get(name, "cpu"), name, "float64"))
    except InputError as error:
        if name != "cupy":
            raise
        pytest.skip(str(error))


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Lib:
    """Every library."""
    return library(request.param)


@pytest.fixture(params=LIBRARIES[1:])
def other(request: pytest.FixtureRequest) -> Lib:
    """Every library but NumPy, which is the reference."""
    return library(request.param)


def assert_trees_close(actual: Any, expected: Any, rtol: float, atol: float = 0.0) -> None:
    """Compare nested tuples of arrays, leaf by leaf, with shape and data type."""
    if expected is None:
        assert actual is None
    elif isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_trees_close(a, e, rtol, atol)
    else:
        assert np.shape(actual) == np.shape(expected)
        assert np.asarray(actual).dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def opens(browser: Any) -> Iterator[Any]:
    """A function (path, width, dark) that opens a page; afterwards nothing may have been said or asked for."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def opened(path: Path, width: int = 1200, dark: bool = False) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert all(url.startswith(("file://", "data:")) for url in asked)
