"""backprop-xp explain: the small systems and model files, as text and JSON, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import cli
from backprop_xp.explanation.systems import SYSTEMS


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def explained(capsys, *arguments):
    assert cli.run(["explain", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_without_more_the_findings_and_the_largest_gradient(capsys):
    printed = explained(capsys, "xor")
    lines = printed.splitlines()
    assert lines[0].startswith("2-2-1, half_squared_error ")
    assert lines[0].endswith(" over 4 rows")
    assert "∂E/∂w = Σ ∂E/∂O₁ · ∂O₁/∂net₁ · ∂net₁/∂w" in printed
    assert "w ← w - lr * g" in printed


def test_a_weight_after_steps_is_the_trained_networks(capsys):
    printed = explained(capsys, "two-by-two", "--weight", "layer 2, unit 1, from 1", "--step", 100)
    system = SYSTEMS["two-by-two"]()
    rule = bx.sgd(system.learning_rate)
    step, params = bx.make_step(system.network, "half_squared_error", rule), system.params
    state = rule.init(params)
    for _ in range(100):
        params, state, _ = step(params, state, system.X, system.Y)
    _, grads = bx.make_gradient(system.network, "half_squared_error")(params, system.X, system.Y)
    assert f"sum {grads[1][0][0, 0]:.6g}; Xᵀδ {grads[1][0][0, 0]:.6g}" in printed
    after, _, _ = step(params, state, system.X, system.Y)
    assert printed.rstrip().endswith(f"= {after[1][0][0, 0]:.6g}")


def test_a_unit(capsys):
    printed = explained(capsys, "xor", "--unit", "Layer 1, Unit 2")
    assert printed.startswith("layer 1, unit 2\nδ = first · second")
    assert printed.count("first = Σ δ·w over the next layer") == 4


def test_what_is_not_trained_stays(capsys):
    assert "w ← w = 0.35" in explained(capsys, "shared-bias", "--weight", "layer 1, unit 1, bias")


def test_json(capsys):
    read = json.loads(explained(capsys, "two-by-two", "--json", "--learning-rate", 0.25))
    gradients = {(row["layer"], row["unit"], row["source"]): row["gradient"] for row in read["weights"]}
    assert gradients[2, 1, 1] == pytest.approx(0.0721570729, abs=5e-11)
    assert read["learning_rate"] == 0.25


def test_a_model_files_row(capsys):
    assert cli.run(["train", "iris", "--epochs", "3", "--hidden", "8"]) == 0
    capsys.readouterr()
    read = json.loads(explained(capsys, "model.safetensors", "--data", "iris", "--row", 7, "--json"))
    model = bx.load("model.safetensors")
    assert len(read["X"]) == 1
    np.testing.assert_allclose(read["outputs"][-1], model.outputs(np.asarray(read["X"], np.float32)), rtol=1e-5)
    printed = explained(capsys, "model.safetensors", "--data", "iris", "--row", 7)
    assert "  row 7: " in printed
    assert "4-8-3, cross_entropy" in explained(capsys, "model.safetensors", "--data", "iris")


@pytest.mark.parametrize(("given", "message"), [
    (["xxor"], "'xxor' is neither a file nor a small system; did you mean 'xor'?"),
    (["xor", "--weight", "2,1"], "--weight must be such as 'layer 2, unit 1, from 1'"),
    (["xor", "--unit", "2"], "--unit must be such as 'layer 1, unit 2', all counted from 1; not '2'"),
    (["xor", "--weight", "layer 3, unit 1, bias"], "there are layers 1 to 2, and no layer 3"),
    (["two-by-two", "--weight", "layer 1, unit 1, bias"], "this network has no bias"),
    (["xor", "--row", "5"], "--row must be one of 1 to 4, not 5"),
    (["xor", "--step", "-1"], "--step must be at least 0, not -1"),
    (["xor", "--learning-rate", "0"], "--learning-rate must be a positive number, not 0"),
    (["xor", "--json", "--unit", "layer 1, unit 1"], "--json prints every weight and unit"),
    (["xor", "--unit", f"layer {'1' * 5000}, unit 1"], "--unit must be such as"),
    (["x" * 5000], "is neither a file nor a small system"),
    (["two-by-two", "--learning-rate", "1.7e308", "--step", "50", "--json"], "some of the numbers are not finite"),
    (["two-by-two", "--learning-rate", "1.7e308", "--html", "a.html"], "some of the numbers are not finite"),
    (["xor", "--data", "rows.csv"], "xor has its own data: leave out --data and --target"),
])  # fmt: skip
def test_what_it_refuses(given, message, capsys):
    assert cli.run(["explain", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_model_file_needs_rows_and_has_no_steps(capsys):
    assert cli.run(["train", "iris", "--epochs", "1", "--hidden", "4"]) == 0
    capsys.readouterr()
    assert cli.run(["explain", "model.safetensors"]) == 2
    assert "a model file holds no rows: give --data FILE" in capsys.readouterr().err
    assert cli.run(["explain", "model.safetensors", "--data", "iris", "--step", "3"]) == 2
    assert "--step is for systems and recorded runs" in capsys.readouterr().err


def test_one_row_of_a_relu_network_has_inactive_units_and_no_dead_ones(capsys):
    assert cli.run(["train", "iris", "--epochs", "2", "--hidden", "64,32"]) == 0
    capsys.readouterr()
    printed = explained(capsys, "model.safetensors", "--data", "iris", "--row", 3)
    assert "is dead" not in printed
    assert [line.strip()[:9] for line in printed.splitlines() if "units are inactive in row 3" in line] == [
        "layer 1: ", "layer 2: "
    ]  # fmt: skip


def test_a_run_that_left_all_bounds_is_told_for_what_it_is(capsys):
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60.0)
    optimizer = bx.sgd(bx.schedules.step(0.1, 3, 1e60))
    trainer = bx.Trainer(bx.Network((3, 4, 1)), "squared_error", optimizer, dtype="float64", epochs=20, batch_size=60,
                         callbacks=[bx.Recorder("a.run")])  # fmt: skip
    with np.errstate(all="ignore"), pytest.raises(bx.DivergedError):
        trainer.fit(X, y)
    assert cli.run(["explain", "a.run", "--html", "a.html"]) == 2
    printed = capsys.readouterr().err
    assert printed == (
        "backprop-xp: error: some of the numbers are not finite: the run had left all bounds; look at its earlier "
        "steps in the terminal, by --step\n"
    )
    assert not Path("a.html").exists()


def test_a_recorded_row_without_weight_is_told_for_what_it_is(capsys):
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.zeros(30)
    trainer = bx.Trainer(bx.Network((3, 1)), epochs=2, callbacks=[bx.Recorder("a.run")])
    trainer.fit(X, y, sample_weight=np.arange(30.0))
    assert cli.run(["explain", "a.run", "--row", "1"]) == 2
    assert "row 1 has a sample weight of 0, and so no gradient: choose another --row" in capsys.readouterr().err
    assert "layer 1" in explained(capsys, "a.run", "--row", 2)


def test_a_losss_setting_is_the_trained_ones(capsys):
    arguments = ["--epochs", "2", "--hidden", "4", "--loss", "huber:0.1"]
    assert cli.run(["train", "diabetes", *arguments]) == 0
    capsys.readouterr()
    read = json.loads(explained(capsys, "model.safetensors", "--data", "diabetes", "--row", 1, "--json"))
    error = read["outputs"][-1][0][0] - read["Y"][0][0]
    assert read["value"] == pytest.approx(0.1 * (abs(error) - 0.05))
    model = bx.load("model.safetensors")
    replace(model, extra={key: value for key, value in model.extra.items() if key != "loss_setting"}).save("old")
    assert cli.run(["explain", "old", "--data", "diabetes"]) == 2
    assert "does not say by what setting of huber" in capsys.readouterr().err


def test_nothing_that_is_read_is_overwritten(capsys):
    assert cli.run(["train", "iris", "--epochs", "1", "--hidden", "4", "--output", "m.html"]) == 0
    assert cli.run(["explain", "m.html", "--data", "iris", "--row", "1", "--html", "m.html"]) == 2
    assert "are the same file" in capsys.readouterr().err
    assert bx.load("m.html").network.widths == (4, 4, 3)
    assert cli.run(["explain", "m.html", "--data", "iris", "--row", "1", "--html", "p.html"]) == 0
    given = ["--row", "1", "--html", "p.html", "--learning-rate", "0.1,0.5"]
    assert cli.run(["explain", "m.html", "--data", "iris", *given]) == 2
    assert "several learning rates are for the page of a small system" in capsys.readouterr().err


def test_a_file_with_a_systems_name_does_not_hide_it(capsys):
    Path("xor").write_text("")
    assert explained(capsys, "xor").startswith("2-2-1")


def test_rows_without_a_target_are_told_of(capsys):
    lines = [f"{k},{k % 3},{k * 2}" for k in range(30)]
    Path("rows.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    arguments = ["--target", "y", "--task", "regression", "--epochs", "1", "--hidden", "4"]
    assert cli.run(["train", "rows.csv", *arguments]) == 0
    Path("gaps.csv").write_text("a,b,y\n1,2,10\n7,7,\n2,0,44\n")
    capsys.readouterr()
    assert cli.run(["explain", "model.safetensors", "--data", "gaps.csv", "--row", "2"]) == 0
    assert "1 of 3 rows dropped: their target 'y' is missing" in capsys.readouterr().err


def test_a_model_without_a_target_is_refused(capsys):
    assert cli.run(["train", "iris", "--epochs", "1", "--hidden", "4"]) == 0
    replace(bx.load("model.safetensors"), target=None).save("bare")
    for command in (["explain", "bare", "--data", "iris"], ["evaluate", "bare", "iris"]):
        assert cli.run(command) == 2
        assert "does not say what its outputs stand for" in capsys.readouterr().err
