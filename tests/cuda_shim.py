"""A stand-in for a CUDA device: the kernels' own source through the C++ compiler, graphs as lists of calls."""

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

SHIM = Path(__file__).with_name("cuda_shim.h")
_ENTRY = 'extern "C" void {0}_on_cpu(int n, int reverse, void** p) {{ run_blocks({0}, n, reverse, p); }}\n'


@functools.cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="kernels")


@functools.cache
def library(text):
    """Compile kernels for the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++: apt-get install g++")
    entries = "".join(_ENTRY.format(name) for name in dict.fromkeys(re.findall(r"launch_\d+", text)))
    stem = Path(_folder().name) / hashlib.sha256(text.encode()).hexdigest()[:16]
    stem.with_suffix(".cpp").write_text(f'#include "{SHIM}"\n{text}\n{entries}')
    # Signed overflow, which is undefined, stops the process.
    checks = ["-fsanitize=signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]
    options = ["-std=c++17", "-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC", *checks]
    command = ["g++", *options, "-o", stem.with_suffix(".so")]
    done = subprocess.run([*command, stem.with_suffix(".cpp")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    return ctypes.CDLL(str(stem.with_suffix(".so")))


def execute(function, n_blocks, arrays, *, reverse=False):
    assert all(array.flags.c_contiguous for array in arrays)
    pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    function(n_blocks, int(reverse), pointers)


class CpuDevice:
    """Runs launches at once, or records them while capturing and runs them at each replay.

    Attributes
    ----------
    graphs : list of list of (str, arrays)
        What each captured graph launches: kernels by "kernel", products by "product".
    replayed : list of int
        Which graphs were run, by their place in `graphs`.
    """

    def __init__(self, *, reverse=False, fails_at=None):
        self.graphs, self.replayed, self.reverse, self.fails_at = [], [], reverse, fails_at
        self._recording = None
        self.capturing = False

    def owns(self, array):
        return isinstance(array, np.ndarray)

    def zeros(self, n_bytes):
        assert not self.capturing
        return np.zeros(n_bytes, np.uint8)

    def contiguous(self, array):
        return np.ascontiguousarray(array)

    def compiled(self, text):
        if self.fails_at == "compile":
            raise RuntimeError("no compiler here\nand a second line")
        found = library(text)
        return lambda name: getattr(found, f"{name}_on_cpu")

    def launch(self, kernel, n_blocks, arrays):
        self._do(("kernel", *arrays), lambda: execute(kernel, n_blocks, arrays, reverse=self.reverse))

    def multiply(self, a, a_transposed, b, b_transposed, out):
        left, right = a.T if a_transposed else a, b.T if b_transposed else b
        self._do(("product", a, b, out), lambda: np.matmul(left, right, out=out))

    def _do(self, record, call):
        if self._recording is None:
            call()
            return
        if self.fails_at == "capture" and len(self._recording) == 3:
            raise RuntimeError("operation not permitted when stream is capturing")
        self._recording.append((record, call))

    def captured(self, work):
        self._recording, self.capturing = [], True
        try:
            work()
            calls = self._recording
        finally:
            self._recording, self.capturing = None, False
        number = len(self.graphs)
        self.graphs.append([record for record, _ in calls])

        def replay():
            self.replayed.append(number)
            for _, call in calls:
                call()

        return replay

    def rehearsed(self, work):
        work()

    def follow(self):
        pass

    def hand_over(self):
        pass
