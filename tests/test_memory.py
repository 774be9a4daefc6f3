"""Out of memory: batches in parts, said once, the same steps; and with memory that really runs out."""

import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
from conftest import assert_trees_close, library

from backprop_xp import InputError, Network, adam, backends, init, make_step
from backprop_xp import step as step_module
from backprop_xp.batches import IndexBatches
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.memory import Sparing, _added_in_a_scan
from backprop_xp.errors import StopTraining

N_SAMPLES, BATCH = 20, 8


def raised_by(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def numpys():
    return raised_by(lambda: np.empty(2**55))


def torchs_on_the_cpu():
    torch = pytest.importorskip("torch")
    return raised_by(lambda: torch.empty(2**55))


def jaxs():
    jax = pytest.importorskip("jax")
    return raised_by(lambda: jax.numpy.zeros(2**45).block_until_ready())


def of(name, module, text, *bases):
    """Return what makes an error like a library's which need not be installed."""
    kind = type(name, bases or (RuntimeError,), {"__module__": module})
    return lambda: kind(text)


ERRORS = {
    "Python": MemoryError,
    "NumPy": numpys,
    "PyTorch on the CPU": torchs_on_the_cpu,
    "PyTorch": of("OutOfMemoryError", "torch", "CUDA out of memory. Tried to allocate 2.00 GiB"),
    "PyTorch 2.4": of("OutOfMemoryError", "torch.cuda", "CUDA out of memory. Tried to allocate 2.00 GiB"),
    "PyTorch, CUDA": of("AcceleratorError", "torch", "CUDA error: out of memory"),
    "PyTorch, cuBLAS": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    "JAX": jaxs,
    "JAX 0.6": of("XlaRuntimeError", "jaxlib.xla_extension", "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"),
    "CuPy": of("OutOfMemoryError", "cupy.cuda.memory", "Out of memory allocating 512 bytes", MemoryError),
    "CuPy, CUDA": of("CUDARuntimeError", "cupy_backends.cuda.api.runtime", "cudaErrorMemoryAllocation: out of memory"),
    "CuPy, cuBLAS": of("CUBLASError", "cupy_backends.cuda.libs.cublas", "CUBLAS_STATUS_ALLOC_FAILED"),
}


def problem(lib=None):
    network, optimizer, rng = Network((3, 6, 2), output="softmax"), adam(0.05), np.random.default_rng(0)
    params, X, Y = init(network, 1), rng.normal(size=(N_SAMPLES, 3)), rng.integers(0, 2, N_SAMPLES).astype(np.int32)
    weight, order = rng.uniform(0.5, 2, N_SAMPLES), rng.permutation(N_SAMPLES).astype(np.int32)
    if lib is not None:
        params, X, weight = lib.params(params), lib.array(X), lib.array(weight)
        Y, order = lib.array(Y, "int32"), lib.array(order, "int32")
    step = make_step(network, "cross_entropy", optimizer, l2=0.01, dropout=0.2, clip_norm=0.5)
    return step, (params, optimizer.init(params), X, Y, IndexBatches(order, N_SAMPLES, BATCH)), weight


@pytest.fixture
def memory_for(monkeypatch):
    """A function (n_rows, error): more rows than that at once, and the error is raised. It returns the rows tried."""
    propagate, tried = step_module.propagate, []

    def limit(n_rows, error=MemoryError):
        def limited(network, params, X, masks, xp):
            tried.append(X.shape[-2])
            if X.shape[-2] > n_rows:
                raise error()
            return propagate(network, params, X, masks, xp)

        monkeypatch.setattr(step_module, "propagate", limited)
        return tried

    return limit


@pytest.mark.parametrize("error", ERRORS)
def test_every_librarys_way_to_be_out_of_memory(memory_for, error):
    step, arguments, weight = problem()
    expected, lines = Eager().run(step, *arguments, weight=weight), []
    memory_for(3, ERRORS[error])
    actual = Sparing(Eager(), lines.append).run(step, *arguments, weight=weight)
    assert_trees_close(actual, expected, rtol=1e-12, atol=1e-14)
    assert lines == ["out of memory: each batch of 8 rows is taken in 4 parts of 2 whose gradients add up"]


def test_every_backend(lib, memory_for):
    step, arguments, weight = problem(lib)
    expected = lib.host(Eager().run(step, *arguments, weight=weight))
    memory_for(3)
    with lib.no_host_reads():
        actual = Sparing(Eager()).run(step, *arguments, weight=weight)
    assert_trees_close(lib.host(actual), expected, rtol=1e-12, atol=1e-14)


def test_later_runs_of_the_step_begin_with_what_was_learned(memory_for):
    step, (params, state, *data), _ = problem()
    expected = Eager().run(step, *Eager().run(step, params, state, *data)[:2], *data)
    tried, lines = memory_for(4), []
    engine = Sparing(Eager(), lines.append)
    first = engine.run(step, params, state, *data)
    assert tried[0] == 8  # whole at first, and never again
    tried.clear()
    assert_trees_close(engine.run(step, *first[:2], *data), expected, rtol=1e-12, atol=1e-14)
    assert tried == [4, 4, 4, 4, 2, 2]
    assert len(lines) == 1
    memory_for(2)
    engine.run(step, params, state, *data)
    assert lines[1:] == ["out of memory: each batch of 8 rows is taken in 4 parts of 2 whose gradients add up"]
    memory_for(8)
    tried.clear()
    engine.run(problem()[0], params, state, *data)  # another step is whole
    assert tried == [8, 8, 4]


def test_nothing_is_split_while_memory_lasts(memory_for):
    step, arguments, weight = problem()
    expected, lines, tried = Eager().run(step, *arguments, weight=weight), [], memory_for(8)
    actual = Sparing(Eager(), lines.append).run(step, *arguments, weight=weight)
    assert_trees_close(actual, expected, rtol=0)
    assert (tried, lines) == ([8, 8, 4], [])


def test_parts_that_do_not_come_out_even(memory_for):
    step, (params, state, X, Y, _), _ = problem()
    memory_for(5)
    lines = []
    Sparing(Eager(), lines.append).run(step, params, state, X, Y, IndexBatches(None, N_SAMPLES, 9))
    assert lines == ["out of memory: each batch of 9 rows is taken in 2 parts of up to 5 whose gradients add up"]


def test_a_batch_is_told_of_once_though_the_run_began_anew(monkeypatch):
    step, arguments, _ = problem()
    expected = Eager().run(step, *arguments)
    propagate, calls, told = step_module.propagate, [], []

    def late(*given):
        calls.append(1)
        if len(calls) == 3:  # two batches are done
            raise MemoryError
        return propagate(*given)

    monkeypatch.setattr(step_module, "propagate", late)
    actual = Sparing(Eager()).run(step, *arguments, on_batch=lambda batch, loss: told.append((batch, float(loss))))
    assert_trees_close(actual, expected, rtol=1e-12, atol=1e-14)
    assert [batch for batch, _ in told] == [0, 1, 2]
    np.testing.assert_allclose([loss for _, loss in told], expected[2], rtol=1e-12)


def test_one_row_at_a_time_and_still_no_memory(memory_for):
    step, arguments, _ = problem()
    tried = memory_for(0)
    with pytest.raises(InputError, match="out of memory, though the rows of a batch were taken one by one") as raised:
        Sparing(Eager()).run(step, *arguments)
    assert isinstance(raised.value.__cause__, MemoryError)
    assert "\n" not in str(raised.value)
    assert tried == [8, 4, 2, 1]


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes"), ValueError("RESOURCE_EXHAUSTED"), InputError("X"), KeyboardInterrupt()]
)
def test_other_errors_pass_on(memory_for, error):
    step, arguments, _ = problem()
    tried = memory_for(3, lambda: error)
    with pytest.raises(type(error)) as raised:
        Sparing(Eager()).run(step, *arguments)
    assert raised.value is error
    assert tried == [8]


