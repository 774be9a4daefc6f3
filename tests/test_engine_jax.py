"""The jax engine: the trajectory of the eager one, what it compiles, and what an interruption leaves."""

import contextlib
import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import assert_trees_close, library

from backprop_xp import InputError, Network, adam, backends, init, make_step, momentum, nesterov, schedules, sgd
from backprop_xp.batches import IndexBatches, epoch_order
from backprop_xp.engines import eager, xla
from backprop_xp.engines import jax as module
from backprop_xp.engines.interrupts import deferred_interrupts
from backprop_xp.engines.jax import Jax
from backprop_xp.errors import StopTraining
from backprop_xp.packing import pack

N_SAMPLES, N_IN, N_OUT = 70, 5, 3
CLASSIFIER = Network((N_IN, 8, 6, N_OUT), activation="tanh", output="softmax")
REGRESSOR = Network((N_IN, 8, N_OUT), activation="relu")
WIDE = Network((N_IN, 64, 64, N_OUT), output="softmax")  # more weights than a batch has activations

# Each: network, loss, optimizer, options of make_step, kind of target, weighted, rows in a given order, batch size.
CASES = {
    "sgd": (CLASSIFIER, "cross_entropy", sgd(0.1), {}, "labels", False, False, 16),
    "one batch": (CLASSIFIER, "cross_entropy", sgd(0.1), {}, "labels", False, False, N_SAMPLES),
    "even batches": (CLASSIFIER, "cross_entropy", momentum(0.05), {}, "rows", False, True, 14),
    "nesterov": (REGRESSOR, "squared_error", nesterov(0.01), {"l2": 1e-2}, "values", False, True, 32),
    "adam": (CLASSIFIER, "cross_entropy", adam(0.01), {"dropout": 0.3, "seed": 5}, "labels", False, True, 32),
    "weights": (CLASSIFIER, "cross_entropy", adam(0.01), {"l2": 1e-2, "l2_per_batch": True}, "rows", True, True, 16),
    "clipped": (REGRESSOR, "huber", sgd(schedules.cosine(0.1, 150)), {"clip_norm": 0.1}, "values", True, False, 32),
    "packed": (CLASSIFIER, "cross_entropy", adam(0.01), {"packed": True}, "labels", False, True, 16),
    "wide": (WIDE, "cross_entropy", momentum(0.1), {}, "labels", False, True, 16),
}


def problem(name, dtype="float64"):
    """Return (step, params, opt_state, X, Y, weight, batches of an epoch) on the host."""
    network, loss, optimizer, options, target, weighted, shuffled, batch_size = CASES[name]
    rng = np.random.default_rng(3)
    X = rng.standard_normal((N_SAMPLES, N_IN)).astype(dtype)
    labels = rng.integers(0, N_OUT, N_SAMPLES)
    Y = {"labels": labels, "rows": np.eye(N_OUT, dtype=dtype)[labels], "values": np.sin(X[:, :N_OUT]) * 3}[target]
    params = init(network, seed=1, dtype=dtype)
    if options.get("packed"):
        params = pack(params)
    weight = rng.uniform(0.5, 2.0, N_SAMPLES).astype(dtype) if weighted else None

    def batches(epoch):
        return IndexBatches(epoch_order(7, epoch, N_SAMPLES) if shuffled else None, N_SAMPLES, batch_size)

    return make_step(network, loss, optimizer, **options), params, optimizer.init(params), X, Y, weight, batches


def trajectory(engine, name, n_epochs, lib=None, dtype="float64", **options):
    """Return (params, opt_state, all losses) on the host, as the engine makes them on that library's arrays."""
    step, params, opt_state, X, Y, weight, batches = problem(name, dtype)
    there = (lambda tree: tree) if lib is None else lambda tree: moved(tree, lib)
    state, (X, Y, weight) = there((params, opt_state)), there((X, Y, weight))
    losses = []
    for epoch in range(n_epochs):
        *state, some = engine.run(step, *state, X, Y, there(batches(epoch)), weight=weight, **options)
        losses.append(some)
    as_host = (lambda tree: tree) if lib is None else lib.host
    return as_host(tuple(state[0])), as_host(tuple(state[1])), np.concatenate(as_host(losses))


