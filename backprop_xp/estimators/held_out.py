"""Rows held out of training to judge it by."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from backprop_xp.estimators.inputs import rows_of
from backprop_xp.namespaces import namespace_of
from backprop_xp.training_data import TrainingData


class Held(NamedTuple):
    """Rows to judge the network by.

    Parameters
    ----------
    data : TrainingData
        On the device, as the network learns it.
    X, y, weight
        The same in the user's own library and labels, for scorers.
    """

    data: TrainingData
    X: Any
    y: Any
    weight: Any


def split(
    data: TrainingData, fraction: float, stratify: bool, generator: np.random.RandomState
) -> tuple[TrainingData, TrainingData]:
    """Return (the rows to train on, the rows held out): those of scikit-learn's `train_test_split`.

    Labels on a device stay there. A stratified split asks only how many rows each class has, and where they are: it is
    drawn over rows sorted by class, as `train_test_split` sorts them itself, and the order of sorting is applied to it.

    Parameters
    ----------
    data : TrainingData
    fraction : float
    stratify : bool
        Whether the single column of `data.Y` has its share in both parts.
    generator : RandomState

    Raises
    ------
    ValueError
        If fewer than two rows would be held out, or a class is too small to be split.
    """
    n_samples = data.X.shape[0]
    order, classes = None, None
    if stratify:
        xp = namespace_of(data.Y)
        positive = xp.astype(data.Y[:, 0], xp.int8)
        order = xp.argsort(positive, stable=True)
        classes = (np.arange(n_samples) >= n_samples - int(xp.sum(positive, axis=0, dtype=xp.int32))).astype(str)
    parts = train_test_split(np.arange(n_samples), random_state=generator, test_size=fraction, stratify=classes)
    if len(parts[1]) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    rows = parts if order is None else [rows_of(order, part) for part in parts]
    train, held = (TrainingData(*(None if array is None else rows_of(array, part) for array in data)) for part in rows)
    return train, held
