"""What the network got wrong: confusion, labels or residuals; and the worst rows."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_xp import pictures
from backprop_xp.recorded_run import RecordedRun, Rows
from backprop_xp.run_report import figures
from backprop_xp.run_report.cards import card, few, shown, side_by_side, soft, table

_CONFUSED, _MATRIX = 10, 200  # pairs and classes that are shown at most


def mistakes(run: RecordedRun) -> Iterator[str]:
    """Yield what the network got wrong: a confusion matrix, labels or residuals; and the worst rows."""
    rows = run.rows
    if rows is None or not len(rows.losses):
        return
    on = f"On {len(rows.losses):,} {'validation' if run.header['n_validation'] else 'training'} rows."
    kind = figures.task(run)
    if kind == "classification":
        yield _confusion(run, rows, on)
    elif kind == "multilabel":
        yield _labels(rows, on)
    else:
        yield _residuals(run, rows, on)
    yield _worst(run, rows, kind)


def _confusion(run: RecordedRun, rows: Rows, on: str) -> str:
    names, (truth, predicted) = figures.classes(run), figures.labels(run, rows)
    n_right = int((truth == predicted).sum())
    said = f"{on} {n_right:,} right, {len(truth) - n_right:,} wrong."
    wrong = Counter(zip(truth.tolist(), predicted.tolist(), strict=True))
    most = [(names[t], names[p], f"{n:,}") for (t, p), n in wrong.most_common() if t != p][:_CONFUSED]
    told = table(("true", "taken for", "rows"), most) if most else soft("No row was taken for another class.")
    confused = card("Most often confused", told + soft(said))
    if len(names) > _MATRIX:
        return confused
    counts = figures.confusion(truth, predicted, len(names))
    picture = pictures.svg(pictures.confusion(counts, names), f"Confusion matrix. {said}")
    said += " A row a true class, a column a predicted one; the stronger its colour, the larger its share of the row."
    return card("Confusion matrix", picture + soft(said)) + confused


def _labels(rows: Rows, on: str) -> str:
    truth, predicted = rows.targets > 0.5, rows.outputs > 0.5
    of_labels = [
        (
            k + 1,
            f"{int(t.sum()):,}",
            f"{int(p.sum()):,}",
            f"{int((t & p).sum()):,}",
            f"{int((~t & p).sum()):,}",
            f"{int((t & ~p).sum()):,}",
        )
        for k, (t, p) in enumerate(zip(truth.T, predicted.T, strict=True))
    ]
    heads = ("label", "true", "predicted", "rightly", "wrongly", "missed")
    return card("Labels", table(heads, of_labels) + soft(on))


def _residuals(run: RecordedRun, rows: Rows, on: str) -> str:
    truth, values = figures.values(run, rows)
    name, parts = run.about.get("target_name") or "value", []
    for k in range(min(figures.OUTPUTS, truth.shape[1])):
        errors = values[:, k] - truth[:, k]
        spread = f"mean {shown(errors.mean())}, root mean square {shown(np.sqrt((errors**2).mean()))}"
        said = f"Predicted less true, in the target's units: {spread}"
        which = name if truth.shape[1] == 1 else f"output {k + 1}"
        drawn = pictures.predicted(truth[:, k], values[:, k], which), pictures.residuals(errors)
        told = f"Predicted {which} against true, a dot a row", f"Residuals of {which}: {said}"
        parts.append(side_by_side(pictures.svg(each, words) for each, words in zip(drawn, told, strict=True)))
        parts.append(soft(f"{which}: {said}. {on}"))
    if truth.shape[1] > figures.OUTPUTS:
        parts.append(soft(f"and {truth.shape[1] - figures.OUTPUTS} more outputs"))
    return card("Residuals", "".join(parts), wide=True)


def _worst(run: RecordedRun, rows: Rows, kind: str) -> str:
    worst = run.header["worst"]
    raw = list(dict.fromkeys(name for row in worst for name in row.get("values", {})))
    body = [
        [
            row["row"],
            *_judged(run, rows, int(place), kind, row.get("target")),
            shown(rows.losses[place]),
            *(_cell(row.get("values", {}).get(name)) for name in raw),
        ]
        for row, place in zip(worst, rows.worst.tolist(), strict=True)
    ]
    heads = ["row", "true", "predicted", "loss", *raw]
    more = max((row.get("more", 0) for row in worst), default=0)
    said = "The rows with the largest loss, right or wrong; they count from 1, in the data they come from."
    said += {
        "classification": " In brackets the probability that the network gave that class.",
        "regression": " The loss is that of the target as it was learned.",
    }.get(kind, "")
    if more:
        said += f" {more:,} more columns are not shown."
    return card("Worst rows", table(heads, body) + soft(said), wide=True)


def _judged(run: RecordedRun, rows: Rows, place: int, kind: str, raw: Any) -> tuple[str, str]:
    """Return what a row's target was, as it was read if that is known, and what was predicted."""
    if kind == "classification":
        names, P = figures.classes(run), figures.probabilities(rows)[place]
        truth, predicted = (int(each[place]) for each in figures.labels(run, rows))
        return f"{names[truth]} ({P[truth]:.1%})", f"{names[predicted]} ({P[predicted]:.1%})"
    if kind == "multilabel":
        truths, outputs = (np.flatnonzero(each[place] > 0.5) + 1 for each in (rows.targets, rows.outputs))
        return few(truths, 8) or "none", few(outputs, 8) or "none"
    of_rows, found = figures.values(run, rows)
    known = of_rows[place] if raw is None else np.atleast_1d(raw)
    return few([_cell(float(v)) for v in known], 4), few([f"{v:.6g}" for v in found[place]], 4)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)
