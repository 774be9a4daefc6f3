"""What is recorded of a trained network's outputs: losses and metrics on rows of data."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from backprop_xp import backends
from backprop_xp.batches import pieces_of
from backprop_xp.callbacks import Record
from backprop_xp.errors import InputError, lookup
from backprop_xp.losses import Loss
from backprop_xp.metrics import METRICS
from backprop_xp.model import decided
from backprop_xp.network import Network, Params, propagate
from backprop_xp.step import loss_head
from backprop_xp.training_data import TrainingData

Array = Any
UserMetric = Callable[[NDArray[Any], NDArray[Any]], float]


class Evaluation:
    """The loss and the metrics of a network.

    Parameters
    ----------
    network : Network
    loss : Loss
    metrics : sequence of str or function (y_true, y_pred) -> float
    xp : namespace
        Of the data.

    Attributes
    ----------
    names : list of str
        Of the metrics.

    Raises
    ------
    InputError
        If a metric is unknown, does not go with the loss, or has the name of another figure.
    """

    def __init__(self, network: Network, loss: Loss, metrics: Sequence[str | UserMetric], xp: Any) -> None:
        self._network, self._loss, self._xp = network, loss, xp
        self._head = loss_head(network, loss)
        self._scores = [_score(metric, loss) for metric in metrics]
        self.names = [name for name, _ in self._scores]
        taken = ["epoch", "loss", "learning_rate", "seconds", *self.names]
        if len(set(taken)) < len(taken):
            raise InputError(f"metrics must have names of their own, not {', '.join(self.names)}")

    def check_monitor(self, monitor: str, *, validated: bool) -> None:
        """Raise InputError unless it is a figure that is recorded."""
        prefix = "val_" if validated else ""
        known = ["loss", *(["val_loss"] if validated else []), *(prefix + name for name in self.names)]
        lookup("monitor", monitor, dict.fromkeys(known))

    def figures(self, params: Params, data: TrainingData, prefix: str = "", *, with_loss: bool) -> Record:
        """Return the metrics, and the loss without the penalty, on these data, a few thousand rows at a time."""
        xp = self._xp
        pieces = [propagate(self._network, params, rows, None, xp)[2] for rows in pieces_of(data.X)]
        z = pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)
        P, Y = self._network.activations[-1].value(z, xp), data.Y
        if self._loss.name == "cross_entropy" and Y.ndim == 2:
            Y = xp.argmax(Y, axis=-1)
        figures = {prefix + name: float(score(P, Y, xp)) for name, score in self._scores}
        if with_loss:
            figures[prefix + "loss"] = float(self._head(z, data.Y, data.weight, xp)[0])
        return figures


def _score(metric: str | UserMetric, loss: Loss) -> tuple[str, Callable[[Array, Array, Any], Any]]:
    """Return a metric's name and its function (P, Y, xp); one of the user's own is given host arrays, decided."""
    if isinstance(metric, str):
        known = lookup("metric", metric, METRICS)
        if loss.name == "cross_entropy" and metric != "accuracy":
            raise InputError(f"metric {metric!r} compares numbers, and cross_entropy learns labels: use accuracy")
        return metric, known.function

    def on_host(P: Array, Y: Array, xp: Any) -> float:
        y_true, y_pred = backends.to_host(Y), decided(loss.name, backends.to_host(P))
        return float(metric(y_true[:, 0] if y_true.shape[1:] == (1,) else y_true, y_pred))

    named = metric.func if isinstance(metric, partial) else metric
    return getattr(named, "__name__", type(named).__name__), on_host