def moved(tree, lib):
    if isinstance(tree, tuple):
        leaves = [moved(leaf, lib) for leaf in tree]
        return type(tree)(*leaves) if hasattr(tree, "_fields") else tuple(leaves)
    return backends.to_device(tree, lib.backend) if isinstance(tree, np.ndarray | np.generic) else tree


def assert_same(actual, expected, rtol=1e-10):
    assert_trees_close(tuple(actual), tuple(expected), rtol=rtol, atol=rtol * 1e-2)


def stop_after(n_steps, error):
    def on_batch(batch, loss):
        if batch == n_steps - 1:
            raise error

    return on_batch


def donating(monkeypatch):
    """Take every state for a large one, and a call for each step."""
    for name, value in {"_LARGE": 0, "_BRIEF": 0, "_AT_ONCE": 0.0, "_SEVERAL": 1}.items():
        monkeypatch.setattr(module, name, value)


@contextlib.contextmanager
def without(monkeypatch, library):
    """Make importing a library fail."""
    real = importlib.import_module

    def refuse(module, *rest):
        if module == library:
            raise ModuleNotFoundError(name=module)
        return real(module, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", refuse)
        yield


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


@pytest.fixture(params=[False, True], ids=["", "donated"])
def donated(request, monkeypatch):
    """Both ways with a state: copied by every call, and donated from call to call, of a step each."""
    if request.param:
        donating(monkeypatch)


@pytest.fixture
def nothing_compiled(monkeypatch, jax):
    monkeypatch.setattr(module, "_COMPILED", {})
    monkeypatch.setattr(module, "_RECORDED", {})


@pytest.mark.parametrize("lib", [None, "jax"])
@pytest.mark.parametrize("name", CASES)
def test_the_trajectory_is_the_eager_ones(jax, name, lib, donated):
    n_epochs = -(-200 // problem(name)[-1](0).n_batches)
    actual = trajectory(Jax(), name, n_epochs, lib and library(lib))
    expected = trajectory(eager.Eager(), name, n_epochs)
    assert len(actual[2]) >= 200
    assert_same(actual, expected)


def test_the_trajectory_in_float32(jax):
    assert_same(
        trajectory(Jax(), "adam", 20, None, "float32"), trajectory(eager.Eager(), "adam", 20, None, "float32"), 1e-4
    )


def test_stacked_networks(jax, donated):
    network, rule = Network((N_IN, 4, N_OUT), activation="tanh", output="softmax"), sgd(0.1)
    one, other = init(network, 1), init(network, 2)
    params = tuple((np.stack([W, V]), np.stack([b, c])) for (W, b), (V, c) in zip(one, other, strict=True))
    _, _, _, X, Y, _, batches = problem("sgd")
    step = make_step(network, "cross_entropy", rule)
    actual = Jax().run(step, params, rule.init(params), X, Y, batches(0))
    assert actual[2].shape == (5, 2)
    assert_same(actual, eager.Eager().run(step, params, rule.init(params), X, Y, batches(0)))


@pytest.mark.parametrize("lib", [None, "jax"])
def test_what_is_given_stays_as_it_is(jax, lib, donated):
    step, params, opt_state, X, Y, weight, batches = problem("weights")
    given = (params, opt_state, (X, Y, weight))
    lib = lib and library(lib)
    there = moved(given, lib) if lib else given
    before = problem("weights")
    engine = Jax()
    for epoch in range(2):
        order = batches(epoch) if lib is None else moved(batches(epoch), lib)
        engine.run(step, *there[:2], *there[2][:2], order, weight=there[2][2])
    after = lib.host(there) if lib else there
    assert_trees_close(after, (before[1], before[2], before[3:6]), rtol=0)


def test_numpy_in_numpy_out_and_jax_in_jax_out(jax):
    step, params, opt_state, X, Y, _, batches = problem("adam")
    out = Jax().run(step, params, opt_state, X, Y, batches(0))
    leaves = jax.tree.leaves(out)
    assert {type(leaf) for leaf in leaves} == {np.ndarray}
    assert not any(leaf.flags.writeable for leaf in leaves)  # views of XLA's
    assert type(out[1]) is type(opt_state)
    lib = library("jax")
    there = moved((params, opt_state, X, Y), lib)
    out = Jax().run(step, *there, moved(batches(0), lib))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(out))


def test_two_programs_a_fit_and_none_for_an_equal_one(nothing_compiled):
    said = []
    first = Jax(said.append)
    trajectory(first, "adam", 6)
    assert first.n_compiled == 2  # 32 rows, and the last 6
    second = Jax(said.append)
    trajectory(second, "adam", 2)
    assert second.n_compiled == 0
    assert [line.rsplit(" in ", 1)[0] for line in said] == [
        "jax: compiled a step of 32 rows",
        "jax: compiled a step of 6 rows",
    ]
    assert all(line.endswith(" s") and float(line.split(" in ")[1][:-2]) > 0 for line in said)
    other = Jax()
    trajectory(other, "nesterov", 1)
    assert other.n_compiled == 2


def test_pieces_of_an_epoch_and_callbacks_compile_nothing_more(nothing_compiled, monkeypatch):
    monkeypatch.setattr(module, "_BRIEF", 0)
    engine = Jax()
    expected = trajectory(engine, "sgd", 3)
    monkeypatch.setattr(module, "_AT_ONCE", 0.0)
    monkeypatch.setattr(module, "_SEVERAL", 1)  # a step a call
    assert_same(trajectory(engine, "sgd", 3), expected, rtol=1e-14)
    heard = []
    *_, losses = trajectory(engine, "sgd", 3, on_batch=lambda batch, loss: heard.append((batch, float(loss))))
    assert [batch for batch, _ in heard] == [0, 1, 2, 3, 4] * 3
    np.testing.assert_array_equal([loss for _, loss in heard], losses)
    assert engine.n_compiled == 2


def test_a_large_state_is_donated_between_the_first_call_and_the_last_of_full_batches(
    nothing_compiled, monkeypatch, jax
):
    real, donated = Jax._program, []

    def program(self, *given):
        def called(state, losses, *rest):
            given_leaves = jax.tree.leaves((state, losses))
            result = compiled(state, losses, *rest)
            donated.append([getattr(leaf, "is_deleted", lambda: False)() for leaf in given_leaves])
            return result

        compiled = real(self, *given)
        return called

    monkeypatch.setattr(Jax, "_program", program)
    by_calls, at_once = Jax(), Jax()
    expected = trajectory(at_once, "sgd", 2)
    assert not any(map(any, donated))
    assert at_once.n_compiled == 2
    donating(monkeypatch)
    donated.clear()
    assert_trees_close(trajectory(by_calls, "sgd", 2), expected, rtol=0)
    assert [all(leaves) for leaves in donated] == [False, True, True, False, False] * 2
    assert [any(leaves) for leaves in donated] == [False, True, True, False, False] * 2
    assert by_calls.n_compiled == 3  # full batches both ways, and the short one


def test_a_large_epoch_of_one_call_compiles_nothing_for_donation(nothing_compiled, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 0)
    monkeypatch.setattr(module, "_BRIEF", 0)
    engine = Jax()
    trajectory(engine, "sgd", 3)  # a first step, all others at once, and the short batch
    assert engine.n_compiled == 2


@pytest.mark.parametrize("name", CASES)
def test_a_brief_epoch_is_one_call_from_the_first_on_and_the_same_bits(nothing_compiled, name):
    def heard_of(batch, loss):
        heard.append(batch)

    heard, engine, given = [], Jax(), problem(name)
    n_full = N_SAMPLES // given[-1](0).batch_size
    heard_of.paced = True
    brief = trajectory(engine, name, 1, on_batch=heard_of)
    assert heard == sorted({n_full - 1, given[-1](0).n_batches - 1})
    by_steps = trajectory(Jax(), name, 1, on_batch=lambda batch, loss: None)
    assert_trees_close(brief, by_steps, rtol=0)


def test_a_step_is_compiled_once_for_all_engines_of_its_settings(nothing_compiled, monkeypatch, jax):
    """Each fit has an engine of its own. What a loss of the user's own reads from outside may change between them."""
    _, params, opt_state, X, Y, weight, batches = problem("weights")
    outside = {"scale": 1.0}

    def head(z, Y, weight, xp):
        return outside["scale"] * xp.sum((z - Y) ** 2), 2.0 * outside["scale"] * (z - Y)

    step, lowered, real = make_step(CLASSIFIER, head, adam(0.01)), [], module.Jax._compiled
    monkeypatch.setattr(module.Jax, "_compiled", lambda *given: lowered.append(1) or real(*given))

    def run(engine):
        return engine.run(step, params, opt_state, X, Y, batches(0), weight=weight)

    first = run(Jax())
    assert len(lowered) == 2  # full batches, and the short one
    assert_trees_close(run(Jax()), first, rtol=0)
    assert len(lowered) == 2
    run(Jax(precision="tf32"))
    assert len(lowered) == 4
    outside["scale"] = 5.0
    assert_same(run(Jax()), run(eager.Eager()))
    assert len(lowered) == 6
    monkeypatch.setattr(module, "_LARGE", 0)
    assert_same(run(Jax()), run(eager.Eager()))
    assert len(lowered) == 8


def test_a_step_that_holds_arrays_is_compiled_for_itself(nothing_compiled, jax):
    """Two losses that differ in an array alone: the text of both programs may be the same."""
    rule = sgd(0.1)
    _, params, opt_state, X, _, _, batches = problem("sgd")
    Y = np.zeros((N_SAMPLES, N_OUT))
    results = []
    for scale in (1.0, 3.0):
        factors = jax.numpy.full(N_OUT, scale)

        def head(z, Y, weight, xp, factors=factors):
            return xp.sum(z * factors), xp.broadcast_to(factors, z.shape)

        engine = Jax()
        results.append(engine.run(make_step(CLASSIFIER, head, rule), params, opt_state, X, Y, batches(0))[2][0])
        assert engine.n_compiled == 2
    np.testing.assert_allclose(results[1], 3.0 * results[0], rtol=1e-12)


def test_few_programs_are_kept(nothing_compiled, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    for name in ("sgd", "nesterov"):
        trajectory(Jax(), name, 1)
    assert len(module._COMPILED) == len(module._RECORDED) == 2
    again = Jax()
    trajectory(again, "nesterov", 1)
    assert again.n_compiled == 0


def test_a_replaced_learning_rate_counts_and_compiles_nothing(nothing_compiled):
    def run(engine):
        step, params, opt_state, X, Y, _, batches = problem("adam")
        for epoch in range(4):
            params, opt_state, losses = engine.run(step, params, opt_state, X, Y, batches(epoch))
            opt_state = opt_state._replace(learning_rate=np.asarray(0.01 / (epoch + 2)))
        return params, opt_state, losses

    engine = Jax()
    assert_same(run(engine), run(eager.Eager()))
    assert engine.n_compiled == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StopTraining("enough")])
