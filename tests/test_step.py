"""The composed step: the same on every backend, pure, traceable, and K networks at once."""

import numpy as np
import pytest
from conftest import assert_trees_close, library
from test_optimizers import CASES

from backprop_xp import InputError, Network, init, losses, make_gradient, make_step, packing, schedules, sgd
from backprop_xp import step as step_module
from backprop_xp.estimators import objectives
from backprop_xp.initializers import normal
from backprop_xp.step import loss_head

OPTIONS = {"plain": {}, "all": {"l2": 0.01, "clip_norm": 0.5, "dropout": 0.25, "seed": 2**40 + 3}}


def problem(activation="tanh", output="softmax", bias=True, dtype="float64", leading=()):
    rng = np.random.default_rng(1)
    network = Network((5, 7, 6, 3), activation=activation, output=output, bias=bias)
    one, *more = (
        init(network, k, bias_initializer=normal(0.1), dtype=dtype) for k in range(leading[0] if leading else 1)
    )
    params = stacked([one, *more]) if leading else one
    X, labels = rng.normal(size=(9, 5)).astype(dtype), rng.integers(0, 3, 9).astype(np.int32)
    return network, params, X, labels, rng.uniform(0.5, 2, 9).astype(dtype)


def stacked(networks):
    """Stack the parameters of K networks on a leading axis."""
    return tuple(
        tuple(None if leaves[0] is None else np.stack(leaves) for leaves in zip(*layers, strict=True))
        for layers in zip(*networks, strict=True)
    )


def trajectory(lib, step, optimizer, params, X, Y, weight, n_steps=12, dtype="float64"):
    params, X, weight = lib.params(params), lib.array(X, dtype), lib.array(weight, dtype)
    Y = lib.array(Y, "int32") if Y.ndim == 1 else lib.array(Y, dtype)
    losses = []
    with lib.no_host_reads():
        state = optimizer.init(params)
        for _ in range(n_steps):
            params, state, loss = step(params, state, X, Y, weight)
            losses.append(loss)
    return lib.host(params), np.array([lib.host(loss) for loss in losses])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", OPTIONS)
def test_every_backend_takes_numpys_steps(other, name, options):
    make, settings = CASES[name]
    optimizer = make(schedules.warmup_cosine(0.05, 3, 10, initial=0.01, final=0.01), **settings)
    network, *data = problem()
    step = make_step(network, "cross_entropy", optimizer, **OPTIONS[options])
    expected, expected_losses = trajectory(library("numpy"), step, optimizer, *data)
    actual, losses = trajectory(other, step, optimizer, *data)
    assert_trees_close(actual, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-12)
    assert len(set(losses)) == len(losses)


