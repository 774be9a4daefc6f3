"""Zero code change: what a program under `python -m backprop_xp.accel` sees, and `patch_sklearn` by hand."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.base
import sklearn.neural_network
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.neural_network import _multilayer_perceptron as private
from sklearn.preprocessing import StandardScaler

import backprop_xp as bx
from backprop_xp import InputError
from backprop_xp.accel import patch_sklearn, unpatch_sklearn
from backprop_xp.backends import select

ROOT = Path(bx.__file__).parent.parent
LINE = "backprop_xp.accel: MLPClassifier and MLPRegressor of scikit-learn are backprop_xp's, on cpu"
ACCEL = ("-m", "backprop_xp.accel")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """No device in the environment, and no patch left behind."""
    monkeypatch.delenv("BACKPROP_XP_DEVICE", raising=False)
    yield
    unpatch_sklearn()


@pytest.fixture
def python(tmp_path):
    """Run `python arguments...` in a folder of its own."""

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )  # fmt: skip

    return run


@pytest.fixture
def write(tmp_path):
    """Write a script below that folder; return its name there."""

    def script(text, name="script.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    return script


def ran(result):
    """What a program printed that worked, and said on stderr nothing but the one line."""
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == [LINE]
    return result.stdout


def refused(result):
    """The one line of a command line that was refused before anything ran."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("backprop_xp.accel: error: ")
    return line.removeprefix("backprop_xp.accel: error: ")


# --- by hand


def test_the_patch_replaces_both_names_in_both_modules_and_the_way_back():
    patch_sklearn()
    for module in (sklearn.neural_network, private):
        assert module.MLPClassifier is bx.MLPClassifier
        assert module.MLPRegressor is bx.MLPRegressor
    unpatch_sklearn()
    for module in (sklearn.neural_network, private):
        assert module.MLPClassifier is TheirClassifier
        assert module.MLPRegressor is TheirRegressor


def test_patching_again_changes_nothing_and_one_way_back_is_enough():
    for _ in range(3):
        patch_sklearn()
    assert sklearn.neural_network.MLPClassifier is bx.MLPClassifier
    unpatch_sklearn()
    assert sklearn.neural_network.MLPClassifier is TheirClassifier
    unpatch_sklearn()
    assert sklearn.neural_network.MLPClassifier is TheirClassifier
    patch_sklearn()
    assert sklearn.neural_network.MLPClassifier is bx.MLPClassifier


def test_the_line_is_said_once_on_stderr(capsys):
    patch_sklearn()
    patch_sklearn("cpu")
    assert capsys.readouterr() == ("", LINE + "\n")