@pytest.mark.parametrize("n_steps", [1, 3, 5])
def test_stopped_after_a_step_the_state_is_that_steps(jax, error, n_steps):
    step, params, opt_state, X, Y, weight, batches = problem("weights")
    given = step, params, opt_state, X, Y, batches(0)
    actual = Jax().run(*given, weight=weight, on_batch=stop_after(n_steps, error))
    assert actual[2].shape == (n_steps,)
    assert_same(actual, eager.Eager().run(*given, weight=weight, on_batch=stop_after(n_steps, error)))


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 1000), (0.25, 8), (0.4, 8), (1.0, 4), (3.0, 1), (60.0, 1)])
def test_a_call_has_a_second_of_steps_or_eight_in_four_seconds(jax, seconds, steps):
    engine = Jax()
    assert engine._at_once(1) == 1  # of which nothing is known yet
    engine._seconds_a_row = seconds / 16
    assert engine._at_once(16) == steps


def test_ctrl_c_within_a_call_keeps_its_steps(jax, monkeypatch):
    step, params, opt_state, X, Y, _, batches = problem("packed")
    monkeypatch.setattr(module, "_BRIEF", 0)
    engine = Jax()
    engine.run(step, params, opt_state, X, Y, batches(0))
    ((key, program), *_) = engine._programs.items()

    def interrupted(*arguments):
        result = program(*arguments)
        signal.raise_signal(signal.SIGINT)
        return result

    engine._programs[key] = interrupted
    monkeypatch.setattr(module, "_SEVERAL", 3)
    monkeypatch.setattr(engine, "_seconds_a_row", module._AT_ONCE / 16)  # a second a step: three steps a call
    actual = engine.run(step, params, opt_state, X, Y, batches(0))
    assert actual[2].shape == (3,)
    given = step, params, opt_state, X, Y, batches(0)
    assert_same(actual, eager.Eager().run(*given, on_batch=stop_after(3, KeyboardInterrupt())))


