"""Memory told before it is taken."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import backends, footprint
from backprop_xp.errors import InputError

NETWORK = bx.Network((8, 16, 1))
X, y = np.ones((1000, 8)), np.zeros(1000)


def test_a_network_that_cannot_fit_is_refused_with_the_figure():
    with pytest.raises(InputError, match=r"needs about [\d,]+\.\d GiB of memory .* for parameters .* narrower layers"):
        bx.Trainer(bx.Network((10**7, 10**7, 1)))


def test_data_that_cannot_fit_are_refused_with_the_figure_and_nothing_is_lost(monkeypatch):
    trainer = bx.Trainer(NETWORK, epochs=1)
    before = [leaf.tobytes() for layer in trainer.params for leaf in layer]
    monkeypatch.setattr(backends, "free_memory", lambda backend: 30_000)
    with pytest.raises(InputError, match=r"0\.0 MiB for the data\), and cpu has 0\.0 MiB free: give fewer rows"):
        trainer.fit(X, y)
    assert [leaf.tobytes() for layer in trainer.params for leaf in layer] == before
    trainer.fit(X[:100], y[:100])
    trainer.fit(X.astype("float32"), y.astype("float32"))  # used as they lie


def test_what_nothing_tells_is_not_refused(monkeypatch):
    monkeypatch.setattr(backends, "free_memory", lambda backend: None)
    bx.Trainer(NETWORK, epochs=1).fit(X, y)


def test_figures():
    here = backends.select("cpu", None, "float32")
    assert footprint.of_parameters(NETWORK, "float64") == 8 * (8 * 16 + 16 + 16 + 1)
    assert footprint.of_parameters(bx.Network((3, 4, 2), bias="shared"), "float32") == 4 * (12 + 1 + 8 + 1)
    assert footprint.of_parameters(bx.Network((3, 4, 2), bias=False), "float32") == 4 * 20
    assert footprint.of_training(bx.Network((3, 2), bias=False), "float32") == 3 * 4 * (6 + 5)
    assert footprint.of_copy(X, here, "float32") == 4 * 8000
    assert footprint.of_copy(X, here, "float64") == 0


def test_every_library_takes_a_copy_of_numpys_arrays(other):
    assert footprint.of_copy(X, other.backend, "float64") == 8 * 8000
    assert footprint.of_copy(other.array(X), other.backend, "float64") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's figures")
def test_the_limit_of_the_process_counts():
    program = """
        import resource
        from pathlib import Path
        from backprop_xp import backends
        here = backends.select()
        free = backends.free_memory(here)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**26, held + 2**26))
        print(free, backends.free_memory(here))
    """
    told = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    free, limited = map(int, told.stdout.split())
    assert 0 < limited <= 2**26 < free