@pytest.mark.parametrize("activation", ["sigmoid", "mish"])
@pytest.mark.parametrize("bias", [True, False, "shared"])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("options", OPTIONS)
def test_stacked_networks_equal_single_ones(lib, activation, bias, name, options):
    make, settings = CASES[name]
    optimizer = make(0.05, **settings)
    network, params, X, labels, weight = problem(activation, "sigmoid", bias, leading=(3,))
    # not softmax with a shared bias: that gradient is 0, and Adam would blow up its rounding
    Y = np.eye(3)[labels]
    step = make_step(network, "squared_error", optimizer, **OPTIONS[options])
    together, losses = trajectory(lib, step, optimizer, params, X, Y, weight)
    assert losses.shape == (12, 3)
    for k in range(3):
        single = tuple(tuple(None if leaf is None else leaf[k] for leaf in layer) for layer in params)
        alone, loss = trajectory(lib, step, optimizer, single, X, Y, weight)
        picked = tuple(tuple(None if leaf is None else leaf[k] for leaf in layer) for layer in together)
        assert_trees_close(picked, alone, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(losses[:, k], loss, rtol=1e-11)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rate", [0.05, schedules.one_cycle(0.05, 10)])
def test_jax_traces_every_step(name, options, rate):
    jax = pytest.importorskip("jax")
    make, settings = CASES[name]
    optimizer = make(rate, **settings)
    network, params, X, labels, weight = problem()
    step = make_step(network, "cross_entropy", optimizer, **OPTIONS[options])
    params = jax.tree.map(jax.numpy.asarray, params)
    arguments = (
        params,
        optimizer.init(params),
        jax.numpy.asarray(X),
        jax.numpy.asarray(labels),
        jax.numpy.asarray(weight),
    )
    text = str(jax.make_jaxpr(step)(*arguments))
    products = 3 * network.n_layers - 1  # forward, dW, and delta for all layers but the first
    penalties = network.n_layers if OPTIONS[options].get("l2") else 0  # |W|^2
    assert text.count("dot_general") == products + penalties
    jitted, eager = jax.jit(step)(*arguments), step(*arguments)
    assert_trees_close(jax.tree.leaves(jitted), jax.tree.leaves(eager), rtol=1e-12, atol=1e-15)


def test_the_step_leaves_its_arguments_as_they_were(lib):
    network, params, X, labels, weight = problem("silu", bias="shared")
    optimizer = CASES["adamw"][0](0.1)
    step = make_step(network, "cross_entropy", optimizer, **OPTIONS["all"])
    given = lib.params(params)
    arguments = given, optimizer.init(given), lib.array(X), lib.array(labels, "int32"), lib.array(weight)
    before = tuple(np.copy(leaf) for leaf in leaves(lib.host(arguments)))
    step(*arguments)
    assert_trees_close(leaves(lib.host(arguments)), before, rtol=0)


def leaves(tree):
    if tree is None:
        return ()
    return tuple(leaf for branch in tree for leaf in leaves(branch)) if isinstance(tree, tuple) else (tree,)


def test_float32_stays_float32(lib):
    network, params, X, labels, weight = problem(dtype="float32")
    optimizer = CASES["adam"][0](schedules.one_cycle(0.05, 10))
    step = make_step(network, "cross_entropy", optimizer, **OPTIONS["all"])
    end, losses = trajectory(lib, step, optimizer, params, X, labels, weight, 2, "float32")
    assert {leaf.dtype for leaf in leaves(end)} == {np.dtype("float32")}
    assert losses.dtype == np.float32


def test_clipping_bounds_the_norm_over_all_parameters():
    network, params, X, labels, _ = problem()
    clipped = make_step(network, "cross_entropy", sgd(1.0), clip_norm=1e-3)(params, sgd(1.0).init(params), X, labels)[0]
    moved = leaves(tuple(tuple(a - b for a, b in zip(p, q, strict=True)) for p, q in zip(params, clipped, strict=True)))
    assert np.sqrt(sum((leaf**2).sum() for leaf in moved)) == pytest.approx(1e-3)
    loose = make_step(network, "cross_entropy", sgd(1.0), clip_norm=1e3)(params, sgd(1.0).init(params), X, labels)[0]
    free = make_step(network, "cross_entropy", sgd(1.0))(params, sgd(1.0).init(params), X, labels)[0]
    assert_trees_close(loose, free, rtol=1e-14)


def test_the_penalty_is_half_l2_times_the_squared_weights():
    network, params, X, labels, _ = problem()
    plain, penalised = (make_gradient(network, "cross_entropy", l2=l2)(params, X, labels)[0] for l2 in (0.0, 0.2))
    assert penalised - plain == pytest.approx(0.1 * sum((W**2).sum() for W, _ in params))


@pytest.mark.parametrize("bad", [
    {"l2": -1.0}, {"dropout": 1.0}, {"dropout": -0.1}, {"clip_norm": 0.0}, {"clip_norm": float("inf")},
    {"multipliers": ((1.0, 1.0),)}, {"multipliers": ((1.0, 1.0), (-1.0, 1.0), (1.0, 1.0))},
])  # fmt: skip
def test_options_out_of_range(bad):
    with pytest.raises(InputError, match=f"{next(iter(bad))} must be"):
        make_step(problem()[0], "cross_entropy", sgd(), **bad)


def test_unknown_loss_suggests_the_nearest():
    with pytest.raises(InputError, match="unknown loss 'cross_entrop'; did you mean 'cross_entropy'"):
        make_step(problem()[0], "cross_entrop", sgd())


@pytest.mark.parametrize("bias", [True, False, "shared"])
@pytest.mark.parametrize("leading", [(), (3,)], ids=["one", "stacked"])
@pytest.mark.parametrize("name", ["nesterov", "adam"])
def test_packed_parameters_take_the_same_steps(lib, name, leading, bias):
    network, params, X, labels, weight = problem(bias=bias, leading=leading)
    make, settings = CASES[name]
    if (
        name == "adam"
    ):  # a shared bias before a softmax has no gradient but its rounding, which a small one would blow up
        settings = {**settings, "epsilon": 1e-3}
    optimizer = make(0.05, **settings)
    plain = make_step(network, "cross_entropy", optimizer, **OPTIONS["all"])
    expected, losses = trajectory(lib, plain, optimizer, params, X, labels, weight)
    step = make_step(network, "cross_entropy", optimizer, packed=True, **OPTIONS["all"])
    packed, packed_losses = trajectory(lib, step, optimizer, packing.pack(params), X, labels, weight)
    assert_trees_close(packing.unpacker(network.shapes)(packed, np), expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(packed_losses, losses, rtol=1e-12)


def test_packed_parameters_do_not_tell_weights_from_biases():
    network = problem()[0]
    for optimizer, options in ((CASES["adamw"][0](0.1), {}), (sgd(0.1), {"multipliers": [(1.0, 0.0)] * 3})):
        with pytest.raises(InputError, match="leave out packed"):
            make_step(network, "cross_entropy", optimizer, packed=True, **options)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_penalty_by_batch_is_shared_by_its_samples(lib, weighted):
    network, params, X, labels, weight = problem()
    total = float(weight.sum()) if weighted else len(X)
    given = lib.params(params), lib.array(X), lib.array(labels, "int32"), lib.array(weight) if weighted else None
    by_batch = make_gradient(network, "cross_entropy", l2=0.7, l2_per_batch=True)(*given)
    plain = make_gradient(network, "cross_entropy", l2=0.7 / total)(*given)
    assert_trees_close(lib.host(by_batch), lib.host(plain), rtol=1e-13)


def test_a_function_may_be_the_loss(lib):
    network, params, X, labels, weight = problem()
    given = lib.params(params), lib.array(X), lib.array(labels, "int32"), lib.array(weight)
    head = loss_head(network, "cross_entropy")
    doubled = make_gradient(network, lambda *arguments: tuple(2.0 * part for part in head(*arguments)))(*given)
    plain = make_gradient(network, "cross_entropy")(*given)
    assert_trees_close(lib.host(doubled), tuple_map(lambda a: 2.0 * a, lib.host(plain)), rtol=1e-13)


def tuple_map(function, tree):
    return tuple(tuple_map(function, leaf) for leaf in tree) if isinstance(tree, tuple) else function(tree)


def test_sparse_rows_take_the_same_step():
    sparse = pytest.importorskip("scipy.sparse")
    network, params, X, labels, weight = problem()
    X[X < 0.3] = 0.0
    rule = sgd(0.1)
    step = make_step(network, "cross_entropy", rule, **OPTIONS["all"])
    expected = step(params, rule.init(params), X, labels, weight)
    for kind in (sparse.csr_array, sparse.csc_matrix):
        assert_trees_close(step(params, rule.init(params), kind(X), labels, weight), expected, rtol=1e-13)


PARTS = [1, 2, 3, 7, 9, 50]  # of 9 rows
BY_BATCH = {**OPTIONS["all"], "l2_per_batch": True}
EVERY_LOSS = {**losses.LOSSES, "huber": losses.huber(0.3), "pinball": losses.pinball(0.8)}
OUTPUT = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}


def moved(lib, step, optimizer, params, X, Y, weight, n_steps=3):
    """Return the parameters and losses after a few steps; X may be sparse."""
    given = lib.params(params)
    X = X if hasattr(X, "tocsr") else lib.array(X)
    Y = lib.array(Y, str(Y.dtype))
    weight = None if weight is None else lib.array(weight)
    state, figures = optimizer.init(given), []
    with lib.no_host_reads():
        for _ in range(n_steps):
            given, state, loss = step(given, state, X, Y, weight)
            figures.append(loss)
    return lib.host(given), lib.host(tuple(figures))


def assert_parts_equal_the_whole(lib, step, optimizer, *data, parts=PARTS):
    whole = moved(lib, step, optimizer, *data)
    for n_parts in parts:
        assert_trees_close(moved(lib, step.in_parts(n_parts), optimizer, *data), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, OPTIONS["all"], BY_BATCH], ids=["plain", "all", "by batch"])
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_of_a_batch_take_the_same_steps(lib, name, options, weighted):
    make, settings = CASES[name]
    optimizer = make(schedules.warmup_cosine(0.05, 3, 10, initial=0.01, final=0.01), **settings)
    network, params, X, labels, weight = problem()
    step = make_step(network, "cross_entropy", optimizer, **options)
    data = params, X, labels, weight if weighted else None
    assert_parts_equal_the_whole(lib, step, optimizer, *data, parts=[2, 7])