def test_ctrl_c_from_outside_ends_a_long_epoch_within_about_a_second(jax):
    network, rule = Network((N_IN, 200, 200, N_OUT), output="softmax"), sgd(0.01)
    X = np.random.default_rng(0).standard_normal((600_000, N_IN))
    Y, params, step = np.zeros(len(X), dtype=int), init(network), make_step(network, "cross_entropy", rule)
    engine, batches = Jax(), IndexBatches(None, len(X), 1)  # ten seconds of steps or more
    with contextlib.suppress(StopTraining):  # compiles; nothing is left of it
        engine.run(step, params, rule.init(params), X, Y, batches, on_batch=stop_after(1, StopTraining()))
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        params_after, state, losses = engine.run(step, params, rule.init(params), X, Y, batches)
    finally:
        timer.cancel()
    assert 0 < len(losses) < len(X)
    assert state.count == len(losses)
    again = Jax().run(
        step, params, rule.init(params), X[: len(losses)], Y[: len(losses)], IndexBatches(None, len(losses), 1)
    )
    assert_same((params_after, losses), (again[0], again[2]))


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopTraining])
def test_before_the_first_step_an_interruption_passes_on(jax, error):
    def broken(*arguments):
        raise error

    step, params, opt_state, X, Y, _, batches = problem("sgd")
    engine = Jax()
    with pytest.raises(error):
        engine.run(broken, params, opt_state, X, Y, batches(0))
    assert len(engine.run(step, params, opt_state, X, Y, batches(0))[2]) == 5


