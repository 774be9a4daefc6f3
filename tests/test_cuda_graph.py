"""The CUDA-graph engine: on the CPU against a stand-in for the device, and on a GPU what only one can show."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_trees_close, library
from cuda_shim import CpuDevice

import backprop_xp as bx
from backprop_xp import schedules
from backprop_xp.batches import IndexBatches, epoch_order
from backprop_xp.engines.cuda_graph import CudaGraph
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.kernels.device import CupyDevice
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import InputError, StopTraining
from backprop_xp.packing import pack

N, SIZE = 41, 16  # two full batches and a short one


def problem(optimizer=None, dtype="float64", widths=(6, 11, 3), n=N, **settings):
    """Return a step, its first state, and data."""
    network, rule = bx.Network(widths, activation="tanh", output="softmax"), optimizer or bx.adam(0.01)
    step = bx.make_step(network, "cross_entropy", rule, **settings)
    params = bx.init(network, dtype=dtype)
    if settings.get("packed"):
        params = pack(params)
    generator = np.random.default_rng(2)
    X, Y = generator.normal(size=(n, widths[0])).astype(dtype), generator.integers(0, widths[-1], n)
    return step, params, rule.init(params), X, Y


def epochs(engine, given, n_epochs, *, shuffle=True, size=SIZE, to=lambda x: x, **keywords):
    """Return the state and all losses after some epochs."""
    step, params, opt_state, X, Y = given
    losses = []
    for epoch in range(n_epochs):
        order = to(epoch_order(0, epoch, len(X))) if shuffle else None
        batches = IndexBatches(order, len(X), size)
        params, opt_state, of_epoch = engine.run(step, params, opt_state, X, Y, batches, **keywords)
        losses.append(of_epoch)
    return params, tuple(opt_state), losses


def compared(given, n_epochs, rtol, device=None, atol=0.0, **keywords):
    device, said = device or CpuDevice(), []
    actual = epochs(CudaGraph(said.append, device=device), given, n_epochs, **keywords)
    assert_trees_close(actual, epochs(Eager(), given, n_epochs, **keywords), rtol, atol)
    assert device.graphs, said
    return actual


RULES = {"sgd": bx.sgd(0.1), "nesterov": bx.nesterov(0.05), "adam": bx.adam(0.002)}


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("name", RULES)
def test_a_thousand_steps_with_dropout_and_short_last_batches(name, dtype, limit):
    compared(problem(RULES[name], dtype, dropout=0.2), 334, limit, atol=limit)


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_norm": 0.1}, {"l2": 0.1, "l2_per_batch": True}, {"packed": True}, {"packed": True, "clip_norm": 0.1},
        {"optimizer": bx.adamw(schedules.warmup_cosine(0.1, 3, 10)), "multipliers": ((0.0, 2.0), (0.5, 1.0))},
        {"widths": (6, 3)}, {"widths": (6, 8, 8, 8, 3)}, {"n": 33}, {"n": 32}, {"n": 5}, {"n": 1},
    ],
    ids=", ".join,
)  # fmt: skip
def test_steps_of_every_kind(settings):
    for keywords in ({}, {"shuffle": False}, {"weight": np.linspace(0.5, 2.0, settings.get("n", N))}):
        compared(problem(**settings), 3, 1e-12, atol=1e-14, **keywords)


def test_large_batches_whose_sums_take_two_stages():
    compared(problem(n=1500, clip_norm=0.1), 2, 1e-12, atol=1e-14, size=1100)


def test_the_order_of_threads_and_blocks_changes_no_bit():
    given = problem(dropout=0.3, clip_norm=0.5, n=700)
    one, other = (compared(given, 2, 1e-10, CpuDevice(reverse=reverse), size=600) for reverse in (False, True))
    assert_trees_close(one, other, 0.0)


def test_nothing_is_gathered_where_the_batch_is_the_data():
    device = CpuDevice()
    given = problem()
    compared(given, 3, 1e-12, device, shuffle=False, size=N)
    kind, first, _, _ = device.graphs[0][0]
    assert kind == "product"
    assert first.ctypes.data == given[3].ctypes.data


def test_graphs_use_the_same_memory_at_every_replay_and_take_turns():
    device, given = CpuDevice(), problem()
    compared(given, 2, 1e-12, device)
    assert len(device.graphs) == 3  # even and odd full steps; the short one is always the third, so even
    assert device.replayed == [0, 1, 2, 0, 1, 2]
    kinds = [[kind for kind, *_ in graph] for graph in device.graphs]
    assert kinds[0] == kinds[1] == kinds[2]
    assert kinds[0].count("product") == 5
    assert len(kinds[0]) == 10

    def addresses(graph, n):
        return [array.ctypes.data for array in device.graphs[graph][n][1:]]

    assert addresses(0, 0) != addresses(1, 0)  # the number of the step is read from the other place
    products = [n for n, kind in enumerate(kinds[0]) if kind == "product"]
    assert all(addresses(0, n) == addresses(1, n) for n in products)
    everything = {address for n in range(10) for graph in (0, 1) for address in addresses(graph, n)}
    assert all(set(addresses(2, n)) <= everything for n in range(10))  # the short batch takes no memory of its own
    weights = {device.graphs[0][n][2].ctypes.data for n in products[:2]}
    updated = set(addresses(0, 9))
    assert weights < updated  # the last launch writes the weights where the products read them


def test_the_arrays_given_and_those_returned_stay_as_they_are():
    step, params, opt_state, X, Y = problem()
    engine, batches = CudaGraph(device=CpuDevice()), IndexBatches(None, N, SIZE)
    before = [x.copy() for x in leaves((params, opt_state))]
    first = engine.run(step, params, opt_state, X, Y, batches)
    kept = [x.copy() for x in leaves(first)]
    second = engine.run(step, first[0], first[1], X, Y, batches)
    again = engine.run(step, first[0], first[1], X, Y, batches)
    for x, y in zip([*leaves((params, opt_state)), *leaves(first)], [*before, *kept], strict=True):
        np.testing.assert_array_equal(x, y)
    assert_trees_close(again, second, 0.0)
    first[0][0][0][...] = 0.0  # the caller may do what he likes with them
    zeroed = engine.run(step, first[0], first[1], X, Y, batches)
    assert_trees_close(zeroed, Eager().run(step, first[0], first[1], X, Y, batches), 1e-12, 1e-14)


def test_the_learning_rate_may_be_replaced_between_epochs():
    step, params, opt_state, X, Y = problem(bx.sgd(0.1))
    batches = IndexBatches(None, N, SIZE)
    results = []
    for engine in (CudaGraph(device=CpuDevice()), Eager()):
        state = engine.run(step, params, opt_state, X, Y, batches)
        slower = state[1]._replace(learning_rate=state[1].learning_rate / 7)
        results.append(engine.run(step, state[0], slower, X, Y, batches))
    assert_trees_close(results[0], results[1], 1e-12)


def test_each_batch_is_told_of_with_a_loss_that_stays():
    told, device = [], CpuDevice()
    compared(problem(), 2, 1e-12, device, on_batch=lambda n, loss: told.append((n, loss)))
    ours, eager = told[:6], told[6:]
    assert [n for n, _ in ours] == [0, 1, 2, 0, 1, 2]
    for (_, loss), (_, expected) in zip(ours, eager, strict=True):
        assert loss.shape == ()
        np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopTraining])
@pytest.mark.parametrize("last", [0, 1])
def test_an_epoch_that_is_ended_keeps_its_finished_steps(error, last):
    def on_batch(n, loss):
        if n == last:
            raise error

    *state, losses = compared(problem(), 1, 1e-12, on_batch=on_batch)
    assert losses[0].shape == (last + 1,)
    assert state[1][0] == last + 1


def interrupted(device, when):
    """Let Ctrl-C come before or right after the second launch of a graph."""
    captured = device.captured

    def capture(work):
        replay = captured(work)

        def launch():
            if len(device.replayed) == 1 and when == "before":
                raise KeyboardInterrupt
            replay()
            if len(device.replayed) == 2 and when == "after":
                raise KeyboardInterrupt

        return launch

    device.captured = capture
    return device


@pytest.mark.parametrize(("when", "n_done"), [("before", 1), ("after", 2)])
def test_ctrl_c_around_a_launch_loses_no_step_and_counts_none_twice(when, n_done):
    step, params, opt_state, X, Y = problem()
    engine, batches = CudaGraph(device=interrupted(CpuDevice(), when)), IndexBatches(None, N, SIZE)
    params_, state, losses = engine.run(step, params, opt_state, X, Y, batches)
    assert losses.shape == (n_done,)
    expected = Eager().run(step, params, opt_state, X[: n_done * SIZE], Y, IndexBatches(None, n_done * SIZE, SIZE))
    assert_trees_close((params_, tuple(state), losses), (expected[0], tuple(expected[1]), expected[2]), 1e-12, 1e-14)


def test_before_the_first_step_an_interruption_is_passed_on():
    step, params, opt_state, X, Y = problem()
    device = CpuDevice()
    device.captured = lambda work: (_ for _ in ()).throw(KeyboardInterrupt)
    engine = CudaGraph(device=device)
    with pytest.raises(KeyboardInterrupt):
        engine.run(step, params, opt_state, X, Y, IndexBatches(None, N, SIZE))
    del device.captured
    engine.run(step, params, opt_state, X, Y, IndexBatches(None, N, SIZE))
    assert device.replayed  # it was not given up

    def next_replay():
        raise KeyboardInterrupt

    broken = CpuDevice()
    broken.captured = lambda work: next_replay
    with pytest.raises(KeyboardInterrupt):
        CudaGraph(device=broken).run(step, params, opt_state, X, Y, IndexBatches(None, N, SIZE))


@pytest.mark.parametrize(("fails_at", "reason"), [("compile", "no compiler here"), ("capture", "stream is capturing")])
def test_what_fails_is_said_once_and_runs_eagerly(fails_at, reason):
    device, said, given = CpuDevice(fails_at=fails_at), [], problem()
    actual = epochs(CudaGraph(said.append, device=device), given, 3)
    assert_trees_close(actual, epochs(Eager(), given, 3), 0.0)
    assert not device.capturing
    assert len(said) == 1
    assert "falls back to eager: RuntimeError" in said[0]
    assert reason in said[0]
    assert "\n" not in said[0]


def test_a_step_that_cannot_be_traced_runs_eagerly():
    step, params, opt_state, X, Y = problem()

    def branching(params, opt_state, X, Y, weight):
        return step(params, opt_state, X if X.sum() > -1e9 else -X, Y, weight)

    said = []
    given = branching, params, opt_state, X, Y
    actual = epochs(CudaGraph(said.append, device=CpuDevice()), given, 2)
    assert_trees_close(actual, epochs(Eager(), given, 2), 0.0)
    assert len(said) == 1
    assert "TracingError" in said[0]


def test_no_memory_is_an_error_that_is_passed_on():
    device = CpuDevice()

    def exhausted(n_bytes):
        raise MemoryError("out of memory allocating 4 bytes")

    device.zeros = exhausted
    step, params, opt_state, X, Y = problem()
    with pytest.raises(MemoryError, match="out of memory"):
        CudaGraph(device=device).run(step, params, opt_state, X, Y, IndexBatches(None, N, SIZE))


def test_what_was_compiled_is_kept_and_told_of():
    said, given = [], problem()
    engine = CudaGraph(said.append, device=CpuDevice())
    epochs(engine, given, 3)
    assert engine.n_compiled == 2  # full batches and the short one
    assert len(said) == 1
    assert "2 sets of kernels compiled" in said[0]
    step, params, opt_state, X, Y = given
    epochs(engine, (step, params, opt_state, X + 1.0, Y), 2)  # other data: captured anew, with the same kernels
    assert engine.n_compiled == 2
    assert "0 sets" in said[1]
    compared((step, params, opt_state, X[::-1], Y), 1, 1e-12, atol=1e-14)  # not row by row in memory: copied once


def test_parts_of_an_epoch_that_take_turns_are_captured_once():
    """As between checkpoints: so many steps, again, and what is left of the epoch."""

    def parts(engine):
        step, params, opt_state, X, Y = problem()
        losses = []
        for epoch in range(3):
            order = epoch_order(0, epoch, N)
            for rows in (order[:16], order[16:32], order[32:]):
                part = IndexBatches(rows, len(rows), 8)
                params, opt_state, of_part = engine.run(step, params, opt_state, X, Y, part)
                losses.append(of_part)
        return params, tuple(opt_state), losses

    said = []
    assert_trees_close(parts(CudaGraph(said.append, device=CpuDevice())), parts(Eager()), 1e-10)
    assert len(said) == 2


def test_arrays_and_settings_that_it_does_not_take(monkeypatch):
    step, params, opt_state, X, Y = problem()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match=r"runs arrays of CuPy, not of numpy: use device='cuda'"):
        CudaGraph().run(step, params, opt_state, X, Y, IndexBatches(None, N, SIZE))
    with pytest.raises(InputError, match="unknown precision 'float16'"):
        CudaGraph(precision="float16")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'backprop-xp\[cuda12\]'"):
        CudaGraph()


def test_a_capture_is_ended_even_if_what_it_records_fails():
    done = []

    class Stream:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def begin_capture(self):
            done.append("begin")

        def end_capture(self):
            done.append("end")
            return SimpleNamespace(launch=lambda stream: done.append(stream))

    device = CupyDevice.__new__(CupyDevice)
    device._stream = Stream()
    device.captured(lambda: done.append("work"))()
    assert done == ["begin", "work", "end", device._stream]
    done.clear()

    def fails():
        raise RuntimeError("not permitted")

    with pytest.raises(RuntimeError, match="not permitted"):
        device.captured(fails)
    assert done == ["begin", "end"]


# On a GPU


def on_gpu(given):
    import cupy

    lib = library("cupy")
    step, params, opt_state, X, Y = given

    def moved(tree):
        if isinstance(tree, tuple):
            parts = [moved(part) for part in tree]
            return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
        return None if tree is None else cupy.asarray(tree)

    return lib, cupy, (step, moved(params), moved(opt_state), cupy.asarray(X), cupy.asarray(Y))


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("name", RULES)
def test_gpu_trajectories_equal_eager_cupy_and_numpy(name, dtype, limit):
    library("cupy")
    on_host = problem(RULES[name], dtype, dropout=0.2)
    lib, cupy, given = on_gpu(on_host)
    said = []
    actual = lib.host(epochs(CudaGraph(said.append), given, 334, to=cupy.asarray))
    assert "captured" in said[0]
    assert_trees_close(actual, lib.host(epochs(Eager(), given, 334, to=cupy.asarray)), limit, limit)
    assert_trees_close(actual, epochs(Eager(), on_host, 334), limit, limit)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("tf32", 1e-2), ("bfloat16", 1e-1)])
def test_gpu_precision_of_products(precision, limit):
    library("cupy")
    on_host = problem(bx.sgd(0.1), "float32", widths=(64, 128, 16), n=512)
    lib, cupy, given = on_gpu(on_host)
    losses = lib.host(epochs(CudaGraph(precision=precision), given, 2, to=cupy.asarray, size=128)[2])
    assert_trees_close(losses, epochs(Eager(), on_host, 2, size=128)[2], limit)


@pytest.mark.gpu
def test_gpu_an_epoch_reads_nothing_to_the_host(monkeypatch):
    library("cupy")
    _, cupy, given = on_gpu(problem())
    engine = CudaGraph()
    epochs(engine, given, 1, to=cupy.asarray)
    order = cupy.asarray(epoch_order(0, 1, N))
    for method in ("get", "item", "__float__", "__int__", "__bool__"):
        monkeypatch.setattr(f"cupy.ndarray.{method}", None, raising=False)
    step, params, opt_state, X, Y = given
    losses = engine.run(step, params, opt_state, X, Y, IndexBatches(order, N, SIZE))[2]
    assert losses.shape == (-(-N // SIZE),)


@pytest.mark.gpu
def test_gpu_memory_that_is_not_there_is_an_error_that_is_passed_on():
    library("cupy")
    _, _, given = on_gpu(problem(widths=(1, *[2**10] * 24, 2), n=2**20))
    with pytest.raises(MemoryError):
        epochs(CudaGraph(), given, 1, shuffle=False, size=2**20)
