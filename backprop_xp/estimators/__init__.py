"""Drop-ins for scikit-learn's MLPClassifier and MLPRegressor: the same numbers, on any device, and more."""

from backprop_xp.estimators.classifier import MLPClassifier
from backprop_xp.estimators.files import SKOPS_TYPES
from backprop_xp.estimators.regressor import MLPRegressor

__all__ = ["SKOPS_TYPES", "MLPClassifier", "MLPRegressor"]