def test_deferred_interrupts_wait_for_the_end_and_leave_the_handler():
    before, reached = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
    assert reached
    assert signal.getsignal(signal.SIGINT) is before
    with deferred_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_deferred_interrupts_in_another_thread_do_nothing():
    errors = []

    def work():
        try:
            with deferred_interrupts():
                assert signal.getsignal(signal.SIGINT) is before
        except BaseException as error:
            errors.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors


def test_float64_of_numpy_needs_no_setting(jax):
    code = (
        "from test_engine_jax import *; import jax; assert not jax.config.jax_enable_x64\n"
        "ours, theirs = (trajectory(e, 'adam', 10) for e in (Jax(), eager.Eager())); assert_same(ours, theirs)\n"
        "assert jax.numpy.zeros(1).dtype == np.float32"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=os.path.dirname(__file__),
        env={**os.environ, "JAX_ENABLE_X64": "0"},
    )


@pytest.mark.parametrize(("precision", "said"), [("float32", "HIGHEST"), ("tf32", "HIGH"), ("bfloat16", "DEFAULT")])
def test_the_precision_is_what_the_products_are_compiled_in(nothing_compiled, precision, said):
    trajectory(Jax(precision=precision), "sgd", 1, None, "float32")
    for text, *_ in module._COMPILED:
        products = [line for line in text.splitlines() if "dot_general" in line]
        assert products
        assert all(f"precision = [{said}, {said}]" in line for line in products)


