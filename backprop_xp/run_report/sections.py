"""The report's sections, each the HTML of one card; empty where the run has nothing to say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import pictures
from backprop_xp.recorded_run import RecordedRun
from backprop_xp.reporting import STOPPED
from backprop_xp.run_report import figures
from backprop_xp.run_report.cards import card, few, folded, named, pairs, shown, side_by_side, soft, table, text
from backprop_xp.run_report.figures import Sizes

_COLUMNS, _OPEN, _CATEGORIES = 200, 12, 8  # of which that many are shown
_SETTINGS = {
    "dtype": "data type",
    "precision": "precision of matrix products",
    "seed": "seed of weights, order, dropout",
}


def lead(run: RecordedRun) -> str:
    """Return what came of the run in a sentence or two."""
    header, kept = run.header, int(run.header["kept_epoch"])
    n_epochs = len(run.history.get("epoch", ()))
    if not header["ended"]:
        how = f"{n_epochs:,} of {header['settings']['epochs']:,} epochs so far"
    elif header["error"]:
        how = f"Ended after epoch {n_epochs:,} by an error: {header['error']}"
    else:
        how = f"Ended after epoch {n_epochs:,}: {STOPPED.get(header['stopped'], header['stopped'])}"
    if not kept:
        return text(f"{how}.")
    results = [f"{named(name)} {shown(v[kept - 1])}" for name, v in run.history.items() if _is_result(name)]
    return text(f"{how}. Epoch {kept:,}: {', '.join(results)}.")


def data(run: RecordedRun) -> str:
    """Return what was learned from, and what became of it."""
    about, header = run.about, run.header
    rows = [
        ("data", about.get("data") or "given as arrays"),
        ("rows to train on", f"{header['n_samples']:,}"),
        ("rows for validation", f"{header['n_validation']:,}" if header["n_validation"] else "none"),
        ("features", f"{run.network.widths[0]:,}"),
        ("to learn", f"{figures.task(run)} of {about.get('target_name') or 'the target'}"),
    ]
    if run.target is not None and run.target.classes is not None:
        rows.append(("classes", few(run.target.classes, 20)))
    if run.target is not None and run.target.mean is not None:
        scaled = list(zip(run.target.mean, run.target.scale or (), strict=True))[: figures.OUTPUTS]
        rows.append(("target is learned as", "; ".join(_standardised("y", *each) for each in scaled)))
    rows += [("note", note) for note in about.get("notes", ())]
    return card("Data", pairs(rows) + _preprocessing(about.get("preprocessing")))


def _preprocessing(encoder: Any) -> str:
    if not encoder:
        return soft("The rows were given as numbers, and taken as they were.")
    if encoder["encoder"] != "table":
        scales = set(encoder["scale"])
        how = "divided by 255" if scales == {255.0} else "less its mean, by its standard deviation in the training rows"
        return soft(f"An array of {len(encoder['mean']):,} features, each {how}.")
    columns = encoder["columns"]
    told = table(("column", "type", "becomes"), [(c["name"], c["type"], _becomes(c)) for c in columns[:_COLUMNS]])
    told += soft(f"and {len(columns) - _COLUMNS:,} more columns") if len(columns) > _COLUMNS else ""
    return told if len(columns) <= _OPEN else folded(f"What becomes of the {len(columns):,} columns", told)


def _becomes(column: dict[str, Any]) -> str:
    kind = column["kind"]
    if kind == "text":
        return f"one-hot: {few(column['categories'], _CATEGORIES)}, other"
    if kind == "empty":
        return "nothing: all missing in training"
    if kind == "date":
        becomes = "days since 1970, hour, weekday; standardised"
    else:
        becomes = _standardised("x", column["mean"][0], column["scale"][0])
    fill = ", ".join(f"{each:.6g}" for each in column["fill"])
    return f"{becomes}; missing: {fill}, and a feature that says so" if column["missing"] else becomes


def _standardised(name: str, mean: float, scale: float) -> str:
    return f"({name} {'+' if mean < 0 else '-'} {abs(mean):.6g}) / {scale:.6g}"


def network(run: RecordedRun, sizes: Sizes | None) -> str:
    """Return the layers, with the sizes that their weights and gradients ended with."""
    net, rows = run.network, []
    for k, ((W, b), activation) in enumerate(zip(net.shapes, net.activations, strict=True)):
        row = [k + 1, W[1], activation.value.__name__, f"{W[0] * W[1] + (b[1] if b else 0):,}"]
        if sizes is not None:
            row += [shown(sizes.weights[-1, k])]
        if sizes is not None and sizes.gradients is not None:
            row += [shown(sizes.gradients[-1, k])]
        rows.append(row)
    heads = ["layer", "units", "activation", "parameters", "weights", "gradients"]
    bias = {True: "one for each unit", False: "none", "shared": "one for each layer"}[net.bias]
    said = soft(
        f"{net.n_parameters:,} parameters; bias: {bias}. Weights and gradients: root mean squares at the last epoch."
    )
    return card("Network", table(heads[: len(rows[0])], rows) + said)


def training(run: RecordedRun) -> str:
    """Return the settings."""
    rates = run.history.get("learning_rate", np.empty(0))
    loss, optimizer = run.header["loss"], run.header["optimizer"]
    settings = dict(run.header["settings"])
    rows = [
        ("loss", loss["name"] + (f", {loss['parameter']:g}" if loss["parameter"] is not None else "")),
        ("optimizer", ", ".join([optimizer["name"] or "one of your own", *_assigned(optimizer["settings"])])),
        *([("learning rate", _rate(rates))] if len(rates) else []),
        *((_SETTINGS.get(name, named(name)), _said(value)) for name, value in settings.items()),
    ]
    return card("Training", pairs(rows))


def curves(run: RecordedRun) -> str:
    """Return the curves of loss and metrics."""
    if not len(run.history.get("epoch", ())):
        return ""
    kept = int(run.header["kept_epoch"]) if run.header["ended"] else None
    drawn = []
    for title, names in pictures.groups(run.history).items():
        ends = ", ".join(
            f"{named(name)} {shown(run.history[name][0])} to {shown(run.history[name][-1])}" for name in names
        )
        drawn.append(pictures.svg(pictures.curves(run.history, {title: names}, kept), f"By epoch: {ends}"))
    return card("Loss and metrics", side_by_side(drawn), wide=True)


def learning_rate(run: RecordedRun) -> str:
    """Return the learning rate's curve where it changes."""
    values = run.history.get("learning_rate", np.empty(0))
    if not len(values) or _is_constant(values):
        return ""
    picture = pictures.rates(run.history["epoch"], values)
    said = f"Learning rate by epoch, from {shown(values[0])} to {shown(values[-1])}"
    return card("Learning rate", pictures.svg(picture, said))