def test_a_step_without_parts_passes_the_error_on(memory_for):
    step, arguments, _ = problem()
    tried = memory_for(3)
    with pytest.raises(MemoryError):
        Sparing(Eager()).run(lambda *given: step(*given), *arguments)
    assert tried == [8]


def test_a_callback_out_of_memory_is_not_the_step(memory_for):
    step, arguments, _ = problem()
    tried = memory_for(8)

    def greedy(batch, loss):
        raise MemoryError

    with pytest.raises(MemoryError):
        Sparing(Eager()).run(step, *arguments, on_batch=greedy)
    assert tried == [8]


def test_a_callback_ends_the_run(memory_for):
    step, arguments, _ = problem()
    expected = Eager().run(step, *arguments)
    memory_for(3)

    def stop(batch, loss):
        if batch == 1:
            raise StopTraining

    losses = Sparing(Eager()).run(step, *arguments, on_batch=stop)[2]
    np.testing.assert_allclose(losses, expected[2][:2], rtol=1e-12)


def test_an_error_that_comes_when_the_losses_are_read(monkeypatch):
    step, arguments, _ = problem()
    expected, lines, read = Eager().run(step, *arguments), [], []

    def synchronize(losses):
        read.append(losses)
        if len(read) == 1:
            raise MemoryError

    monkeypatch.setattr(backends, "synchronize", synchronize)
    actual = Sparing(Eager(), lines.append).run(step, *arguments)
    assert_trees_close(actual, expected, rtol=1e-12, atol=1e-14)
    assert len(lines) == 1


class Hoarder:
    """An engine that fails once with an array in its hands."""

    name, n_compiled = "hoarder", 0

    def __init__(self):
        self.kept = None

    def run(self, step, params, opt_state, X, Y, batches, *, weight=None, on_batch=None):
        self.n_compiled += 1
        if self.kept is None:
            held = np.ones(3)
            self.kept = weakref.ref(held)
            raise MemoryError(f"no room beside {held}")
        assert self.kept() is None, "what the failed run held is still there"
        return params, opt_state, np.zeros(batches.n_batches)


def test_what_the_failed_run_held_is_free_before_the_next():
    step, arguments, _ = problem()
    engine = Sparing(Hoarder())
    engine.run(step, *arguments)
    assert (engine.name, engine.n_compiled) == ("hoarder", 2)