def test_what_it_cannot_run_is_said(jax, monkeypatch):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    step, params, opt_state, X, Y, _, batches = problem("sgd")
    with pytest.raises(InputError, match=r"arrays of JAX or dense ones of NumPy, not scipy.*csr.*: use engine='eager'"):
        Jax().run(step, params, opt_state, scipy_sparse.csr_array(X), Y, batches(0))
    with pytest.raises(InputError, match="unknown precision 'half'"):
        Jax(precision="half")
    with without(monkeypatch, "jax"), pytest.raises(InputError, match=r"needs JAX.*: pip install 'backprop-xp\[jax\]'"):
        Jax().run(step, params, opt_state, X, Y, batches(0))


def test_a_large_state_given_as_jax_arrays_stays_the_callers(jax):
    network, rule = Network((300, 700, 3), output="softmax"), adam(0.001)
    params = jax.device_put(init(network, dtype="float32"))
    state = rule.init(params)
    kept = jax.tree.map(np.array, (params, state))
    X, Y = jax.device_put((np.ones((32, 300), np.float32), np.zeros(32, np.int32)))
    engine, step = Jax(), make_step(network, "cross_entropy", rule)
    engine.run(step, params, state, X, Y, IndexBatches(None, 32, 4), on_batch=lambda batch, loss: None)
    for leaf, copy in zip(jax.tree.leaves((params, state)), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(np.asarray(leaf), copy)


@pytest.mark.parametrize("name", ["adam", "weights"])
def test_rows_are_gathered_a_piece_ahead_into_arrays_that_xla_does_not_read(jax, monkeypatch, name):
    monkeypatch.setattr(module, "_BRIEF", 0)
    monkeypatch.setattr(module, "_GATHERED", 32 * N_IN)  # one batch of 32 rows a piece, two of 16
    pieces, real, gathered = [], Jax._program, Jax._gathered
    monkeypatch.setattr(Jax, "_gathered", lambda *given: pieces.append("gathered") or gathered(*given))

    def program(self, *given):
        def called(*arguments):
            result = compiled(*arguments)
            pieces.append("called")
            read.append(arguments[2][0])
            return result

        compiled = real(self, *given)
        return called

    monkeypatch.setattr(Jax, "_program", program)
    read, engine = [], Jax()
    engine._seconds_a_row = 1e-9  # as measured before: a piece a call
    assert_same(trajectory(engine, name, 1), trajectory(eager.Eager(), name, 1))
    assert pieces == ["gathered", "called"] * len(read)
    assert not any(np.shares_memory(first, second) for first, second in itertools.pairwise(read))


def test_settings_that_xla_does_not_know_are_left_out(jax, monkeypatch, nothing_compiled):
    monkeypatch.setattr(xla, "_SETTINGS", {"xla_cpu_no_such_setting": 1})
    engine = Jax()
    assert_same(trajectory(engine, "weights", 2), trajectory(eager.Eager(), "weights", 2))
    assert engine.n_compiled == 2


def test_xla_knows_the_settings(jax):
    told, _ = xla.programs(jax, lambda x: x + 1, donates=False, on_cpu=True)
    assert told(1.0) == 2.0  # raises where it does not


def test_settings_are_for_the_cpu_alone(jax, monkeypatch):
    monkeypatch.setattr(xla, "_SETTINGS", {"xla_cpu_no_such_setting": 1})
    told, plain = xla.programs(jax, lambda x: x, donates=False, on_cpu=True)
    with pytest.raises(RuntimeError, match="xla_cpu_no_such_setting"):
        told(1.0)
    (elsewhere,) = xla.programs(jax, lambda x: x, donates=False, on_cpu=False)
    assert plain(1.0) == elsewhere(1.0) == 1.0


def test_gradients_come_first_where_weights_outnumber_activations(jax):
    step, params, opt_state, X, Y, weight, _ = problem("wide")
    state = params, opt_state
    n_weights, n_units = sum(W.size for W, _ in params), 64 + 64 + N_OUT
    few, many = (n_weights - 1) // n_units, (n_weights - 1) // n_units + 1
    assert xla.with_gradients_first(step, state, many) is step
    tied = xla.with_gradients_first(step, state, few)
    assert tied is not step
    assert_same(tied(*state, X, Y, weight), step(*state, X, Y, weight))
    without_between = lambda *given: step(*given)  # noqa: E731
    assert xla.with_gradients_first(without_between, state, few) is without_between
