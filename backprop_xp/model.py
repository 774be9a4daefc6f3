"""A trained network with all it takes to predict, and its file: safetensors, a JSON header, nothing executable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends
from backprop_xp.batches import pieces_of
from backprop_xp.columns import arrow
from backprop_xp.errors import InputError
from backprop_xp.files import write_output
from backprop_xp.network import Network, Params, forward, init
from backprop_xp.tables import ArrayEncoder, TableEncoder, encoder_from_json
from backprop_xp.targets import Target
from backprop_xp.tensor_files import DamagedError, packed, unpacked
from backprop_xp.training_data import numbers

VERSION = 1


@dataclass(frozen=True)
class Model:
    """A trained network and what its numbers mean.

    Parameters
    ----------
    network : Network
    params : tuple of (W, b)
        Host arrays.
    loss : str
        The loss it was trained with: tells labels from values in `predict`.
    target : Target, optional
        The class that each label stands for, or the mean and scale of what was learned.
    preprocessing : dict, optional
        JSON that turns raw rows into X; see `tables`.
    extra : mapping, optional
        JSON: the target's name, the source of the data, how it was trained.

    Raises
    ------
    InputError
        If the preprocessing or the target does not fit the network.
    """

    network: Network
    params: Params
    loss: str
    target: Target | None = None
    preprocessing: dict[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_inputs, n_outputs = self.network.widths[0], self.network.widths[-1]
        if self.preprocessing is not None:
            n_features = encoder_from_json(self.preprocessing).n_features
            if n_features != n_inputs:
                raise InputError(f"preprocessing to {n_features} features does not fit a network of {n_inputs} inputs")
        if self.target is not None:
            self.target.check_fits(n_outputs, self.loss)

    def features(self, X: Any) -> Any:
        """Return raw rows as the network takes them; as they are if the model was saved without preprocessing.

        Parameters
        ----------
        X : frame of pandas or polars, or Arrow table; array (n_samples, n_features) if it was trained on arrays
            With the columns that the model was trained on, by name and in any order; others are left aside.

        Raises
        ------
        InputError
            If columns are missing, or cannot be read as they were in training.
        """
        if self.preprocessing is None:
            return X
        encoder = encoder_from_json(self.preprocessing)
        if isinstance(encoder, TableEncoder) and hasattr(X, "__arrow_c_stream__"):
            X = arrow().table(X)
        elif isinstance(encoder, ArrayEncoder):
            X = backends.to_host(X)
        return encoder.transform(X, str(self.params[0][0].dtype))

    def outputs(self, X: Any, *, device: str = "cpu", backend: str | None = None) -> NDArray[Any]:
        """Return the network's outputs (n_samples, n_outputs): probabilities, or values as they were learned.

        Parameters
        ----------
        X : array (n_samples, n_features)
            As `features` returns them.
        device, backend : str
            Where it is computed; the result is a host array.
        """
        chosen = backends.select(device, backend, str(self.params[0][0].dtype))
        params = tuple(
            (backends.to_device(W, chosen), None if b is None else backends.to_device(b, chosen))
            for W, b in self.params
        )
        return host_outputs(self.network, params, X, chosen)

    def predict(self, X: Any, *, device: str = "cpu", backend: str | None = None) -> NDArray[Any]:
        """Return the predicted labels, or values in the target's own units: (n_samples,), or a column an output.

        Parameters
        ----------
        X : array (n_samples, n_features), or a table
            Raw rows, see `features`.
        device, backend : str
        """
        return self.decide(self.outputs(self.features(X), device=device, backend=backend))

    def decide(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return what `predict` makes of the network's outputs."""
        decision = decided(self.loss, outputs)
        if self.target is None or self.target.task == "multilabel":
            return decision
        if self.target.task == "classification":
            return np.asarray(np.asarray(self.target.classes)[decision])
        values = outputs * np.asarray(self.target.scale) + np.asarray(self.target.mean)
        return np.asarray(values[:, 0] if values.shape[1] == 1 else values)

    def save(self, path: str | Path) -> None:
        """Write the model file, whole or not at all: to a temporary file beside it, synced, then renamed.

        Raises
        ------
        InputError
            If the path cannot be written.
        """
        write_output(Path(path), _to_bytes(self))