def layers(run: RecordedRun, sizes: Sizes | None) -> str:
    """Return the sizes of weights and gradients by layer over time."""
    if sizes is None:
        return card(
            "Weights and gradients by layer", soft("The network is too large for its parameters to be recorded.")
        )
    parts = [("weights", sizes.weights), *([] if sizes.gradients is None else [("gradients", sizes.gradients)])]
    drawn = [
        pictures.svg(
            pictures.sizes(sizes.epochs, values, f"{name}, root mean square"),
            f"The layers' {name}, root mean square, at the end: {', '.join(map(shown, values[-1]))}",
        )
        for name, values in parts
    ]
    said = "Over all weights of a layer, biases left out."
    if sizes.gradients is not None:
        n_rows = len(run.probe[0])
        said += f" Gradients of the loss on {n_rows:,} training rows, evenly chosen, without penalty or clipping."
    return card("Weights and gradients by layer", side_by_side(drawn) + soft(said), wide=True)


def surroundings(run: RecordedRun) -> str:
    """Return where it ran."""
    engine, seconds = run.header["engine"], run.history.get("seconds", np.empty(0))
    rows = [("backend", run.header["backend"])]
    if engine:
        rows.append(("engine", f"{engine[0]}: {engine[1]}"))
    if len(seconds):
        rate = run.header["n_samples"] / max(float(np.median(seconds)), 1e-9)
        rows.append(("time", f"{seconds.sum():.3g} s in {len(seconds):,} epochs; {rate:,.0f} rows a second"))
    rows += [(str(name), str(value)) for name, value in run.header["environment"]]
    rows += [("said", note) for note in run.header["notes"] if not (engine and note.endswith(engine[1]))]
    return card("Where it ran", pairs(rows))


def repeat(run: RecordedRun) -> str:
    """Return what makes the same run again."""
    command, digest = run.about.get("command"), run.about.get("sha256")
    if command:
        parts = [f"<pre><code>{text(command)}</code></pre>"]
        if digest:
            parts.append(soft(f"{run.about.get('data') or 'The data'} then had the SHA-256 {digest}."))
    else:
        parts = [f"<pre><code>{text(_snippet(run))}</code></pre>"]
        parts.append(
            soft("With the same rows in the same order, and the same first parameters: the record holds them.")
        )
    said = (
        f"The same seed, {run.header['settings']['seed']}, gives the same first parameters, order of rows and dropout "
        "masks on every backend: the same figures here, and the same to rounding elsewhere."
    )
    return card("How to repeat it", "".join(parts) + soft(said), wide=True)


def _snippet(run: RecordedRun) -> str:
    """Return the trainer's settings as Python."""
    net, optimizer, loss = run.network, run.header["optimizer"], run.header["loss"]
    rates = run.history.get("learning_rate", np.empty(0))
    first = [f"{rates[0]:.6g}"] if _is_constant(rates) else ["schedule"]
    rule = f"bx.{optimizer['name']}({', '.join([*first, *_assigned(optimizer['settings'])])})"
    which = repr(loss["name"]) if loss["parameter"] is None else f"bx.losses.{loss['name']}({loss['parameter']!r})"
    lines = [
        f"network = bx.Network({net.widths}, activation={net.activation!r}, output={net.output!r}, bias={net.bias!r})",
        f"optimizer = {rule if optimizer['name'] else 'your own'}",
        f"bx.Trainer(network, loss={which if loss['known'] else 'your own'}, optimizer=optimizer,",
        f"           {', '.join(f'{name}={value!r}' for name, value in run.header['settings'].items())})",
    ]
    return "\n".join(lines)


def _is_result(name: str) -> bool:
    return name not in pictures.NOT_FIGURES


def _rate(rates: NDArray[np.float64]) -> str:
    if _is_constant(rates):
        return f"{shown(rates[0])} in all epochs"
    return f"by a schedule, {shown(rates[0])} at the end of epoch 1, {shown(rates[-1])} of epoch {len(rates):,}"


def _is_constant(rates: NDArray[np.float64]) -> bool:
    return len(set(rates.tolist())) == 1


def _assigned(settings: dict[str, Any]) -> list[str]:
    return [f"{name}={value:g}" for name, value in settings.items()]


def _said(value: Any) -> str:
    return str({None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else value)