@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_add_up_to_every_loss(lib, loss, weighted):
    network, params, X, labels, weight = problem("gelu", OUTPUT.get(loss, "identity"))
    Y = np.eye(3)[labels]
    step = make_step(network, EVERY_LOSS[loss], sgd(0.1), **BY_BATCH)
    assert_parts_equal_the_whole(lib, step, sgd(0.1), params, X, Y, weight if weighted else None)


@pytest.mark.parametrize("targets", ["labels", "labels of each", "rows", "rows of each", "flat"])
@pytest.mark.parametrize("packed", [False, True])
def test_parts_of_stacked_networks(lib, targets, packed):
    network, params, X, labels, weight = problem(bias="shared", leading=(4,))
    rng = np.random.default_rng(3)
    of_each = rng.integers(0, 3, (4, 9)).astype(np.int32)
    Y = {"labels": labels, "labels of each": of_each, "rows": np.eye(3)[labels], "rows of each": np.eye(3)[of_each]}
    loss = "cross_entropy"
    if targets == "flat":
        loss, network, Y = "squared_error", Network((5, 7, 1)), {"flat": rng.normal(size=9)}
        params = stacked([init(network, k) for k in range(4)])
    elif targets.endswith("each"):
        X, weight = rng.normal(size=(4, 9, 5)), rng.uniform(0.5, 2, (4, 9))
    optimizer = CASES["nesterov"][0](0.05)
    step = make_step(network, loss, optimizer, packed=packed, **OPTIONS["all"])
    params = packing.pack(params) if packed else params
    assert_parts_equal_the_whole(lib, step, optimizer, params, X, Y[targets], weight)


