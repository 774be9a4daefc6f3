"""NumPy's steps as programs of calls in place: the bits of the step itself, and nothing of the caller's changed."""

import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import engines, packing
from backprop_xp.activations import ACTIVATIONS
from backprop_xp.batches import IndexBatches, epoch_order
from backprop_xp.engines import in_place, rows
from backprop_xp.engines.copies import Copies
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.in_place import InPlace
from backprop_xp.engines.program import Program
from backprop_xp.engines.tracing import Trace, TracingError, leaves
from backprop_xp.errors import StopTraining
from backprop_xp.estimators.objectives import head
from backprop_xp.losses import LOSSES, Loss, huber, pinball
from backprop_xp.namespaces import namespace_of

N, WIDTHS = 37, (5, 7, 6, 3)
RULES = {
    "sgd": bx.sgd(0.1),
    "momentum": bx.momentum(0.05),
    "nesterov": bx.nesterov(bx.schedules.cosine(0.05, 30)),
    "rmsprop": bx.rmsprop(0.01),
    "adam": bx.adam(bx.schedules.warmup_cosine(0.01, 4, 40)),
    "adamw": bx.adamw(0.01, 0.1),
}


def data(dtype, widths=WIDTHS, n=N, labels=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, widths[0])).astype(dtype)
    label = rng.integers(0, widths[-1], n).astype(np.int32)
    return X, label if labels else np.eye(widths[-1], dtype=dtype)[label]


def begin(network, rule, dtype, packed=False):
    params = bx.init(network, 3, bias_initializer="uniform", dtype=dtype)
    params = packing.pack(params) if packed else params
    return params, rule.init(params)


def step_by_step(step, state, X, Y, weight, order, batch_size):
    losses = []
    for first in range(0, len(X), batch_size):
        rows = slice(first, first + batch_size) if order is None else order[first : first + batch_size]
        *state, loss = step(*state, X[rows], Y[rows], None if weight is None else weight[rows])
        losses.append(loss)
    return state, np.array(losses)


def assert_same_bits(step, state, X, Y, weight=None, batch_size=8, epochs=3):
    runner, expected = InPlace(step), state
    for epoch in range(epochs):
        order = None if epoch == 1 else epoch_order(0, epoch, len(X))
        batches = IndexBatches(order, len(X), batch_size)
        state, losses = runner.run(tuple(state), (X, Y, weight), batches, None)
        expected, expected_losses = step_by_step(step, expected, X, Y, weight, order, batch_size)
        np.testing.assert_array_equal(losses, expected_losses)
        for actual, desired in zip(leaves(tuple(state)), leaves(tuple(expected)), strict=True):
            assert actual.dtype == desired.dtype
            np.testing.assert_array_equal(actual, desired)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.4, "l2": 1e-2, "clip_norm": 0.5}, {"l2": 0.1, "l2_per_batch": True}]
)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_optimizer_and_setting(rule, settings, dtype):
    network = bx.Network(WIDTHS, activation=("tanh", "relu"), output="softmax")
    step = bx.make_step(network, "cross_entropy", rule, **settings)
    assert_same_bits(step, begin(network, rule, dtype), *data(dtype, labels=True))


@pytest.mark.parametrize("bias", [True, False, "shared"])
@pytest.mark.parametrize("activation", [name for name, known in ACTIVATIONS.items() if not known.output_only])
def test_every_activation(activation, bias):
    network = bx.Network(WIDTHS, activation=activation, output="softmax", bias=bias)
    step = bx.make_step(network, "cross_entropy", RULES["adam"])
    assert_same_bits(step, begin(network, RULES["adam"], "float32"), *data("float32"))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [*LOSSES.values(), huber(0.1), pinball(0.9)], ids=lambda loss: f"{loss.name}")
def test_every_loss(loss, weighted):
    outputs = loss.outputs or ("identity", "sigmoid", "softmax", "softplus")
    X, Y = data("float32")
    weight = np.random.default_rng(1).uniform(0.1, 2.0, len(X)).astype(np.float32) if weighted else None
    for output in outputs:
        network = bx.Network(WIDTHS, activation="sigmoid", output=output)
        step = bx.make_step(network, loss, RULES["sgd"])
        assert_same_bits(step, begin(network, RULES["sgd"], "float32"), X, Y, weight)