def test_the_line_can_be_left_out(capsys):
    patch_sklearn(verbose=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("before", [None, "auto"])
def test_the_device_goes_into_the_environment_and_out_of_it(monkeypatch, before):
    if before is not None:
        monkeypatch.setenv("BACKPROP_XP_DEVICE", before)
    patch_sklearn()
    assert os.environ.get("BACKPROP_XP_DEVICE") == before
    patch_sklearn("cpu")
    assert os.environ["BACKPROP_XP_DEVICE"] == "cpu"
    patch_sklearn()
    assert os.environ["BACKPROP_XP_DEVICE"] == "cpu"
    unpatch_sklearn()
    assert os.environ.get("BACKPROP_XP_DEVICE") == before


def test_a_bad_device_is_refused_at_once_and_nothing_changed(capsys):
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        patch_sklearn("gpu")
    assert sklearn.neural_network.MLPClassifier is TheirClassifier
    assert "BACKPROP_XP_DEVICE" not in os.environ
    assert capsys.readouterr() == ("", "")


def test_a_bad_device_while_patched_leaves_the_patch_and_the_device():
    patch_sklearn("cpu")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        patch_sklearn("gpu")
    assert os.environ["BACKPROP_XP_DEVICE"] == "cpu"
    assert sklearn.neural_network.MLPClassifier is bx.MLPClassifier


def test_a_bad_device_in_the_environment_is_refused_at_once(monkeypatch):
    monkeypatch.setenv("BACKPROP_XP_DEVICE", "gpu")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        patch_sklearn()
    assert sklearn.neural_network.MLPClassifier is TheirClassifier


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_variable_is_the_one_that_our_estimators_read(monkeypatch):
    patch_sklearn("cpu")
    sklearn.neural_network.MLPRegressor(max_iter=1, solver="lbfgs").fit(X, Y)
    monkeypatch.setenv("BACKPROP_XP_DEVICE", "gpu")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        sklearn.neural_network.MLPRegressor(max_iter=1, solver="lbfgs").fit(X, Y)


def test_the_patched_names_are_plain_classes():
    patch_sklearn()
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    for cls in (MLPClassifier, MLPRegressor):
        model = cls(hidden_layer_sizes=(3,), alpha=0.5)
        assert isinstance(model, cls)
        copy = sklearn.base.clone(model)
        assert type(copy) is cls
        assert copy.get_params() == model.get_params()
        assert copy.get_params()["alpha"] == 0.5


def test_what_was_imported_before_stays():
    patch_sklearn()
    model = TheirClassifier(max_iter=2)
    assert type(sklearn.base.clone(model)) is TheirClassifier
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(model)
    unpatch_sklearn()
    assert type(pickle.loads(pickle.dumps(model))) is TheirClassifier


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("theirs", [TheirClassifier, TheirRegressor])
def test_a_pickle_of_scikit_learns_own_goes_on_where_it_stopped(theirs):
    model = theirs(hidden_layer_sizes=(8,), max_iter=5, random_state=0, early_stopping=True, warm_start=True)
    written = pickle.dumps(model.fit(X, Y))
    patch_sklearn()
    loaded = pickle.loads(written)
    loaded.fit(X, Y)
    assert len(loaded.validation_scores_) > len(model.validation_scores_)
    assert len(loaded.validation_loss_curve_) == len(loaded.validation_scores_) - len(model.validation_scores_)
    unpatch_sklearn()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(("theirs", "method"), [(TheirClassifier, "predict_proba"), (TheirRegressor, "predict")])
def test_pickles_of_scikit_learns_own_estimators_load_as_ours(theirs, method, solver):
    model = theirs(hidden_layer_sizes=(8, 4), solver=solver, max_iter=20, random_state=0, early_stopping=True)
    model.fit(X, Y)
    written, expected = pickle.dumps(model), getattr(model, method)(X)
    patch_sklearn()
    loaded = pickle.loads(written)
    assert type(loaded) is getattr(bx, theirs.__name__)
    np.testing.assert_allclose(getattr(loaded, method)(X), expected, rtol=1e-12)
    assert loaded.score(X, Y) == pytest.approx(model.score(X, Y), rel=1e-12)
    assert loaded.get_params().items() >= model.get_params().items()
    assert repr(loaded).startswith(theirs.__name__)
    again = sklearn.base.clone(loaded).fit(X, Y)
    np.testing.assert_allclose(getattr(again, method)(X), expected, rtol=1e-6)
    unpatch_sklearn()
    assert type(pickle.loads(pickle.dumps(loaded))) is getattr(bx, theirs.__name__)


def test_importing_the_module_does_not_import_scikit_learn(python):
    loaded = python("-c", "import sys, backprop_xp.accel; print(*sys.modules)").stdout.split()
    assert "backprop_xp.accel" in loaded
    assert not {"sklearn", "scipy", "typer", "rich"} & set(loaded)


# --- the command line

SEES = """
import json, os, sys
os.chdir("/")
import neighbour
from sklearn.neural_network import MLPClassifier
if __name__ == "__main__":
    print(json.dumps({
        "argv": sys.argv, "path": sys.path[0], "file": __file__, "name": __name__, "package": __package__,
        "main": sys.modules["__main__"].__file__, "neighbour": neighbour.__file__,
    }))
"""


def test_a_script_sees_what_it_sees_under_plain_python(python, write):
    write("", "folder/neighbour.py")
    script = write(SEES, "folder/script.py")
    arguments = ["--device", "cuda", "-m", "x", "--help", "", "--", "-5"]
    plain = python(script, *arguments)
    assert plain.returncode == 0, plain.stderr
    seen = json.loads(ran(python(*ACCEL, "--device", "cpu", script, *arguments)))
    assert seen == json.loads(plain.stdout)
    assert seen["argv"] == [script, *arguments]


def test_a_module_sees_what_it_sees_under_plain_python(python, write):
    write("", "neighbour.py")
    write("", "package/__init__.py")
    write(SEES, "package/__main__.py")
    arguments = ["package", "--device", "cuda", "-m", "x", "--help", "", "--", "-5"]
    plain = python("-m", *arguments)
    assert plain.returncode == 0, plain.stderr
    seen = json.loads(ran(python(*ACCEL, "-m", *arguments)))
    assert seen == json.loads(plain.stdout)
    assert seen["argv"][1:] == arguments[1:]


def test_nothing_is_put_before_the_path_where_python_is_told_so(python, write):
    script = write("import sys; print(sys.path[0])")
    assert ran(python("-P", *ACCEL, script)) == python("-P", script).stdout


def test_the_script_gets_our_classes_whichever_way_it_imports_them(python, write):
    script = write(
        "import sklearn.neural_network as nn\n"
        "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
        "from sklearn.neural_network._multilayer_perceptron import MLPRegressor as R\n"
        "from backprop_xp import MLPClassifier as C\n"
        "print(nn.MLPClassifier is MLPClassifier is C, R is MLPRegressor, MLPRegressor.__module__)\n"
    )
    words = ran(python(*ACCEL, script)).split()
    assert words[:2] == ["True", "True"]
    assert words[2].startswith("backprop_xp.")


def test_the_script_can_patch_again_and_unpatch(python, write):
    script = write(
        "from backprop_xp.accel import patch_sklearn, unpatch_sklearn\n"
        "import sklearn.neural_network as nn\n"
        "for change in (patch_sklearn, unpatch_sklearn, unpatch_sklearn):\n"
        "    change()\n"
        "    print(nn.MLPClassifier.__module__.partition('.')[0])\n"
    )
    assert ran(python(*ACCEL, script)).split() == ["backprop_xp", "sklearn", "sklearn"]


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [((), {}, "None"), (("--device", "cpu"), {}, "cpu"), (("--device=auto",), {"BACKPROP_XP_DEVICE": "cpu"}, "auto"),
     ((), {"BACKPROP_XP_DEVICE": "cpu"}, "cpu")],
)  # fmt: skip
def test_the_device_reaches_the_script(python, write, option, environment, expected):
    script = write("import os; print(os.environ.get('BACKPROP_XP_DEVICE'))")
    result = python(*ACCEL, *option, script, **environment)
    assert (result.returncode, result.stdout.strip()) == (0, expected), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "import os; os._exit(3)", "import sys; sys.exit(3)"])