def test_labels_of_as_many_networks_as_rows_and_classes_are_still_labels():
    network = Network((2, 3), output="softmax")
    params = stacked([init(network, k) for k in range(3)])
    X, labels = np.random.default_rng(0).normal(size=(3, 2)), np.array([[0, 1, 2], [2, 2, 1], [1, 0, 0]])
    step = make_step(network, "cross_entropy", sgd(0.1))
    assert_parts_equal_the_whole(library("numpy"), step, sgd(0.1), params, X, labels, None)


@pytest.mark.parametrize(("loss", "output"), objectives.OBJECTIVES)
def test_a_loss_that_is_a_function_is_given_the_whole_batch(lib, loss, output):
    network, params, X, labels, weight = problem("relu", output)
    Y, weight = np.eye(3)[labels], np.where(np.arange(9) < 5, 0.0, weight)  # a part of no weight has no mean of its own
    head = objectives.head(loss, network, 1e-16, divided=True)
    step = make_step(network, head, sgd(0.1), **BY_BATCH)
    assert_parts_equal_the_whole(lib, step, sgd(0.1), params, X, Y, weight)


def test_parts_of_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    network, params, X, labels, weight = problem()
    X[X < 0.3] = 0.0
    for loss in ("cross_entropy", loss_head(network, "cross_entropy")):
        step = make_step(network, loss, sgd(0.1), **BY_BATCH)
        for kind in (sparse.csr_array, sparse.csc_matrix):
            assert_parts_equal_the_whole(library("numpy"), step, sgd(0.1), params, kind(X), labels, weight)