def test_pytorchs_cache_is_emptied(monkeypatch, memory_for):
    pytest.importorskip("torch")
    step, arguments, _ = problem()
    emptied = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append(1))
    memory_for(3)
    Sparing(Eager()).run(step, *arguments)
    assert len(emptied) == 2  # before 2 parts, and before 4


def test_no_library_is_loaded_for_it():
    code = (
        "import sys, numpy as np\n"
        "from backprop_xp.engines.memory import _free, is_out_of_memory\n"
        "assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError('CUDA error: shapes'))\n"
        "_free(np.zeros(1))\n"
        "assert not {'cupy', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Compiled(Eager):
    """An engine that compiles steps with JAX."""

    name = "jax"

    def run(self, step, *arguments, **options):
        return super().run(pytest.importorskip("jax").jit(step), *arguments, **options)


@pytest.mark.parametrize("batch_size", [8, 7])
def test_compiled_by_jax(memory_for, batch_size):
    lib = library("jax")
    step, (params, state, X, Y, batches), weight = problem(lib)
    arguments = params, state, X, Y, batches._replace(batch_size=batch_size)
    expected, lines = lib.host(Eager().run(step, *arguments, weight=weight)), []
    memory_for(3)
    actual = Sparing(Compiled(), lines.append).run(step, *arguments, weight=weight)
    assert_trees_close(lib.host(actual), expected, rtol=1e-12, atol=1e-14)
    assert len(lines) == 1


def test_parts_compiled_by_jax_take_less_memory():
    jax = pytest.importorskip("jax")
    network, optimizer = Network((4, 64, 64, 2), output="softmax"), adam(0.1)
    params = jax.tree.map(jax.numpy.asarray, init(network))
    step, zeros = make_step(network, "cross_entropy", optimizer), jax.numpy.zeros
    arguments = params, optimizer.init(params), zeros((4099, 4)), zeros(4099, dtype="int32")

    def peak(step):
        return jax.jit(step).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert peak(step.in_parts(16, add_up=_added_in_a_scan)) < peak(step) / 8


SCARCE = """
import resource, sys
import numpy as np
from backprop_xp import Network, init, make_step, sgd
from backprop_xp.batches import IndexBatches
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.memory import Sparing

network, rule = Network((4, 240, 240, 2), output="softmax"), sgd(0.1)  # so small that eager takes it as it is
rng, n_samples = np.random.default_rng(0), 2**15  # what one hidden layer makes of the rows takes 60 MiB
X, Y = rng.normal(size=(n_samples, 4)), rng.integers(0, 2, n_samples)
step, params = make_step(network, "cross_entropy", rule), init(network)
arguments = params, rule.init(params), X, Y, IndexBatches(None, n_samples, n_samples)
expected = Eager().run(step, *arguments)

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 160 * 2**20,) * 2)
try:
    Eager().run(step, *arguments)
except MemoryError:
    print("the whole batch has no room")
engine = Sparing(Eager(), print)
actual = engine.run(step, *arguments)
for layer, other in zip(actual[0], expected[0]):
    for a, e in zip(layer, other):
        np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-14)
np.testing.assert_allclose(actual[2], expected[2], rtol=1e-12)
print("the same step")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on memory is Linux's")
def test_memory_that_really_runs_out():
    alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a thread's stack is memory too
    result = subprocess.run(
        [sys.executable, "-c", SCARCE], capture_output=True, text=True, env={**os.environ, **alone}, check=False
    )
    assert result.returncode == 0, result.stderr
    first, said, last = result.stdout.splitlines()
    assert (first, last) == ("the whole batch has no room", "the same step")
    assert said.startswith("out of memory: each batch of 32,768 rows is taken in ")


@pytest.mark.gpu
def test_device_memory_that_really_runs_out():
    cupy = pytest.importorskip("cupy")
    try:
        place = backends.select("cuda")
    except InputError as error:
        pytest.skip(str(error))
    network, optimizer, n_samples = Network((4, 256, 256, 2), output="softmax"), adam(0.1), 2**15
    rng = np.random.default_rng(0)
    params = tuple(tuple(backends.to_device(leaf, place) for leaf in layer) for layer in init(network))
    X = backends.to_device(rng.normal(size=(n_samples, 4)), place)
    Y = backends.to_device(rng.integers(0, 2, n_samples), place)
    step = make_step(network, "cross_entropy", optimizer)
    arguments = params, optimizer.init(params), X, Y, IndexBatches(None, n_samples, n_samples)
    expected, lines = Eager().run(step, *arguments), []
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    try:
        pool.set_limit(size=pool.total_bytes() + 160 * 2**20)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            Eager().run(step, *arguments)
        actual = Sparing(Eager(), lines.append).run(step, *arguments)
    finally:
        pool.set_limit(size=0)
    for a, e in zip(actual[0], expected[0], strict=True):
        for leaf, other in zip(a, e, strict=True):
            np.testing.assert_allclose(backends.to_host(leaf), backends.to_host(other), rtol=1e-10, atol=1e-12)
    assert len(lines) == 1