def test_exit_codes_pass_through(python, write, ending):
    result = python(*ACCEL, write(f"print('here')\n{ending}\n"))
    assert (result.returncode, result.stdout) == (3, "here\n")


def test_a_message_of_the_exit_passes_through(python, write):
    result = python(*ACCEL, write("import sys; sys.exit('no rows')"))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [LINE, "no rows"]


def test_the_traceback_of_the_script_is_shown(python, write):
    script = write("def fit():\n    raise KeyError('rows')\nfit()\n")
    result = python(*ACCEL, script)
    plain = python(script)
    assert result.returncode == plain.returncode == 1
    theirs = plain.stderr.splitlines()
    assert theirs[0] == "Traceback (most recent call last):"
    assert result.stderr.splitlines()[-len(theirs) + 1 :] == theirs[1:]


def test_exit_handlers_and_threads_still_have_the_main_module(python, write):
    script = write(
        "import atexit, pickle, sys, threading\n"
        "class Mine: pass\n"
        "done = threading.Event()\n"
        "def late():\n"
        "    print(type(pickle.loads(pickle.dumps(Mine()))) is sys.modules['__main__'].Mine)\n"
        "atexit.register(late)\n"
        "threading.Thread(target=lambda: (done.wait(), late())).start()\n"
        "threading.Timer(0.2, done.set).start()\n"
    )
    assert ran(python(*ACCEL, script)) == "True\nTrue\n"


FITS = """
import os, warnings
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

os.environ["PYTHONWARNINGS"] = "ignore"  # for the workers
warnings.simplefilter("ignore", ConvergenceWarning)

class Mine(MLPClassifier):
    pass

def where(model):
    from sklearn.base import clone
    return type(clone(model)).__name__, MLPClassifier.__module__, os.environ.get("BACKPROP_XP_DEVICE")

def main():
    X, y = load_iris(return_X_y=True)
    print(*Parallel(2)(delayed(where)(model) for model in (MLPClassifier(), Mine())), sep="\\n")
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(4,), (8,)]}
    for cls in (MLPClassifier, Mine):
        search = GridSearchCV(cls(max_iter=20, random_state=0), grid, n_jobs=2, cv=3).fit(X, y)
        print(type(search.best_estimator_).__name__, *search.cv_results_["mean_test_score"])
"""


