"""The chain rule taken apart: golden gradients, terms that multiply and sum to the core's, and the stated update."""

import itertools
import json
import math

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import backends, explain, schedules
from backprop_xp.activations import ACTIVATIONS
from backprop_xp.losses import LOSSES

RULES = {
    "sgd": bx.sgd(0.1),
    "momentum": bx.momentum(0.05, 0.8),
    "nesterov": bx.nesterov(schedules.cosine(0.05, 20)),
    "rmsprop": bx.rmsprop(0.01),
    "adam": bx.adam(schedules.exponential(0.01, 0.9, 3)),
    "adamw": bx.adamw(0.01, 0.1),
}


def problem(loss, activation, output, n_samples=7, bias=True, seed=0):
    """Return (network, params, X, Y, weight) with targets in the loss's range."""
    rng = np.random.default_rng(seed)
    network = bx.Network((3, 5, 4, 3), activation=activation, output=output, bias=bias)
    params = bx.init(network, seed, bias_initializer="uniform")
    X = rng.normal(size=(n_samples, 3))
    Y = rng.integers(0, 3, n_samples) if loss == "cross_entropy" else rng.uniform(0.1, 0.9, (n_samples, 3))
    return network, params, X, Y, rng.uniform(0.5, 2.0, n_samples)


def outputs_of(loss):
    return LOSSES[loss].outputs or ("identity", "sigmoid", "softmax", "tanh", "gelu")


HIDDEN = [name for name, activation in ACTIVATIONS.items() if not activation.output_only]
CASES = [
    *((loss, "tanh", output) for loss in LOSSES for output in outputs_of(loss)),
    *(("squared_error", activation, "identity") for activation in HIDDEN),
    *(("half_squared_error", "sigmoid", output) for output in ACTIVATIONS),
]


def assert_close(actual, expected):
    scale = max(1e-300, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "activation", "output"), sorted(set(CASES)))
def test_the_three_terms_multiply_and_sum_to_the_cores_gradient(loss, activation, output, weighted):
    network, params, X, Y, weight = problem(loss, activation, output)
    weight = weight if weighted else None
    _, grads = bx.make_gradient(network, loss)(params, X, Y, weight)
    it = explain(network, params, X, Y, loss, sample_weight=weight)
    for terms, (dW, db), (eW, eb) in zip(it.layers, grads, it.gradient, strict=True):
        assert_close(terms.first * terms.second, terms.delta)
        assert_close(np.einsum("ni,nj->ij", terms.third, terms.first * terms.second), dW)
        assert_close((terms.first * terms.second).sum(axis=0, keepdims=True), db)
        np.testing.assert_array_equal(eW, dW)
        np.testing.assert_array_equal(eb, db)


@pytest.mark.parametrize("bias", [True, False, "shared"])
def test_one_weight_four_ways(bias):
    network, params, X, Y, _ = problem("half_squared_error", "sigmoid", "sigmoid", bias=bias)
    _, grads = bx.make_gradient(network, "half_squared_error")(params, X, Y)
    it = explain(network, params, X, Y, "half_squared_error")
    named = list(it.weights())
    assert len(named) == sum(leaf.size for layer in params for leaf in layer if leaf is not None)
    for layer, unit, source in named:
        weight = it.weight(layer, unit, source)
        leaf = grads[layer - 1][0 if source else 1]
        column = 0 if source is None and bias == "shared" else unit - 1
        core = leaf[source - 1 if source else 0, column]
        assert weight.matrix == core
        assert weight.gradient == pytest.approx(core, rel=1e-12, abs=1e-15)
        assert weight.loop == pytest.approx(core, rel=1e-12, abs=1e-15)
        assert weight.difference == pytest.approx(core, rel=1e-6, abs=1e-9)
        assert weight.products.sum() == weight.gradient
        if not (bias == "shared" and source is None):
            np.testing.assert_allclose(weight.first * weight.second * weight.third, weight.products, rtol=1e-12)


