"""The package as a whole: its public names, what importing it loads, and who may import whom."""

import ast
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import backprop_xp

ROOT = Path(backprop_xp.__file__).parent
OPTIONAL = {"cupy", "cupyx", "jax", "torch", "numba", "array_api_strict"}
LEAVES = {
    "activations",
    "losses",
    "initializers",
    "optimizers",
    "schedules",
    "dropout",
    "errors",
    "namespaces",
    "batches",
}
MAY_IMPORT = {
    **{leaf: set() for leaf in LEAVES},
    "network": {"activations", "initializers", "losses", "errors", "namespaces"},
    "packing": {"namespaces"},
    "step": {"network", "optimizers", "packing", "losses", "activations", "dropout", "errors", "namespaces"},
    "loops": {"network", "errors"},
    "backends": {"errors", "namespaces"},
    "engines": {"batches", "engines", "errors", "namespaces", "backends"},
}
OUTER = {
    "training",
    "training_run",
    "classic",
    "estimators",
    "accel",
    "cli",
    "job",
    "reporting",
    "run_report",
    "__main__",
}  # nothing of the core or the engines may reach out to these


def modules():
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def imported(tree):
    """Yield the full names of all modules that are imported anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(tree):
    """Return the package's own modules that are imported."""
    parts = [name.split(".") for name in imported(tree) if name.startswith("backprop_xp.")]
    known = {path.stem if path.stem != "__init__" else path.parent.name for path in ROOT.rglob("*.py")}
    return {part[1] for part in parts if part[1] in known}


def test_import_directions():
    for file, tree in modules().items():
        name = file.removesuffix(".py").split(os.sep)[0]
        if name in MAY_IMPORT:
            assert inside(tree) <= MAY_IMPORT[name], file
        if name not in OUTER | {"__init__"}:
            assert not inside(tree) & (OUTER - {"training"}), file
        if name == "estimators":
            assert not inside(tree) & OUTER - {"estimators"}, file


def test_optional_libraries_are_named_in_backends_and_engines_only():
    for file, tree in modules().items():
        named = {name.split(".")[0] for name in imported(tree)} & OPTIONAL
        if not file.startswith(("backends.py", "engines")):
            assert not named, file
        at_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        top = {name.split(".")[0] for name in imported(ast.Module(at_top, []))}
        assert not top & OPTIONAL, f"{file} imports {top & OPTIONAL} at the top"


def test_public_names():
    for name in backprop_xp.__all__:
        assert getattr(backprop_xp, name) is not None
    assert backprop_xp.__all__ == sorted(backprop_xp.__all__)
    assert set(backprop_xp.__all__) <= set(dir(backprop_xp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        backprop_xp.nothing  # noqa: B018


def test_every_public_function_and_class_has_a_docstring():
    for file, tree in modules().items():
        assert ast.get_docstring(tree), file
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file}: {node.name}"


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_loads_neither_scikit_learn_nor_anything_optional():
    names = {name.split(".")[0] for name in loaded_by("import backprop_xp")}
    assert not names & (
        OPTIONAL | {"sklearn", "scipy", "pandas", "pyarrow", "typer", "rich", "matplotlib", "safetensors"}
    )


def test_the_core_and_the_trainer_need_no_extra():
    names = {name.split(".")[0] for name in loaded_by("import backprop_xp as b; b.Trainer; b.load; b.NeuralNetwork")}
    assert not names & (OPTIONAL | {"sklearn", "pandas", "pyarrow", "typer", "rich", "matplotlib"})


def test_the_version_is_the_distributions():
    assert importlib.metadata.version("backprop-xp") == backprop_xp.__version__


def test_without_the_extra_the_command_says_how_to_get_it(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('No module named typer', name='typer')")
    result = subprocess.run(
        [sys.executable, "-m", "backprop_xp", "info"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT.parent}"}, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.strip() == "backprop-xp: the command line needs typer: pip install 'backprop-xp[cli]'"