@pytest.mark.parametrize("start", ["main()", 'if __name__ == "__main__":\n    main()'])
def test_workers_of_joblib_use_our_classes_and_the_device(python, write, start):
    script = write(f"{FITS}\n{start}\n")
    lines = ran(python(*ACCEL, "--device", "cpu", script)).splitlines()
    home = bx.MLPClassifier.__module__
    assert lines[:2] == [str(("MLPClassifier", home, "cpu")), str(("Mine", home, "cpu"))]
    plain = python(script)
    assert plain.returncode == 0, plain.stderr
    for ours, theirs in zip(lines[2:], plain.stdout.splitlines()[2:], strict=True):
        assert ours.split()[0] == theirs.split()[0]
        np.testing.assert_allclose(np.array(ours.split()[1:], float), np.array(theirs.split()[1:], float), atol=1e-12)


SPARSE = """
import json, warnings
import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)
X, y = load_digits(return_X_y=True)
figures = []
for kind in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
    S = kind(X[:300] / 16)
    model = MLPClassifier((16,), max_iter=5, random_state=0).fit(S, y[:300])
    figures += [model.loss_curve_, model.predict_proba(S)[:5].ravel().tolist()]
    model = MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", max_iter=5, random_state=0).fit(S, y[:300])
    figures += [[model.loss_], model.predict(S)[:5].tolist()]
print(json.dumps(figures))
"""


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_sparse_input(python, write, device):
    try:
        place = select(device)
    except InputError as error:
        pytest.skip(str(error))
    script = write(SPARSE)
    result, theirs = python(*ACCEL, "--device", device, script), json.loads(python(script).stdout)
    assert result.stderr.splitlines() == [LINE.replace("cpu", place.label)]
    ours = json.loads(result.stdout)
    assert len(ours) == len(theirs) == 16
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_pytest_as_the_module(python, write):
    write(
        "from sklearn.neural_network import MLPRegressor\n"
        "def test_ours():\n"
        "    assert MLPRegressor.__module__.startswith('backprop_xp.')\n",
        "test_of_a_user.py",
    )
    assert "1 passed" in ran(python(*ACCEL, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_of_a_user.py"))


# --- what is refused


def test_a_missing_script(python):
    assert refused(python(*ACCEL, "no.py", "-x")) == (
        "cannot read the script 'no.py': No such file or directory; name a file, or -m and a module"
    )


def test_a_folder_as_the_script(python):
    assert "cannot read the script '.'" in refused(python(*ACCEL, "."))


@pytest.mark.parametrize("name", ["no_such_module", "no_such_module.inside", ""])
def test_a_missing_module(python, name):
    line = refused(python(*ACCEL, "-m", name))
    assert line == f"there is no module {name!r}, neither in this folder nor installed"


def test_no_program(python):
    assert refused(python(*ACCEL)) == "name a script, or -m and a module; --help shows examples"
    assert refused(python(*ACCEL, "--device", "cpu")).startswith("name a script")
    assert refused(python(*ACCEL, "-m")).startswith("name a script")


@pytest.mark.parametrize("how", [("--device", "gpu"), ("--device=gpu",), ()])
def test_a_bad_device_is_one_line_and_the_script_does_not_run(python, write, how):
    result = python(*ACCEL, *how, write("print('ran')"), **({} if how else {"BACKPROP_XP_DEVICE": "gpu"}))
    assert refused(result).startswith("unknown device 'gpu'")


def test_a_device_that_is_not_there(python, write):
    assert "device 'cuda" in refused(python(*ACCEL, "--device", "cuda:99", write("")))


def test_an_unknown_option(python, write):
    assert "--devise" in refused(python(*ACCEL, "--devise", "cpu", write("")))
    assert "--device" in refused(python(*ACCEL, "--device"))


def test_help_teaches(python):
    result = python(*ACCEL, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for words in ("--device cuda", "script.py", "-m module", "n_jobs", "BACKPROP_XP_DEVICE", "patch_sklearn"):
        assert words in result.stdout


def test_no_extra_is_needed(python, write):
    for name in ("typer", "rich", "pyarrow", "matplotlib", "jax", "torch", "cupy", "numba", "pandas"):
        write(f"raise ModuleNotFoundError('No module named {name}', name='{name}')", f"none/{name}.py")
    script = write(
        "from sklearn.neural_network import MLPRegressor\n"
        "print(MLPRegressor(max_iter=1, solver='lbfgs').fit([[0.], [1.]], [0., 1.]).n_layers_)\n"
    )
    assert ran(python("-W", "ignore", *ACCEL, script, PYTHONPATH=f"none{os.pathsep}{ROOT}")) == "3\n"
