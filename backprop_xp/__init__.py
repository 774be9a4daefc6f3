"""backprop_xp: a multilayer-perceptron trainer written once against the Python array API standard."""

from typing import TYPE_CHECKING, Any

from backprop_xp import activations, initializers, losses, schedules
from backprop_xp.errors import DivergedError, InputError
from backprop_xp.network import Network, backward, forward, init
from backprop_xp.optimizers import Optimizer, OptimizerState, adam, adamw, momentum, nesterov, rmsprop, sgd
from backprop_xp.step import make_gradient, make_step

if TYPE_CHECKING:
    from backprop_xp.accel import patch_sklearn, unpatch_sklearn
    from backprop_xp.checkpoints import Checkpoints
    from backprop_xp.classic import NeuralNetwork
    from backprop_xp.estimators import MLPClassifier, MLPRegressor
    from backprop_xp.explanation import Explanation, explain
    from backprop_xp.model import Model, load
    from backprop_xp.recorded_run import RecordedRun, load_run
    from backprop_xp.recorder import Recorder
    from backprop_xp.tensorboard import TensorBoard
    from backprop_xp.training import Trainer

__version__ = "0.1.0"

__all__ = [
    "Checkpoints",
    "DivergedError",
    "Explanation",
    "InputError",
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "Network",
    "NeuralNetwork",
    "Optimizer",
    "OptimizerState",
    "RecordedRun",
    "Recorder",
    "TensorBoard",
    "Trainer",
    "activations",
    "adam",
    "adamw",
    "backward",
    "explain",
    "forward",
    "init",
    "initializers",
    "load",
    "load_run",
    "losses",
    "make_gradient",
    "make_step",
    "momentum",
    "nesterov",
    "patch_sklearn",
    "rmsprop",
    "schedules",
    "sgd",
    "unpatch_sklearn",
]

_LATER = {
    "Checkpoints": "checkpoints",
    "RecordedRun": "recorded_run",
    "Recorder": "recorder",
    "TensorBoard": "tensorboard",
    "Trainer": "training",
    "Model": "model",
    "load": "model",
    "load_run": "recorded_run",
    "NeuralNetwork": "classic",
    "Explanation": "explanation",
    "explain": "explanation",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "patch_sklearn": "accel",
    "unpatch_sklearn": "accel",
}


def __getattr__(name: str) -> Any:
    """Load the heavy parts when they are first used."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
