"""Class labels on a device, with the interface of scikit-learn's LabelBinarizer, which has those of the host."""

from typing import Any

from array_api_compat import device

from backprop_xp import backends
from backprop_xp.namespaces import namespace_of

Array = Any


class DeviceLabels:
    """Encodes labels that are an array of another library than NumPy, where they lie.

    Attributes
    ----------
    classes_ : array (n_classes,)
        Sorted, on the device.
    y_type_ : "binary", "multiclass" or "multilabel-indicator"
    """

    def __init__(self, classes: Array = None, y_type: str = "") -> None:
        self.classes_, self.y_type_ = classes, y_type

    def fit(self, y: Array) -> "DeviceLabels":
        """Learn the classes.

        Parameters
        ----------
        y : array (n_samples,) of labels, or (n_samples, n_labels) of zeros and ones

        Raises
        ------
        ValueError
            If they are no labels.
        """
        xp = namespace_of(y)
        if y.ndim == 2 and y.shape[1] > 1:
            if not bool(xp.all((y == 0) | (y == 1))):
                raise ValueError("Unknown label type: several columns of y must be zeros and ones, one for each label")
            self.y_type_, self.classes_ = "multilabel-indicator", xp.arange(y.shape[1], device=device(y))
            return self
        y = xp.reshape(y, (-1,))
        if xp.isdtype(y.dtype, "real floating") and not bool(xp.all(xp.floor(y) == y)):
            raise ValueError(
                "Unknown label type: continuous. Maybe you are trying to fit a classifier, which expects discrete "
                "classes on a regression target with continuous values."
            )
        self.classes_ = xp.sort(xp.unique_values(y))
        self.y_type_ = "multiclass" if self.classes_.shape[0] > 2 else "binary"
        return self

    def transform(self, y: Array) -> Array:
        """Return bool (n_samples, n_outputs): a column a class, one for two classes, none of one class ever true."""
        xp = namespace_of(y)
        if self.y_type_ == "multilabel-indicator":
            return y == 1
        columns = xp.reshape(y, (-1, 1)) == backends.to_device(self.classes_, backends.of(y))[None, :]
        if self.y_type_ == "multiclass":
            return columns
        return columns[:, 1:] if self.classes_.shape[0] == 2 else xp.zeros_like(columns)

    def inverse_transform(self, P: Array) -> Array:
        """Return the labels of outputs (n_samples,) or (n_samples, n_outputs), where those lie."""
        xp = namespace_of(P)
        if self.y_type_ == "multilabel-indicator":
            return xp.astype(P > 0.5, xp.asarray(0, device=device(P)).dtype)
        if self.y_type_ == "multiclass":
            places = xp.argmax(P, axis=1)
        else:
            places = xp.reshape(xp.astype((P > 0.5) & (self.classes_.shape[0] == 2), xp.int32), (-1,))
        return xp.take(backends.to_device(self.classes_, backends.of(P)), places, axis=0)
