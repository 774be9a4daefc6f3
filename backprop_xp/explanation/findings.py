"""What is worth a look in an explanation, each with the row that shows it."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from backprop_xp.explanation import Explanation

# A unit is saturated in a row where its derivative is below this share of the largest that its activation has.
_FLAT = 0.05
# The largest derivative of activations that flatten out to both sides; the others do not saturate, they die.
_STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}
# A layer's gradients vanish if its deltas are, by root mean square, this much smaller than the output's.
_VANISHING = 0.01
_LARGEST = 5


class Finding(NamedTuple):
    """Something worth a look.

    Parameters
    ----------
    kind : "largest", "dead", "saturated" or "vanishing"
    layer : int
        From 1.
    unit : int or None
        From 1; None where a whole layer is meant.
    source : int or None
        Of a weight, from 1; None for a bias, a unit or a layer.
    row : int
        The sample that shows it best, from 1.
    value : float
        largest: the gradient. dead, saturated: the share of rows (of one row alone, a layer's inactive units are one
        finding). vanishing: the ratio to the output's deltas.
    text : str
        A line for a reader.
    """

    kind: str
    layer: int
    unit: int | None
    source: int | None
    row: int
    value: float
    text: str


def found_in(it: "Explanation") -> list[Finding]:
    """Return the findings, the largest gradients first."""
    return [*_largest(it), *_units(it), *_vanishing(it)]


def _largest(it: "Explanation") -> list[Finding]:
    """Return the weights with the largest gradients, and of each the row that adds most to it."""
    found = []
    for k, leaves in enumerate(it.gradient):
        for leaf, bias in zip(leaves, (False, True), strict=True):
            if leaf is not None:
                places = np.argsort(-np.abs(leaf), axis=None, kind="stable")[:_LARGEST]
                found += [(abs(float(leaf.flat[at])), k + 1, *divmod(int(at), leaf.shape[1]), bias) for at in places]
    found.sort(key=lambda each: -each[0])
    findings = []
    for _, layer, i, j, bias in found[:_LARGEST]:
        unit, source = j + 1, None if bias else i + 1
        products = it.products(layer, unit, source)
        n, gradient = int(np.abs(products).argmax()), float(products.sum())
        row = n + it.first_row
        against = ", against the sum" if products[n] * gradient < 0 else ""
        findings.append(
            Finding(
                "largest", layer, unit, source, row, gradient,
                f"{it.name(layer, unit, source)}: gradient {gradient:.6g}, largest term in row {row} "
                f"({products[n]:.6g}{against})",
            )
        )  # fmt: skip
    return findings


def _units(it: "Explanation") -> list[Finding]:
    findings = []
    for k in range(it.network.n_layers - 1):
        name = it.network.activations[k].value.__name__
        size = np.abs(it.layers[k].second)
        idle = np.flatnonzero(size[0] == 0)
        if len(size) == 1 and len(idle):  # in other rows they may be at work
            findings.append(Finding(
                "dead", k + 1, int(idle[0]) + 1, None, it.first_row, 1.0,
                f"layer {k + 1}: {len(idle):,} of {size.shape[1]:,} units are inactive in row {it.first_row}, the "
                f"first is unit {idle[0] + 1}: their second term is 0, so no gradient passes them",
            ))  # fmt: skip
        for j in range(size.shape[1]):
            dead, n = not size[:, j].any(), int(size[:, j].argmin())
            if dead and len(size) == 1:
                continue
            row = n + it.first_row
            flat = float((size[:, j] < _FLAT * _STEEPEST.get(name, 0.0)).mean())
            output = it.outputs[k + 1][n, j]
            where = f"layer {k + 1}, unit {j + 1}"
            if dead:
                findings.append(Finding(
                    "dead", k + 1, j + 1, None, row, 1.0,
                    f"{where} is dead: its second term is 0 in every row, so no gradient passes it "
                    f"(row {row}: output {output:.6g})",
                ))  # fmt: skip
            elif flat:
                findings.append(Finding(
                    "saturated", k + 1, j + 1, None, row, flat,
                    f"{where} is saturated in {round(flat * len(size)):,} of {len(size):,} rows: in row {row} its "
                    f"output is {output:.6g}, and the slope there, its second term, {size[n, j]:.3g} of at most "
                    f"{_STEEPEST[name]:g}",
                ))  # fmt: skip
    return findings


def _vanishing(it: "Explanation") -> list[Finding]:
    rms = [float(np.sqrt(np.mean(terms.delta**2))) for terms in it.layers]
    findings = []
    for k, size in enumerate(rms[:-1]):
        if rms[-1] and size < _VANISHING * rms[-1]:
            per_row = np.sqrt(np.mean(it.layers[k].delta ** 2, axis=1))
            n = int(per_row.argmin())
            row = n + it.first_row
            findings.append(Finding(
                "vanishing", k + 1, None, None, row, size / rms[-1],
                f"layer {k + 1}: gradients vanish, its deltas are {size / rms[-1]:.2g} of the output's "
                f"(least in row {row}: {per_row[n]:.3g})",
            ))  # fmt: skip
    return findings
