"""The same numbers as scikit-learn's MLP: the grid of benchmarks/parity.py in few iterations; and that it can fail."""

import itertools
import json

import numpy as np
import pytest
import sklearn.neural_network

from benchmarks import parity
from benchmarks.parity import DIFFERS, HOLDS, QUICK, REFUSAL

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CELLS = parity.grid()
GROUPS = list(itertools.product(parity.DATA, parity.SOLVERS, parity.ACTIVATIONS, parity.BOUNDS))
ATTRIBUTES = {
    "coefs_": [np.asarray([[1.0, -4.0]]), np.asarray([[2.0], [3.0]])],
    "loss_curve_": [0.5, 0.25],
    "best_validation_score_": None,
    "loss_": 0.25,
    "n_iter_": 2,
    "out_activation_": "softmax",
    "warnings": ("ConvergenceWarning",),
}


def cell(**wanted):
    """Return the first cell that is so."""
    return next(cell for cell in CELLS if all(getattr(cell, name) == value for name, value in wanted.items()))


def test_the_grid_has_every_combination_once():
    assert len(CELLS) == (3 + 1) * 3 * 4 * 2 * 10
    assert len({(cell.estimator, *cell.point) for cell in CELLS}) == len(CELLS)
    assert [cell.number for cell in CELLS] == list(range(len(CELLS)))


@pytest.mark.parametrize(("estimator", "solver", "activation", "dtype"), GROUPS)
def test_every_cell_holds(estimator, solver, activation, dtype):
    group = {"estimator": estimator, "solver": solver, "activation": activation, "dtype": dtype}
    cells = [cell for cell in CELLS if group.items() <= vars(cell).items()]
    assert {cell.variant for cell in cells} == set(parity.VARIANTS)
    verdicts = [parity.examine(cell, QUICK) for cell in cells]
    failed = [str(verdict) for verdict in verdicts if verdict.outcome == DIFFERS]
    assert not failed, "\n".join([f"{len(failed)} of {len(cells)} cells do not hold", *failed])
    refused = {verdict.cell.variant for verdict in verdicts if verdict.outcome == REFUSAL}
    assert refused == ({"partial_fit"} if (estimator, solver) == ("classifier", "lbfgs") else set())


# What follows is about the comparison itself.


@pytest.mark.parametrize("dtype", parity.BOUNDS)
@pytest.mark.parametrize("name", ["coefs_", "loss_curve_", "loss_"])
def test_the_bound_is_where_it_is_said_to_be(name, dtype):
    def off_by(deviation):
        if name == "coefs_":
            first, second = ATTRIBUTES["coefs_"]
            return [first + np.asarray([[deviation * 4.0, 0.0]]), second]  # the largest of the array is 4
        if name == "loss_curve_":
            return [0.5, 0.25 + deviation * 0.5]
        return 0.25 * (1 + deviation)

    bound = parity.BOUNDS[dtype]
    for factor, outcome in [(0.99, HOLDS), (1.01, DIFFERS)]:
        verdict = parity.compare(cell(dtype=dtype), {**ATTRIBUTES, name: off_by(factor * bound)}, ATTRIBUTES)
        assert verdict.outcome == outcome
        assert verdict.worst == (name, pytest.approx(factor * bound, rel=1e-6))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("n_iter_", 3, "n_iter_ is 3, not 2"),
        ("n_iter_", 2.0, "n_iter_ is float, not int"),
        ("loss_", np.float64(0.25), "loss_ is float64, not float"),
        ("loss_", None, "loss_ is NoneType, not float"),
        ("best_validation_score_", 0.5, "best_validation_score_ is float, not NoneType"),
        ("out_activation_", "logistic", "out_activation_ is logistic, not softmax"),
        ("loss_curve_", [0.5], "loss_curve_ is a list of 1: float, not a list of 2: float"),
        ("loss_curve_", np.asarray([0.5, 0.25]), "loss_curve_ is an array (2,) of float64, not a list of 2: float"),
        ("coefs_", [np.ones((1, 2), "float32"), np.ones((2, 1))], "coefs_ is a list of 2: an array (1, 2) of float32"),
        ("coefs_", [np.ones((2, 1)), np.ones((2, 1))], "coefs_ is a list of 2: an array (2, 1) of float64, not"),
        ("warnings", (), "warnings is (), not ('ConvergenceWarning',)"),
        ("ours_", 1, "ours_ is not scikit-learn's"),
    ],
)
def test_what_is_no_number_has_to_be_the_same(name, value, said):
    verdict = parity.compare(cell(), {**ATTRIBUTES, name: value}, ATTRIBUTES)
    assert verdict.outcome == DIFFERS
    assert said in str(verdict)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_nothing_may_be_missing(name):
    ours = {other: value for other, value in ATTRIBUTES.items() if other != name}
    verdict = parity.compare(cell(), ours, ATTRIBUTES)
    assert verdict.outcome == DIFFERS
    assert verdict.differences == [f"{name} is missing"]


def test_deviation_of_what_is_not_finite():
    assert parity.deviation([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0]) == 0
    assert parity.deviation([np.nan, 1.0], [2.0, 1.0]) == np.inf
    assert parity.deviation([np.inf, 1.0], [2.0, 1.0]) == np.inf
    assert parity.deviation([2.0, 1.0], [np.inf, 1.0]) == np.inf
    assert parity.deviation([1e-30], [0.0]) == np.inf
    assert parity.deviation(np.asarray(["a"]), np.asarray(["a"])) == 0


def theirs(estimator):
    return getattr(sklearn.neural_network, f"MLP{estimator.capitalize()}")


