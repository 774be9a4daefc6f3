"""scikit-learn's own tests of its MLP, out of its wheel, run against this package's classes."""

import importlib.util

import pytest
import sklearn
import sklearn.neural_network

import backprop_xp

WHERE = "sklearn.neural_network.tests.test_mlp"
# Tests of what scikit-learn keeps to itself. Each has to fail for the lack of it, or its line here is stale.
PRIVATE = {"test_gradient": "calls _loss_grad_lbfgs; tests/test_gradients.py proves our gradients"}

if not sklearn.__version__.startswith("1.9."):
    pytest.skip(f"these numbers are scikit-learn 1.9's, here is {sklearn.__version__}", allow_module_level=True)
pytest.importorskip(WHERE, reason="this scikit-learn came without its tests")
# As scikit-learn runs them: a model that doesn't converge is no error.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def own_tests():
    """Return scikit-learn's test functions, made anew with this package's classes in place of its own."""
    spec = importlib.util.find_spec(WHERE)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLPClassifier", "MLPRegressor"):
            patch.setattr(sklearn.neural_network, name, getattr(backprop_xp, name))
        spec.loader.exec_module(module)
    assert module.MLPClassifier is backprop_xp.MLPClassifier
    assert module.MLPRegressor is backprop_xp.MLPRegressor
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


OWN = own_tests()
for name, reason in PRIVATE.items():
    pytest.mark.xfail(raises=AttributeError, strict=True, reason=reason)(OWN[name])
globals().update(OWN)  # where pytest finds them


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's tests are run with if nobody asks for another."""
    return 42