@pytest.mark.parametrize(
    ("loss", "output"),
    [("log_loss", "softmax"), ("log_loss", "sigmoid"), ("squared_error", "identity"), ("poisson", "exp")],
)
def test_scikit_learns_objectives_on_packed_parameters(loss, output):
    network = bx.Network(WIDTHS, output=output)
    objective = head(loss, network, np.finfo("float64").eps, divided=True)
    step = bx.make_step(network, objective, RULES["adam"], l2=1e-3, l2_per_batch=True, packed=True)
    assert_same_bits(step, begin(network, RULES["adam"], "float64", packed=True), *data("float64"))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_large_arrays_gone_through_in_pieces(rule):
    widths, n = (300, 410, 10), 700
    network = bx.Network(widths, activation="sigmoid", output="softmax")
    step = bx.make_step(network, "cross_entropy", rule, l2=1e-3, dropout=0.2)
    state, (X, Y) = begin(network, rule, "float32"), data("float32", widths, n, labels=True)
    program = Program(Trace(step, state, (X[:512], Y[:512], None)), [leaf.copy() for leaf in leaves(state)])
    assert program.source.count("for ") >= 3  # the forward chain, the backward one, the update
    assert_same_bits(step, state, X, Y, batch_size=512, epochs=2)
    row = bx.make_step(network, "cross_entropy", bx.adam(), packed=True)
    assert_same_bits(row, begin(network, bx.adam(), "float32", packed=True), X, Y, batch_size=512, epochs=1)


def test_networks_on_a_leading_axis():
    network = bx.Network(WIDTHS, activation="tanh", output="softmax")
    params = bx.init(network, initializer=[(np.stack([W, 2 * W]), np.stack([b, b])) for W, b in bx.init(network, 1)])
    step = bx.make_step(network, "cross_entropy", bx.adam())
    X, Y = data("float64")
    assert_same_bits(step, (params, bx.adam().init(params)), X, Y)


def engine_and_step(rule=RULES["adam"]):
    network = bx.Network(WIDTHS, activation="tanh", output="softmax")
    return engines.select("eager"), bx.make_step(network, "cross_entropy", rule), begin(network, rule, "float64")