def decided(loss: str, outputs: NDArray[Any]) -> NDArray[Any]:
    """Return labels of a network's outputs (n_samples, n_outputs), or the values: (n_samples,) where there is one.

    Parameters
    ----------
    loss : str
        Under cross_entropy the largest output is the label; under binary_cross_entropy each is 1 if more than 1/2.
    outputs : array (n_samples, n_outputs)
    """
    if loss == "cross_entropy":
        return np.asarray(outputs.argmax(axis=1))
    values = (outputs > 0.5).astype(np.int64) if loss == "binary_cross_entropy" else outputs
    return np.asarray(values[:, 0] if values.shape[1] == 1 else values)


def host_outputs(network: Network, params: Params, X: Any, backend: backends.Backend) -> NDArray[Any]:
    """Return the network's outputs (n_samples, n_outputs) as a host array, a few thousand rows at a time."""
    dtype = str(backends.to_host(params[0][0][:1, :1]).dtype)
    X = numbers(X, "X")
    if X.ndim != 2 or X.shape[1] != network.widths[0]:
        raise InputError(f"X must be (n_samples, {network.widths[0]}), not {tuple(X.shape)}")
    pieces = [
        backends.to_host(forward(network, params, backends.to_device(rows, backend, dtype))[-1])
        for rows in pieces_of(X)
    ]
    return np.concatenate(pieces) if pieces else np.empty((0, network.widths[-1]), dtype)


def load(path: str | Path) -> Model:
    """Return the model in a file that `save` wrote. Nothing in the file is executed.

    Raises
    ------
    InputError
        If the file is missing, truncated, of another format or a later version, or its parts do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no model file {str(path)!r}")
    try:
        return _from_header(*unpacked(path, "model", VERSION))
    except (DamagedError, InputError) as error:
        raise InputError(f"{str(path)!r}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{str(path)!r}: its header is damaged ({type(error).__name__}: {error})") from None


def network_to_json(network: Network) -> dict[str, Any]:
    """Return a network as JSON values."""
    return asdict(network)


def network_from_json(json: Mapping[str, Any]) -> Network:
    """Return the network that `network_to_json` wrote.

    Raises
    ------
    InputError, KeyError, TypeError
        If it is not a network's JSON.
    """
    return Network(**{**json, "widths": tuple(json["widths"])})


def _to_bytes(model: Model) -> bytes:
    header = {
        "network": network_to_json(model.network),
        "loss": model.loss,
        "target": None if model.target is None else model.target.to_json(),
        "preprocessing": model.preprocessing,
        "extra": dict(model.extra),
    }
    arrays = {}
    for layer, (W, b) in enumerate(model.params):
        arrays[f"layers.{layer}.W"] = W
        if b is not None:
            arrays[f"layers.{layer}.b"] = b
    return packed("model", VERSION, arrays, header)


def _from_header(header: Any, arrays: dict[str, NDArray[Any]]) -> Model:
    network = network_from_json(header["network"])
    given = [(arrays.pop(f"layers.{n}.W"), arrays.pop(f"layers.{n}.b", None)) for n in range(network.n_layers)]
    if arrays:
        raise InputError(f"holds arrays that its network does not have: {', '.join(sorted(arrays))}")
    if any(not np.issubdtype(array.dtype, np.floating) for pair in given for array in pair if array is not None):
        raise InputError("holds parameters that are no floating-point numbers")
    if any(array.ndim != 2 or not np.isfinite(array).all() for pair in given for array in pair if array is not None):
        raise InputError("holds parameters that are not finite, or of more than one network")
    if len({str(array.dtype) for pair in given for array in pair if array is not None} | {"float32", "float64"}) > 2:
        raise InputError("holds parameters that are neither float32 nor float64")
    if not isinstance(header["loss"], str):  # a name that is not ours is that of a loss of the user's own
        raise InputError("its header is damaged: loss is no name")
    if not isinstance(header["extra"], dict):
        raise InputError("its header is damaged: extra is no object")
    return Model(
        network,
        init(network, initializer=given, dtype=given[0][0].dtype),
        header["loss"],
        target=None if header["target"] is None else Target.from_json(header["target"]),
        preprocessing=header["preprocessing"],
        extra=header["extra"],
    )
