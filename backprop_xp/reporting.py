"""What the command line says of a job before it, after it, and of a model file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backprop_xp.datasets import Dataset
from backprop_xp.job import Job
from backprop_xp.model import Model
from backprop_xp.parity import Report
from backprop_xp.tables import TableEncoder, encoder_from_json
from backprop_xp.training import Trainer


def opening(source: Dataset, job: Job, trainer: Trainer) -> list[str]:
    """Return the lines that say what is about to be trained."""
    n_rows, network = len(job.train[0]), trainer.network
    held = f", {len(job.validation[0]):,} for validation" if job.validation else ""
    lines = [
        f"{source.name}: {n_rows:,} rows to train on{held}; {network.widths[0]} features{_kinds(job)}; "
        f"{job.target.task} of {source.target_name or 'the labels'}",
        f"network {'-'.join(map(str, network.widths))}, {network.n_parameters:,} parameters; {job.loss.name}; "
        f"{trainer.backend.name} on {trainer.backend.label}, {trainer.dtype}",
        *job.notes,
    ]
    if trainer.batch_size > n_rows:
        lines.append(f"--batch-size {trainer.batch_size} is more than the {n_rows} rows: every step takes all of them")
    return lines


STOPPED = {
    "epochs": "all epochs done",
    "patience": "no better validation loss; the best epoch's parameters are kept",
    "interrupted": "interrupted; the model trained so far is kept",
    "terminated": "ended by SIGTERM; the model trained so far is kept",
    None: "the loss was no longer finite; the last good parameters are kept",
}


def closing(trainer: Trainer, **files: Path | None) -> list[tuple[str, str]]:
    """Return the rows that say how training ended, with the figures of the epoch kept and the files written."""
    history, kept = trainer.history, trainer.kept_epoch
    figures = {name: values[kept - 1] for name, values in history.items() if name not in ("epoch", "seconds")}
    return [
        ("stopped", f"after epoch {len(history['epoch'])}: {STOPPED.get(trainer.stopped, trainer.stopped)}"),
        ("epoch kept", str(kept)),
        *((name.replace("_", " "), f"{value:.4g}") for name, value in figures.items()),
        *((name, str(path)) for name, path in files.items() if path is not None),
    ]


def described(model: Model) -> list[tuple[str, str]]:
    """Return the rows that say what a model file holds."""
    network, target = model.network, model.target
    rows = [
        ("network", "-".join(map(str, network.widths))),
        ("activation, output", f"{network.activation}, {network.output}"),
        ("bias", str(network.bias)),
        ("loss", model.loss),
        ("data type", str(model.params[0][0].dtype)),
    ]
    if target is not None:
        rows.append(("predicts", f"{target.task} of {model.extra.get('target') or 'the labels'}"))
        if target.classes is not None:
            rows.append(("classes", ", ".join(map(str, target.classes))))
    if model.preprocessing is not None:
        encoder = encoder_from_json(model.preprocessing)
        if isinstance(encoder, TableEncoder):
            rows.append(("columns", ", ".join(encoder.columns)))
        else:
            rows.append(("inputs", f"an array of {encoder.n_features} features"))
    return rows


def parity(report: Report) -> tuple[Sequence[tuple[str, ...]], tuple[str, ...]]:
    """Return the rows of a comparison and their titles: deviations are parts of an array's largest element."""
    rows = [
        (each.dtype, str(each.layer), f"{each.largest:.1e}", str(each.at_step), f"{each.allowed:.1e}",
         "never" if each.parted is None else f"step {each.parted}")
        for each in report.layers
    ]  # fmt: skip
    return rows, ("data type", "layer", "largest deviation", "at step", "rounding explains", "more than that from")


def verdict(report: Report) -> str:
    """Return the sentence that a comparison comes to."""
    parted = report.parted
    if parted is None:
        return "They agree: no layer was further from NumPy's than rounding explains."
    return (
        f"They do not agree: in {parted.dtype}, layer {parted.layer} parts from NumPy's at step {parted.parted}. "
        "Look at the precision of matrix products (TF32), the driver and the library's version, in this order."
    )


def _kinds(job: Job) -> str:
    """Return what the features come from, so that a misread column is seen: " of 3 numbers, 1 text"."""
    if not isinstance(job.encoder, TableEncoder):
        return ""
    counts = Counter(spec.kind for spec in job.encoder.specs)
    return " of " + ", ".join(f"{n} {kind} column{'s' * (n > 1)}" for kind, n in counts.items())