def test_a_hidden_units_first_term_is_the_sum_over_the_next_layer():
    network, params, X, Y, _ = problem("cross_entropy", "relu", "softmax")
    it = explain(network, params, X, Y, "cross_entropy")
    for layer, unit in itertools.product((1, 2), (1, 2, 3, 4)):
        found = it.unit(layer, unit)
        np.testing.assert_allclose(found.deltas_onward @ found.weights_onward, found.first, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(found.weights_onward, params[layer][0][unit - 1])
        np.testing.assert_array_equal(found.output, bx.forward(network, params, X)[layer][:, unit - 1])
    assert it.unit(3, 1).weights_onward.size == 0
    assert it.layers[-1].folded


@pytest.mark.parametrize("options", [
    {},
    {"l2": 0.1, "clip_norm": 0.05},
    {"l2": 0.3, "l2_per_batch": True, "multipliers": [(1.0, 2.0), (0.0, 1.0), (0.5, 0.0)]},
])  # fmt: skip
@pytest.mark.parametrize("name", RULES)
def test_the_stated_update_is_the_one_the_optimizer_makes(name, options):
    rule = RULES[name]
    if options.get("multipliers") is None and name == "adamw":
        options = {**options, "clip_norm": 100.0}  # which clips nothing
    network, params, X, Y, weight = problem("squared_error", "tanh", "identity")
    step, state = bx.make_step(network, "squared_error", rule, **options), rule.init(params)
    for _ in range(3):
        params, state, _ = step(params, state, X, Y, weight)
    after, _, value = step(params, state, X, Y, weight)
    it = explain(
        network, params, X, Y, "squared_error", optimizer=rule, opt_state=state, sample_weight=weight, **options
    )
    assert it.value == float(value)
    for layer, unit, source in it.weights():
        update = it.weight(layer, unit, source).update
        leaf = after[layer - 1][0 if source else 1]
        assert update.after["w"] == leaf[source - 1 if source else 0, unit - 1]
        stated = dict(update.before)
        for symbol, expression in update.statements:
            stated[symbol] = eval(expression, {"sqrt": math.sqrt}, stated)
        for symbol, number in update.after.items():
            assert stated[symbol] == pytest.approx(number, rel=1e-12, abs=1e-15), symbol


def test_s7_golden():
    from test_examples import load

    s7 = load("s7_learning_rates")
    params = bx.init(s7.NETWORK, initializer=s7.START)
    it = explain(s7.NETWORK, params, s7.X, s7.Y, "half_squared_error")
    assert it.value == pytest.approx(0.24251985735, abs=5e-12)
    of_outputs = [it.weight(2, unit, source).gradient for unit in (1, 2) for source in (1, 2)]
    of_hidden = [it.weight(1, unit, source).gradient for unit in (1, 2) for source in (1, 2)]
    np.testing.assert_allclose(of_outputs, [0.0721570729, 0.0726907452, -0.0424552501, -0.0427692483], atol=5e-11)
    np.testing.assert_allclose(of_hidden, [0.00018825567, 0.00037651133, 0.00022481346, 0.00044962693], atol=5e-12)


def test_s4_golden():
    from test_examples import load

    s4 = load("s4_shared_bias")
    params = bx.init(s4.NETWORK, initializer=[(s4.W0.T, [s4.B1]), (s4.W1.T, [s4.B2])])
    it = explain(s4.NETWORK, params, s4.X, s4.Y, "half_squared_error")
    W1 = [[it.weight(2, unit, source).gradient for source in (1, 2)] for unit in (1, 2)]
    W0 = [[it.weight(1, unit, source).gradient for source in (1, 2)] for unit in (1, 2)]
    np.testing.assert_allclose(W1, [[-0.0168500800, -0.0180591793], [0.0516851584, 0.0553938939]], atol=5e-11)
    np.testing.assert_allclose(W0, [[0.0015376788, 0.0087135129], [0.0016276034, 0.0092230862]], atol=5e-11)


@pytest.mark.parametrize(("where", "message"), [
    ((0, 1, 1), "there are layers 1 to 3, and no layer 0"),
    ((4, 1, 1), "no layer 4"),
    ((1, 6, 1), "layer 1 has units 1 to 5, and no unit 6"),
    ((2, 1, 6), "weights of layer 2 come from 1 to 5, and none from 6"),
])  # fmt: skip
def test_what_is_not_there_is_said(where, message):
    network, params, X, Y, _ = problem("squared_error", "tanh", "identity")
    with pytest.raises(bx.InputError, match=message):
        explain(network, params, X, Y, "squared_error").weight(*where)


def test_everything_is_computed_in_float64():
    network, params, X, Y, _ = problem("squared_error", "tanh", "identity")
    low = tuple((W.astype(np.float32), b.astype(np.float32)) for W, b in params)
    it = explain(network, low, X.astype(np.float32), Y.astype(np.float32), "squared_error", optimizer=bx.adam())
    assert it.layers[0].first.dtype == np.float64
    assert json.dumps(it.weight(1, 1, None).update.before)


def test_dead_saturated_and_vanishing_are_found_with_the_row_that_shows_them():
    network = bx.Network((1, 2, 2, 1), activation=("relu", "sigmoid"), output="identity")
    params = (
        (np.array([[1.0, -1.0]]), np.array([[0.5, -0.5]])),  # unit 2 is dead where the inputs are positive
        (np.array([[8.0, 0.1], [1.0, 1.0]]), np.zeros((1, 2))),  # unit 1 is saturated from the second row on
        (np.array([[1.0], [1.0]]), np.zeros((1, 1))),
    )
    X, Y = np.array([[0.0], [1.0], [2.0]]), np.array([[5.0], [5.0], [5.0]])
    it = explain(network, params, X, Y, "half_squared_error", first_row=11)
    found = {finding.kind: finding for finding in it.findings()}
    assert (found["dead"].layer, found["dead"].unit) == (1, 2)
    assert (found["saturated"].layer, found["saturated"].unit, found["saturated"].row) == (2, 1, 13)
    assert found["saturated"].value == pytest.approx(2 / 3)
    assert "vanishing" not in found
    largest = max(it.rows(), key=lambda row: abs(row["gradient"]))
    first = it.findings()[0]
    assert (first.layer, first.unit, first.source) == (largest["layer"], largest["unit"], largest["source"])
    assert first.row - 11 == np.abs(it.weight(first.layer, first.unit, first.source).products).argmax()
    small = tuple((W, b) if k < 2 else (W * 1e-4, b) for k, (W, b) in enumerate(params))
    vanishing = [f for f in explain(network, small, X, Y, "half_squared_error").findings() if f.kind == "vanishing"]
    assert [finding.layer for finding in vanishing] == [1, 2]
    for finding in it.findings():
        assert f"layer {finding.layer}" in finding.text


def test_lines_say_the_formula_its_numbers_and_the_result():
    from backprop_xp.explanation import text

    network, params, X, Y, _ = problem("half_squared_error", "sigmoid", "sigmoid", n_samples=12)
    it = explain(network, params, X, Y, "half_squared_error", optimizer=bx.sgd(0.5), l2=0.25)
    weight = it.weight(3, 2, 4)
    lines = text.of_weight(weight)
    assert lines[:2] == [
        "layer 3, unit 2, from 4",
        "∂E/∂w = Σ ∂E/∂O₂ · ∂O₂/∂net₂ · ∂net₂/∂w   (first · second · third)",
    ]
    assert sum(line.startswith("  row ") for line in lines) == 8
    assert "  ... 4 rows more" in lines
    top = int(np.abs(weight.products).argmax())
    numbers = [f"{term[top]:.6g}" for term in (weight.first, weight.second, weight.third)]
    assert f"  row {top + 1}: {' · '.join(numbers)} = {weight.products[top]:.6g}" in lines
    W = params[2][0][3, 1]
    g = weight.gradient + 0.25 * W
    shown = [f"({number:.6g})" if number < 0 else f"{number:.6g}" for number in (weight.gradient, W, g)]
    assert lines[-2] == f"  g ← dE + l2 * w = {weight.gradient:.6g} + 0.25 * {shown[1]} = {g:.6g}".replace(
        f"= {weight.gradient:.6g} +", f"= {shown[0]} +"
    )
    assert lines[-1] == f"  w ← w - lr * g = {shown[1]} - 0.5 * {shown[2]} = {W - 0.5 * g:.6g}"
    unit = it.unit(2, 1)
    top = int(np.abs(unit.delta).argmax())
    (line,) = [line for line in text.of_unit(unit) if line.startswith(f"  row {top + 1}:")]
    assert f"δ = {unit.first[top]:.6g} · {unit.second[top]:.6g} = {unit.delta[top]:.6g}" in line
    assert str(it).splitlines()[0] == f"3-5-4-3, half_squared_error {it.value:.6g} over 12 rows"


def test_an_optimizers_settings_may_be_numpys():
    network, params, X, Y, _ = problem("cross_entropy", "tanh", "softmax")
    it = explain(network, params, X, Y, "cross_entropy", optimizer=bx.momentum(0.1, np.float32(0.5)))
    assert json.loads(json.dumps(it.to_json()))["optimizer"] == {"name": "momentum", "momentum": 0.5}


def test_json_and_a_data_frame_hold_the_same_numbers():
    pandas = pytest.importorskip("pandas")
    network, params, X, Y, _ = problem("cross_entropy", "tanh", "softmax")
    it = explain(network, params, X, Y, "cross_entropy", optimizer=bx.adam(0.01))
    read = json.loads(json.dumps(it.to_json()))
    frame = it.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(read["weights"]) == sum(leaf.size for layer in params for leaf in layer)
    _, grads = bx.make_gradient(network, "cross_entropy")(params, X, Y)
    for row in read["weights"]:
        leaf = grads[row["layer"] - 1][0 if row["source"] else 1]
        assert row["gradient"] == leaf[(row["source"] or 1) - 1, row["unit"] - 1]
    for terms, layer in zip(it.layers, read["layers"], strict=True):
        np.testing.assert_array_equal(layer["delta"], terms.delta)
        np.testing.assert_array_equal(np.asarray(layer["first"]) * layer["second"], terms.first * terms.second)
    assert read["outputs"][-1] == bx.forward(network, params, X)[-1].tolist()


def test_arrays_of_any_library(other):
    network, params, X, Y, _ = problem("squared_error", "tanh", "identity")
    rule = bx.adam(0.01)
    expected = explain(network, params, X, Y, "squared_error", optimizer=rule, opt_state=rule.init(params))

    def there(array):
        return backends.to_device(array, other.backend)

    moved = tuple((there(W), there(b)) for W, b in params)
    it = explain(network, moved, there(X), there(Y), "squared_error", optimizer=rule, opt_state=rule.init(moved))
    assert it.to_json() == expected.to_json()


@pytest.mark.parametrize(("given", "message"), [
    ({"Y": np.array([7, -1])}, "labels"),
    ({"X": np.array([[np.nan, 0.0], [0.0, 0.0]])}, "NaN|infin|finite"),
    ({"X": np.zeros((0, 2)), "Y": np.zeros(0, int)}, "has no rows"),
    ({"X": np.zeros((2, 3))}, "must be .n_samples, 2."),
    ({"sample_weight": np.zeros(2)}, "not all 0"),
    ({"sample_weight": np.ones(3)}, "sample_weight must be"),
])  # fmt: skip
def test_data_that_do_not_fit_are_refused_as_the_trainer_does(given, message):
    network = bx.Network((2, 3, 3), output="softmax")
    settings = {"X": np.zeros((2, 2)), "Y": np.array([0, 1]), **given}
    X, Y = settings.pop("X"), settings.pop("Y")
    with pytest.raises(bx.InputError, match=message):
        explain(network, bx.init(network), X, Y, "cross_entropy", **settings)
    stacked = tuple((np.stack([W, W]), np.stack([b, b])) for W, b in bx.init(network))
    with pytest.raises(bx.InputError, match="one network"):
        explain(network, stacked, np.zeros((2, 2)), np.array([0, 1]), "cross_entropy")


def test_the_loops_stand_beside_only_what_they_compute():
    network, params, X, Y, _ = problem("half_squared_error", "sigmoid", "sigmoid")
    doubled = explain(network, params, X, Y, "half_squared_error", sample_weight=np.full(len(X), 2.0))
    assert doubled.weight(1, 1, 1).loop is None
    alike = explain(network, params, X, Y, "squared_error", sample_weight=np.full(len(X), 2.0))
    assert alike.weight(1, 1, 1).loop == pytest.approx(alike.weight(1, 1, 1).matrix, rel=1e-12)
    own = LOSSES["squared_error"]._replace(gradient=lambda P, Y, xp: 3.0 * (P - Y))
    assert explain(network, params, X, Y, own).weight(1, 1, 1).loop is None


def test_an_optimizer_by_its_name_and_a_state_of_another():
    network, params, X, Y, _ = problem("cross_entropy", "tanh", "softmax")
    named, made = (explain(network, params, X, Y, "cross_entropy", optimizer=rule) for rule in ("adam", bx.adam()))
    np.testing.assert_array_equal(named.updates.params[0][0], made.updates.params[0][0])
    with pytest.raises(bx.InputError, match="did you mean 'adam'"):
        explain(network, params, X, Y, "cross_entropy", optimizer="adma")
    with pytest.raises(bx.InputError, match="opt_state is not one of this network and of adam"):
        explain(network, params, X, Y, "cross_entropy", optimizer=bx.adam(), opt_state=bx.sgd().init(params))