@pytest.mark.parametrize("given", ["name", "function"])
def test_jax_compiles_parts(given):
    jax = pytest.importorskip("jax")
    network, params, X, labels, weight = problem()
    optimizer = CASES["adam"][0](0.05)
    step = make_step(
        network, "cross_entropy" if given == "name" else loss_head(network, "cross_entropy"), optimizer, **BY_BATCH
    )
    params, X, labels, weight = jax.tree.map(jax.numpy.asarray, (params, X, labels, weight))
    arguments = params, optimizer.init(params), X, labels, weight
    compiled = jax.jit(step.in_parts(4))(*arguments)
    assert_trees_close(jax.tree.leaves(compiled), jax.tree.leaves(step(*arguments)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("n_parts", "rows"), [(1, [9]), (2, [4, 5]), (4, [2, 2, 2, 3]), (9, [1] * 9), (50, [1] * 9)])
def test_parts_are_nearly_equal_and_never_empty(monkeypatch, n_parts, rows):
    network, params, X, labels, _ = problem()
    seen, propagate = [], step_module.propagate

    def watched(network, params, X, masks, xp):
        seen.append(X.shape[-2])
        return propagate(network, params, X, masks, xp)

    monkeypatch.setattr(step_module, "propagate", watched)
    step = make_step(network, "cross_entropy", sgd(0.1)).in_parts(3).in_parts(n_parts)
    step(params, sgd(0.1).init(params), X, labels)
    assert seen == rows


def test_parts_leave_the_arguments_as_they_were(lib):
    network, params, X, labels, weight = problem("silu", bias="shared")
    optimizer = CASES["adamw"][0](0.1)
    step = make_step(network, "cross_entropy", optimizer, **BY_BATCH).in_parts(4)
    given = lib.params(params)
    arguments = given, optimizer.init(given), lib.array(X), lib.array(labels, "int32"), lib.array(weight)
    before = tuple(np.copy(leaf) for leaf in leaves(lib.host(arguments)))
    step(*arguments)
    assert_trees_close(leaves(lib.host(arguments)), before, rtol=0)


def test_parts_in_float32_stay_float32(lib):
    network, params, X, labels, weight = problem(dtype="float32")
    optimizer = CASES["adam"][0](schedules.one_cycle(0.05, 10))
    step = make_step(network, "cross_entropy", optimizer, **BY_BATCH)
    whole, whole_losses = trajectory(lib, step, optimizer, params, X, labels, weight, 2, "float32")
    end, figures = trajectory(lib, step.in_parts(3), optimizer, params, X, labels, weight, 2, "float32")
    assert_trees_close(end, whole, rtol=1e-4, atol=1e-6)  # and the data types are compared
    assert figures.dtype == whole_losses.dtype == np.float32


@pytest.mark.parametrize("rows", [8, 10])
def test_parts_find_out_a_wrong_number_of_targets_or_weights(rows):
    network, params, X, labels, weight = problem()
    step = make_step(network, "cross_entropy", sgd(0.1)).in_parts(2)
    with pytest.raises(ValueError, match="Y must be"):
        step(params, sgd(0.1).init(params), X, np.resize(labels, rows), weight)
    with pytest.raises(ValueError, match="weight must be"):
        step(params, sgd(0.1).init(params), X, labels, np.resize(weight, rows))


@pytest.mark.parametrize("place", [(slice(None), None), (None, slice(None)), 0])
def test_weights_that_are_not_a_number_a_row_are_refused(lib, place):
    network, params, X, labels, weight = problem()
    given = lib.params(params)
    with pytest.raises(InputError, match=r"weight must be \(n_samples,\)"):
        make_step(network, "cross_entropy", sgd(0.1))(
            given, sgd(0.1).init(given), lib.array(X), lib.array(labels, "int32"), lib.array(weight[place])
        )


@pytest.mark.parametrize("rule", ["adam", sgd, None])
def test_what_is_no_optimizer_is_refused(rule):
    with pytest.raises(InputError, match=r"optimizer must be made by adam\(\), sgd\(\) or another, not "):
        make_step(problem()[0], "cross_entropy", rule)


@pytest.mark.parametrize("n_parts", [0, -1, 2.0])
def test_a_number_of_parts_out_of_range(n_parts):
    with pytest.raises(InputError, match="n_parts must be an integer of at least 1"):
        make_step(problem()[0], "cross_entropy", sgd()).in_parts(n_parts)


def test_gradients_go_through_a_function_before_the_update():
    network, rule = Network((3, 4, 2), output="softmax"), sgd(0.1)
    params = init(network, seed=0)
    X, Y = np.ones((5, 3), np.float32), np.zeros(5, np.int64)
    plain = make_step(network, "cross_entropy", rule)
    for step in (plain, plain.in_parts(2)):
        same = step.between(lambda grads: grads)(params, rule.init(params), X, Y)
        none = step.between(lambda grads: tuple((dW * 0, db * 0) for dW, db in grads))(params, rule.init(params), X, Y)
        for layer, expected, first, left in zip(
            same[0], step(params, rule.init(params), X, Y)[0], params, none[0], strict=True
        ):
            for k in (0, 1):
                np.testing.assert_array_equal(layer[k], expected[k])
                np.testing.assert_array_equal(left[k], first[k])
