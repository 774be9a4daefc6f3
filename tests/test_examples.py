"""Every golden number of the systems this project grew from, to every printed digit."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import loops

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(values, digits):
    """The numbers as text with so many decimals."""
    return [f"{value:.{digits}f}" for value in np.ravel(values)]


def of_model(params, k):
    return tuple((W[k, ...], b[k, ...]) for W, b in params)


def trained_alone(example, params, epochs, learning_rate):
    rule = bx.sgd(learning_rate)
    step = bx.make_step(example.NETWORK, "half_squared_error", rule)
    state = rule.init(params)
    for _ in range(epochs):
        params, state, _ = step(params, state, example.X, example.Y)
    return params


def test_s0_three_terms_give_every_derivative():
    s7 = load("s7_learning_rates")
    params = bx.init(s7.NETWORK, initializer=s7.START)
    W1 = params[1][0]
    activations = X, hidden, output = bx.forward(s7.NETWORK, params, s7.X)
    ((dW0, _), (dW1, _)) = bx.backward(s7.NETWORK, params, activations, (output - s7.Y) * output * (1 - output))

    O_in, O_hidden, O_out, target = X[0], hidden[0], output[0], s7.Y[0]
    first_two = {}
    for j in range(2):  # into the outputs
        first, second = O_out[j] - target[j], O_out[j] * (1 - O_out[j])
        first_two[j] = first * second
        for i in range(2):
            third = O_hidden[i]
            assert first * second * third == pytest.approx(dW1[i, j], rel=1e-14, abs=0)
    for j in range(2):  # into the hidden units: the total derivative, over the units of the next layer
        first = sum(first_two[unit] * W1[j, unit] for unit in range(2))
        second = O_hidden[j] * (1 - O_hidden[j])
        for i in range(2):
            third = O_in[i]
            assert first * second * third == pytest.approx(dW0[i, j], rel=1e-14, abs=0)


def test_s1_learns_and_by_loops(capsys):
    s1 = load("s1_and_loops")
    figures = s1.main(runs=1)
    outputs = figures["outputs"][:, 0]
    assert (outputs > 0.5).tolist() == [False, False, False, True]
    assert outputs[0] < outputs[1] < 0.25
    assert outputs[1] == pytest.approx(outputs[2], abs=0.001)
    assert figures["b"][0, 0] < -4 < 2.5 < figures["W"].min()
    assert capsys.readouterr().out.count("run ") == 1


def test_s1_goes_on_from_run_to_run():
    s1 = load("s1_and_loops")
    thrice, once = s1.main(runs=3, epochs=50), s1.main(runs=1, epochs=150)
    np.testing.assert_array_equal(thrice["W"], once["W"])
    np.testing.assert_array_equal(thrice["b"], once["b"])


def test_s1_printed_weights_give_the_printed_outputs():
    figures = load("s1_and_loops").main(runs=1, epochs=1)
    assert printed(figures["printed_outputs"], 8) == ["0.00489323", "0.13652076", "0.13652418", "0.83562638"]


def test_s1_gradient_is_that_of_all_loops_and_of_the_matrices():
    s1 = load("s1_and_loops")
    params = bx.init(s1.NETWORK, initializer=[s1.PRINTED])
    dW, db = s1.looped_gradient(s1.X, bx.forward(s1.NETWORK, params, s1.X)[-1])
    _, ((matrix_dW, matrix_db),) = bx.make_gradient(s1.NETWORK, "half_squared_error")(params, s1.X, s1.Y)
    _, [(loop_dW, loop_db)] = loops.gradient(
        s1.NETWORK, loops.to_lists(params), s1.X.tolist(), s1.Y.tolist(), "half_squared_error"
    )
    np.testing.assert_allclose(dW, matrix_dW, rtol=1e-12)
    np.testing.assert_allclose(db, matrix_db[0], rtol=1e-12)
    np.testing.assert_allclose(loop_dW, matrix_dW, rtol=1e-12)
    np.testing.assert_allclose(loop_db, matrix_db[0], rtol=1e-12)


def test_s2_golden(capsys):
    figures = load("s2_and_matrices").main()
    assert printed(figures["W"], 8) == ["3.99344162", "3.99343814"]
    assert printed(figures["b"], 8) == ["-6.09308327"]
    outputs = printed(figures["outputs"], 8)
    assert outputs == ["0.00225335", "0.10913132", "0.10913166", "0.86918780"]
    out = capsys.readouterr().out
    for number in ("3.99344162", "3.99343814", "-6.09308327", "0.00225335", "0.10913132", "0.10913166", "0.8691878"):
        assert number in out


@pytest.fixture(scope="module")
def s3():
    example = load("s3_xor")
    return example, example.main()


def test_s3_printed_weights_give_the_printed_outputs(s3):
    assert printed(s3[1]["printed_outputs"], 8) == ["0.05820770", "0.94751241", "0.94752203", "0.05547788"]


def test_s3_counts_the_starts_that_learn_and_the_ones_that_do_not(s3):
    _, figures = s3
    errors = figures["errors"]
    assert errors.shape == (12,)
    assert figures["n_learned"] == sum(error < 0.01 for error in errors) == 8
    assert figures["n_stuck"] == sum(0.12 < error < 0.14 for error in errors) == 3  # the minimum near 0.13


def test_s3_the_twelfth_start_is_slow_but_not_stuck(s3):
    example, figures = s3
    (slow,) = np.flatnonzero((figures["errors"] > 0.01) & (figures["errors"] < 0.1))
    params = trained_alone(example, of_model(figures["params"], slow), 10_000, 0.1)
    assert np.mean((bx.forward(example.NETWORK, params, example.X)[-1] - example.Y) ** 2) < 0.005


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_s3_trained_together_equals_trained_alone(s3, seed):
    example, figures = s3
    alone = trained_alone(example, of_model(example.starts(12), seed), 10_000, 0.1)
    error = np.mean((bx.forward(example.NETWORK, alone, example.X)[-1] - example.Y) ** 2)
    assert figures["errors"][seed] == pytest.approx(error, rel=1e-6)
    for (W, b), (alone_W, alone_b) in zip(of_model(figures["params"], seed), alone, strict=True):
        np.testing.assert_allclose(W, alone_W, rtol=1e-8)
        np.testing.assert_allclose(b, alone_b, rtol=1e-8)


def test_s3_starts_lie_between_minus_one_and_one(s3):
    for layer in s3[0].starts(200):
        for leaf in layer:
            assert -1 <= leaf.min() < -0.9 < 0.9 < leaf.max() <= 1


def test_s4_golden(capsys):
    figures = load("s4_shared_bias").main()
    assert printed(figures["hidden"], 10) == ["0.6306485257", "0.6759015277"]
    assert printed(figures["output"], 10) == ["0.7893256138", "0.8295123574"]
    assert printed(figures["dW1"], 10) == ["-0.0168500800", "-0.0180591793", "0.0516851584", "0.0553938939"]
    assert printed(figures["dW0"], 10) == ["0.0015376788", "0.0087135129", "0.0016276034", "0.0092230862"]
    assert printed(figures["errors"][:2], 10) == ["0.1808254154", "0.1775518683"]
    assert printed(figures["errors"][500], 13) == ["0.0001617451981"]
    assert len(figures["errors"]) == 501
    out = capsys.readouterr().out
    assert all(number in out for number in ("0.1808254154", "0.1775518683", "0.0001617451981"))


def test_s4_biases_stay():
    np.testing.assert_array_equal(load("s4_shared_bias").main(epochs=20)["biases"], [0.35, 0.60])


def test_s5_learns_xor_and_prints_the_error(capsys):
    figures = load("s5_xor_class").main()
    assert figures["error"] < 0.01
    assert np.round(figures["predictions"]).ravel().tolist() == [0, 1, 1, 0]
    lines = capsys.readouterr().out.splitlines()
    assert [re.fullmatch(r"(Epoch \d+), Loss:0\.\d{4}", line)[1] for line in lines[:3]] == [
        "Epoch 0",
        "Epoch 4000",
        "Epoch 8000",
    ]


@pytest.fixture(scope="module")
def s6():
    example = load("s6_4_3_1")
    return example, example.main()


def test_s6_printed_weights_give_the_printed_outputs(s6):
    assert printed(s6[1]["printed_outputs"], 8) == ["0.98694478", "0.97258249", "0.03816132"]


def test_s6_all_twelve_starts_learn(s6):
    _, figures = s6
    assert figures["n_learned"] == 12
    assert (figures["errors"] < 0.01).all()
    assert f"{np.median(figures['errors']):.5f}" == "0.00125"


def test_s6_starts_lie_between_zero_and_one(s6):
    for layer in s6[0].starts(200):
        for leaf in layer:
            assert 0 <= leaf.min() < 0.05 < 0.95 < leaf.max() <= 1


def test_s6_the_eleven_steps_are_one_step(s6):
    example, figures = s6
    steps = figures["steps"]
    assert [int(name.split()[0]) for name in steps] == list(range(1, 12))
    start = of_model(example.starts(12), 0)
    (wh, bh), (wout, bout) = trained_alone(example, start, 1, 0.1)
    np.testing.assert_allclose(steps["10 new weights"], np.vstack([wh, wout.T]), rtol=1e-14)
    np.testing.assert_allclose(steps["11 new biases"], np.hstack([bh, bout]), rtol=1e-14)
    delta = steps["9 error and delta at the hidden layer"]
    _, ((dwh, dbh), _) = bx.make_gradient(example.NETWORK, "half_squared_error")(start, example.X, example.Y)
    np.testing.assert_allclose(example.X.T @ delta, dwh, rtol=1e-12)
    np.testing.assert_allclose(delta.sum(axis=0, keepdims=True), dbh, rtol=1e-12)


def test_s7_golden(capsys):
    figures = load("s7_learning_rates").main()
    assert printed(figures["E_total"], 11) == ["0.24251985735"]
    assert printed(figures["dw"][:4], 11) == ["0.00018825567", "0.00037651133", "0.00022481346", "0.00044962693"]
    assert printed(figures["dw"][4:], 10) == ["0.0721570729", "0.0726907452", "-0.0424552501", "-0.0427692483"]
    curves = figures["curves"]
    assert list(curves) == [0.1, 0.2, 0.5, 0.8, 1.0, 2.0]
    assert printed([curves[0.1][100], curves[0.2][100]], 10) == ["0.1335106073", "0.0791664231"]
    assert {len(curve) for curve in curves.values()} == {101}
    assert {curve[0] for curve in curves.values()} == {figures["E_total"]}
    assert all((np.diff(curve) < 0).all() for curve in curves.values())
    last_row = capsys.readouterr().out.splitlines()[-1].split()
    assert last_row == ["100", *printed([curve[100] for curve in curves.values()], 10)]


def test_s7_draws_the_graph(tmp_path, capsys):
    path = tmp_path / "rates.png"
    load("s7_learning_rates").main(iterations=5, plot=path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert path.stat().st_size > 10_000
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_the_library_in_one_file(backend):
    pytest.importorskip(backend)
    assert load("library").main(backend=backend) > 0.95


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_grid_search_in_a_pipeline(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # of the workers
    assert load("grid_search").main() > 0.98
    assert "dropout = " in capsys.readouterr().out