def test_what_is_given_and_what_was_returned_stay_as_they_are():
    engine, step, state = engine_and_step()
    X, Y = data("float64")
    kept = [np.copy(array) for array in (*leaves(state), X, Y)]
    batches = IndexBatches(epoch_order(0, 1, N), N, 4)
    first = engine.run(step, *state, X, Y, batches)
    for _ in range(60):  # beyond the steps before a program is made
        last = engine.run(step, *state, X, Y, batches)
        again = engine.run(step, *last[:2], X, Y, batches)
    for array, copy in zip((*leaves(state), X, Y), kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    for one, other in zip(leaves(first), leaves(last), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(not np.shares_memory(a, b) for a in leaves(last) for b in (*leaves(again), X, Y))


def test_rows_are_gathered_anew_after_memory_was_lacking(monkeypatch):
    _, step, state = engine_and_step()
    engine, (X, Y) = Eager(), data("float64")
    batches = IndexBatches(epoch_order(0, 1, N), N, 4)
    for _ in range(60):  # beyond the steps before a program is made
        engine.run(step, *state, X, Y, IndexBatches(batches.order[:20], 20, 4))

    def failing(*given):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(rows, "np", SimpleNamespace(empty=failing))
        with pytest.raises(MemoryError):
            engine.run(step, *state, X, Y, batches)
    again, expected = (one.run(step, *state, X, Y, batches) for one in (engine, Eager()))
    for actual, leaf in zip(leaves(again), leaves(expected), strict=True):
        np.testing.assert_array_equal(actual, leaf)


def test_a_program_is_made_once_steps_are_many(monkeypatch):
    made = []
    monkeypatch.setattr(in_place, "Program", lambda *given: made.append(given) or Program(*given))
    engine, step, state = engine_and_step()
    X, Y = data("float64")
    n_steps = 0
    while not made and n_steps < 10_000:
        n_steps += engine.run(step, *state, X, Y, IndexBatches(None, N, 4))[2].shape[0]
    assert 256 < n_steps < 300
    for _ in range(5):
        engine.run(step, *state, X, Y, IndexBatches(None, N, 4))
    assert len(made) == 2  # of full batches, and of the short one


def test_a_rate_changed_between_epochs_is_used():
    engine, step, (params, opt_state) = engine_and_step(bx.sgd(0.1))
    X, Y = data("float64")
    for _ in range(100):
        engine.run(step, params, opt_state, X, Y, IndexBatches(None, N, 4))
    frozen, _, _ = engine.run(
        step, params, opt_state._replace(learning_rate=np.zeros(())), X, Y, IndexBatches(None, N, 4)
    )
    for one, other in zip(leaves(frozen), leaves(params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_that_cannot_be_traced_goes_on_as_it_is():
    engine, step, state = engine_and_step()
    X, Y = data("float64")

    def branching(params, opt_state, X, Y, weight=None):
        params, opt_state, loss = step(params, opt_state, X, Y, weight)
        return params, opt_state, loss if loss > 0 else -loss

    with pytest.raises(TracingError, match="a branch on a value"):
        Trace(branching, state, (X, Y, None))
    expected, _ = step_by_step(step, state, X, Y, None, None, 1)
    for _ in range(10):
        *actual, losses = engine.run(branching, *state, X, Y, IndexBatches(None, N, 1))
    assert len(losses) == N
    for one, other in zip(leaves(tuple(actual)), leaves(tuple(expected)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", ["stop", "ctrl_c"])
def test_an_end_within_the_epoch_keeps_the_finished_steps(how):
    _, step, state = engine_and_step()
    X, Y = data("float64")
    batches = IndexBatches(None, N, 4)

    def on_batch(batch, loss):
        if batch == 2:
            if how == "stop":
                raise StopTraining("enough")
            signal.raise_signal(signal.SIGINT)

    ended, losses = InPlace(step).run(state, (X, Y, None), batches, on_batch)
    expected, expected_losses = step_by_step(step, state, X[:12], Y[:12], None, None, 4)
    np.testing.assert_array_equal(losses, expected_losses)
    for one, other in zip(leaves(ended), leaves(tuple(expected)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ctrl_c_while_the_state_is_copied_out_loses_no_step(monkeypatch):
    network, rule = bx.Network(WIDTHS, output="softmax"), bx.sgd(0.1)
    step, state = bx.make_step(network, "cross_entropy", rule), begin(network, rule, "float64")
    X, Y = data("float64")
    copied, calls = Copies.of, []

    def interrupted(copies, arrays):
        calls.append(arrays)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return copied(copies, arrays)

    monkeypatch.setattr(Copies, "of", interrupted)
    runner = InPlace(step)
    ended, losses = runner.run(state, (X, Y, None), IndexBatches(None, N, 8), None)
    assert runner.interrupted
    expected, expected_losses = step_by_step(step, state, X, Y, None, None, 8)
    np.testing.assert_array_equal(losses, expected_losses)
    for one, other in zip(leaves(ended), leaves(tuple(expected)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ctrl_c_at_any_moment_leaves_no_step_half_done():
    network = bx.Network((20, 30, 5), activation="tanh", output="softmax")
    rule = bx.adam()
    step, state = bx.make_step(network, "cross_entropy", rule), begin(network, rule, "float64")
    X, Y = data("float64", (20, 30, 5), n=200_000)
    runner, batches = InPlace(step), IndexBatches(None, len(X), 4)
    for delay in (0.01, 0.03, 0.06):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
        (params, opt_state), losses = runner.run(state, (X, Y, None), batches, None)
        assert 0 < len(losses) < batches.n_batches
        assert opt_state.count == len(losses)
        expected, _ = step_by_step(step, state, X[: 4 * len(losses)], Y[: 4 * len(losses)], None, None, 4)
        for one, other in zip(leaves((params, opt_state)), leaves(tuple(expected)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_other_errors_of_a_callback_pass_through():
    _, step, state = engine_and_step()
    X, Y = data("float64")

    def on_batch(batch, loss):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        InPlace(step).run(state, (X, Y, None), IndexBatches(None, N, 4), on_batch)


def test_memory_is_that_of_the_values_alive():
    network = bx.Network((100, 400, 400, 10), activation="sigmoid", output="softmax")
    rule = bx.adam()
    step, state = bx.make_step(network, "cross_entropy", rule), begin(network, rule, "float32")
    X, Y = data("float32", (100, 400, 400, 10), n=1000)
    program = Program(Trace(step, state, (X, Y, None)), [leaf.copy() for leaf in leaves(state)])
    arrays = {id(a): a.nbytes for a in program.take.__defaults__ if isinstance(a, np.ndarray) and a.base is None}
    n_weights = sum(leaf.size for leaf in leaves(state[0]))
    hidden = 3 * 1000 * 400 + 2**18  # both outputs, one delta at a time, and pieces
    assert sum(arrays.values()) < 1.15 * 4 * (n_weights * (1 + 2 + 1) + hidden)  # parameters, moments, gradients


@pytest.mark.parametrize("function", [
    lambda P, xp: (P - P[..., :1]) * 0.5,
    lambda P, xp: xp.abs(xp.abs(P * 1.5 + 1.0) - xp.abs(P * 1.5 + 1.0)[:1, :]),
    lambda P, xp: xp.maximum(P, 0.5) * (xp.sum(P, axis=0, keepdims=True) * 0 + 0.5),
    lambda P, xp: (P * 2.0 + xp.sum(P, axis=1, keepdims=True)) * xp.sum(P * P, axis=0, keepdims=True),
    lambda P, xp: xp.where(P > 0.0, P * 2.0, P * 3.0) + xp.where(P > 1.0, P * 4.0, 5.0),
    lambda P, xp: P * 2.0 - xp.vecdot(P, P)[..., None] + 1.0,
    lambda P, xp: xp.sqrt(xp.abs(P - xp.matrix_transpose(xp.matrix_transpose(P) * 2.0))),
])  # fmt: skip
def test_views_and_sums_within_chains_in_pieces(function):
    widths, n = (6, 64), 9000
    network = bx.Network(widths)
    loss = Loss("of one's own", lambda P, Y, xp: function(P, xp) + Y, lambda P, Y, xp: function(P, xp) - Y)
    step = bx.make_step(network, loss, bx.sgd(1e-3))
    state, (X, Y) = begin(network, bx.sgd(1e-3), "float32"), data("float32", widths, n)
    assert_same_bits(step, state, X, Y, batch_size=3000, epochs=2)


@pytest.mark.parametrize("rule", [bx.sgd(0.01), bx.adam()])
def test_one_row_wider_than_a_piece(rule):
    network = bx.Network((3, 150_000))
    step = bx.make_step(network, "squared_error", rule)
    X, Y = np.ones((4, 3), np.float32), np.linspace(0, 1, 600_000, dtype=np.float32).reshape(4, -1)
    assert_same_bits(step, begin(network, rule, "float32"), X, Y, batch_size=2, epochs=2)


def test_a_number_that_bounds_and_is_used_again():
    network = bx.Network(WIDTHS)

    def value(P, Y, xp):
        low = xp.asarray(0.5, dtype=P.dtype)
        return xp.maximum(xp.abs(P - Y), low) * (xp.sum(P, axis=0, keepdims=True) * 0.0 + low)

    step = bx.make_step(network, Loss("bounded", value, lambda P, Y, xp: P - Y), bx.sgd(0.01))
    assert_same_bits(step, begin(network, bx.sgd(0.01), "float32"), *data("float32"))


def test_what_numpy_refuses_in_place_is_found_out_before_training_depends_on_it(monkeypatch):
    def broken(*given):
        program = Program(*given)
        program.take = lambda *batch: 1 / 0
        return program

    monkeypatch.setattr(in_place, "Program", broken)
    engine, step, state = engine_and_step()
    X, Y = data("float64")
    for _ in range(10):
        losses = engine.run(step, *state, X, Y, IndexBatches(None, N, 1))[2]
    np.testing.assert_array_equal(losses, step_by_step(step, state, X, Y, None, None, 1)[1])


def test_a_signal_that_is_ignored_or_handled_otherwise_ends_nothing():
    _, step, state = engine_and_step()
    X, Y = data("float64")
    heard = []
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda number, frame: heard.append(number)):
            signal.signal(signal.SIGINT, handler)
            runner = InPlace(step)
            _, losses = runner.run(
                state, (X, Y, None), IndexBatches(None, N, 4), lambda batch, loss: signal.raise_signal(signal.SIGINT)
            )
            assert len(losses) == 10
            assert not runner.interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(heard) == 10


def test_a_sum_of_rows_each_a_piece_is_not_overwritten_before_the_last():
    network = bx.Network((3, 70_000), bias=False)

    def value(P, Y, xp):
        total = xp.sum(P, axis=0, keepdims=True)
        return (P * total + 1.0) * (P * 2.0) - Y * 0.5

    rule = bx.sgd(1e-4)
    step = bx.make_step(network, Loss("wide", value, lambda P, Y, xp: P - Y), rule)
    X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    Y = np.zeros((8, 70_000), np.float32)
    assert_same_bits(step, begin(network, rule, "float32"), X, Y, batch_size=4, epochs=2)


@pytest.mark.parametrize("n", [3, 400])
def test_a_leaf_is_not_overwritten_while_it_is_still_read(n):
    def step(params, opt_state, X, Y, weight=None):
        ((a, b),) = params
        xp = namespace_of(a)
        half = a * 0.5
        b = b + xp.sum(a, axis=0, keepdims=True) + half[:1, :]
        crossed = a - xp.matrix_transpose(a)
        return ((half + crossed * 0.0 + crossed, b),), opt_state, xp.sum(b, axis=(-2, -1))

    def plain(params, opt_state, X, Y, weight=None):
        ((a, b),) = params
        return ((a * 2.0, b + a[:1, :]),), opt_state, namespace_of(a).sum(b, axis=(-2, -1))

    rng = np.random.default_rng(0)
    state = ((((rng.normal(size=(n, n)), rng.normal(size=(1, n))),)), ())
    X = np.ones((8, n))
    for one in (step, plain):
        assert_same_bits(one, state, X, X, batch_size=4, epochs=2)
