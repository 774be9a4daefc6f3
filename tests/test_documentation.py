"""What the documentation shows is run: README's Python, and every docstring's example."""

import doctest
import importlib
import json
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_trees_close

import backprop_xp as bx
from benchmarks.report.readme import END, START, section
from benchmarks.report.results import load

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/coming-from-scikit-learn.md",
    "docs/derivation.md",
    "docs/engines.md",
    "docs/experiments.md",
    "docs/reliability.md",
    "SECURITY.md",
]
MODULES = [name for _, name, _ in pkgutil.walk_packages(bx.__path__, "backprop_xp.") if not name.endswith("__main__")]


def code_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def readme_code():
    return code_of("README.md")


def test_readmes_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in readme_code()[:4]:
        exec(code, names)
    accuracy = float(re.search(r"validation accuracy (\S+)", capsys.readouterr().out)[1])
    assert accuracy > 0.95
    assert (names["labels"] == names["y"]).mean() > 0.95
    assert float(names["loss"]) < 1.0
    assert names["classifier"].score(names["X"] / 16, names["y"]) > 0.95


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_coming_from_scikit_learns_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in code_of("docs/coming-from-scikit-learn.md"):
        if "skops" in code:
            pytest.importorskip("skops")
        exec(code, names)
        assert names["classifier"].score(names["X_test"], names["y_test"]) > 0.95
    assert (names["labels"] == names["again"].predict(names["X_test"])).all()
    assert names["pipeline"].score(names["X_test"], names["y_test"]) > 0.5


def test_readmes_thirty_lines_are_the_packages_step():
    (code,) = (code for code in readme_code() if "def backward" in code)
    assert len(code.splitlines()) <= 30
    names = {}
    exec(code, names)
    network = bx.Network((3, 5, 4, 2), activation="sigmoid", output="sigmoid")
    params = bx.init(network, seed=1, bias_initializer="uniform")
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 3)), rng.uniform(size=(6, 2))
    rule = bx.sgd(0.3)
    expected = bx.make_step(network, "half_squared_error", rule)(params, rule.init(params), X, Y)[0]
    assert_trees_close(names["step"](params, X, Y, 0.3, np), expected, rtol=1e-13)


def test_readmes_measurements_are_those_of_the_committed_results(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (folder,) = set(re.findall(r'<img src="(benchmarks/results/[^"]+)/readme/[^"]+"', readme))
    made = section(load(ROOT / folder), tmp_path).replace(str(tmp_path), f"{folder}/readme")
    assert f"{START}\n\n{made}\n\n{END}" in readme


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / link).exists(), link


def test_the_derivations_numbers_are_computed():
    result = doctest.testfile(str(ROOT / "docs/derivation.md"), module_relative=False)
    assert result.attempted > 15
    assert result.failed == 0


def test_the_derivations_lines_are_the_cores():
    blocks = [code for code in code_of("docs/derivation.md") if code.startswith("# backprop_xp/")]
    assert len(blocks) == 6
    for code in blocks:
        place, *lines = code.splitlines()
        source = (ROOT / place.removeprefix("# ")).read_text().splitlines()
        for line in lines:
            assert line in source, (place, line)


def test_architecture_names_every_module():
    named = re.findall(r"`(\w+)/?`", (ROOT / "ARCHITECTURE.md").read_text())
    for path in (ROOT / "backprop_xp").iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            assert path.stem in named, path.stem


def test_the_parity_that_is_told_is_the_committed_one():
    page = (ROOT / "docs/coming-from-scikit-learn.md").read_text()
    result = json.loads((ROOT / "benchmarks/results/parity.json").read_text())
    cells, counts = result["cells"], result["outcomes"]
    assert f"{len(cells)} cells, of which {counts['holds']} hold, {counts['same refusal']} refuse alike" in page
    differing = [str(cell["number"]) for cell in cells if cell["outcome"] == "differs"]
    assert f"and {counts['differs']} do not hold: numbers {', '.join(differing)}" in page
    for solver in ("sgd", "adam", "lbfgs"):
        row = [solver]
        for dtype in ("float64", "float32"):
            group = [cell for cell in cells if (cell["solver"], cell["dtype"]) == (solver, dtype)]
            holding = [cell for cell in group if cell["outcome"] == "holds"]
            refused = sum(cell["outcome"] == "same refusal" for cell in group)
            row += [f"{len(holding)} of {len(group) - refused}", f"{max(cell['largest'][1] for cell in holding):.0e}"]
        assert f"| {' | '.join(row)} |" in page, row