@pytest.mark.parametrize("estimator", parity.DATA)
@pytest.mark.parametrize("dtype", parity.BOUNDS)
def test_scikit_learn_is_like_itself_and_a_changed_one_is_not(estimator, dtype):
    class Changed(theirs(estimator)):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            largest = np.abs(self.coefs_[0]).max()
            self.coefs_[0][0, 0] += np.asarray(1.1 * parity.BOUNDS[dtype] * largest, dtype)
            return self

    here = cell(estimator=estimator, dtype=dtype)
    same = parity.examine(here, QUICK, ours=theirs(estimator))
    assert same.outcome == HOLDS
    assert same.worst[1] == 0
    verdict = parity.examine(here, QUICK, ours=Changed)
    assert verdict.outcome == DIFFERS
    assert verdict.deviations["coefs_"] == pytest.approx(1.1 * parity.BOUNDS[dtype], rel=1e-3)


@pytest.mark.parametrize("estimator", parity.DATA)
@pytest.mark.parametrize(
    ("variant", "ignored"),
    [
        ("early stopping", {"early_stopping": False}),
        ("adaptive", {"learning_rate": "constant"}),
        ("invscaling", {"learning_rate": "constant"}),
        ("nesterov off", {"nesterovs_momentum": True}),
        ("warm start", {"warm_start": False}),
        ("sample weights", {}),
    ],
)
def test_a_class_that_ignores_a_setting_is_seen(estimator, variant, ignored):
    class Deaf(theirs(estimator)):
        def fit(self, X, y, sample_weight=None):
            return self.set_params(**ignored)._fit(X, y)

    data = parity.DATA[estimator][-1]
    here = cell(estimator=estimator, data=data, solver="sgd", activation="logistic", dtype="float32", variant=variant)
    assert parity.examine(here, QUICK, ours=Deaf).outcome == DIFFERS


def test_refusals_are_equal_only_if_they_are_of_one_type():
    def refusing(error):
        class Refusing(theirs("classifier")):
            def partial_fit(self, X, y, classes=None):
                raise error

        return Refusing

    lbfgs, sgd = (cell(solver=solver, variant="partial_fit") for solver in ("lbfgs", "sgd"))
    assert parity.examine(lbfgs, QUICK, ours=refusing(AttributeError("no"))).outcome == REFUSAL
    assert parity.examine(lbfgs, QUICK, ours=refusing(ValueError("no"))).outcome == DIFFERS
    one_sided = parity.examine(sgd, QUICK, ours=refusing(AttributeError("no")))
    assert one_sided.outcome == DIFFERS
    assert one_sided.differences == ["ours: AttributeError('no'), scikit-learn's: a model"]


@pytest.fixture
def three_cells(monkeypatch):
    cells = [cell(variant="plain"), cell(solver="lbfgs", variant="partial_fit"), cell(estimator="regressor")]
    monkeypatch.setattr(parity, "grid", lambda: cells)
    return cells


def test_the_command_writes_every_cell_and_says_that_all_hold(three_cells, tmp_path, capsys):
    file = tmp_path / "parity.json"
    assert parity.main(["--quick", "--output", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["outcomes"] == {HOLDS: 2, REFUSAL: 1}
    assert [cell["number"] for cell in written["cells"]] == [cell.number for cell in three_cells]
    assert written["cells"][0]["deviations"].keys() >= {"coefs_", "intercepts_", "loss_curve_", "predict()", "score()"}
    assert written["versions"].keys() == {"numpy", "scipy", "scikit-learn"}
    assert written["max_iter"] == QUICK
    out, err = capsys.readouterr()
    assert "0 of 3 cells do not hold" in out
    assert not err  # no terminal, no progress


def test_the_command_fails_for_a_cell_that_does_not_hold_and_names_it(three_cells, monkeypatch, tmp_path, capsys):
    def off(cell, max_iter, ours):
        assert ours is None
        return parity.Verdict(cell, DIFFERS, {"coefs_": np.inf}, ["t_ is missing"])

    monkeypatch.setattr(parity, "examine", off)
    assert parity.main(["--output", str(tmp_path / "parity.json")]) == 1
    assert json.loads((tmp_path / "parity.json").read_text())["cells"][0]["largest"] == ["coefs_", None]
    out = capsys.readouterr().out
    assert "3 of 3 cells do not hold" in out
    assert f"{three_cells[0]}: coefs_ deviates by inf; t_ is missing" in out


def test_a_folder_that_is_missing_is_said_before_the_work(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(parity, "grid", pytest.fail)
    with pytest.raises(SystemExit, match="2"):
        parity.main(["--output", str(tmp_path / "missing" / "parity.json")])
    assert "there is no folder" in capsys.readouterr().err


def test_the_control_moves_each_weight_to_the_next_number():
    its = cell(dtype="float32")
    plain = sklearn.neural_network.MLPClassifier(**its.settings(1), learning_rate_init=1e-30)
    moved = parity.control(its, 0)(**its.settings(1), learning_rate_init=1e-30)
    X, y, _ = parity._arrays(its)
    for W, V in zip(plain.fit(X, y).coefs_, moved.fit(X, y).coefs_, strict=True):
        np.testing.assert_array_equal(np.abs(V - W), np.abs(np.spacing(np.where(np.abs(V) < np.abs(W), V, W))))


def test_the_command_runs_the_control(three_cells, capsys):
    assert parity.main(["--quick", "--control", "0"]) == 0
    assert "0 of 3 cells do not hold" in capsys.readouterr().out
