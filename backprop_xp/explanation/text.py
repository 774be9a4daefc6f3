"""An explanation as lines: the formula in the field's symbols, the same with numbers, and what it comes to."""

import re
from typing import TYPE_CHECKING

import numpy as np

from backprop_xp.explanation.terms import UnitTerms, WeightTerms
from backprop_xp.explanation.updates import Update

if TYPE_CHECKING:
    from backprop_xp.explanation import Explanation

_ROWS = 8


def of_weight(it: WeightTerms) -> list[str]:
    """Return a weight's chain rule, with the rows that count most.

    Parameters
    ----------
    it : WeightTerms
    """
    j = _sub(it.unit)
    lines = [it.name]
    if not it.first.size:
        lines.append("∂E/∂b = Σ over rows and the layer's units of δ: a bias that all of them share")
    elif it.folded:
        lines.append(f"∂E/∂w = Σ ∂E/∂net{j} · 1 · ∂net{j}/∂w   (first and second in one · third)")
    else:
        lines.append(f"∂E/∂w = Σ ∂E/∂O{j} · ∂O{j}/∂net{j} · ∂net{j}/∂w   (first · second · third)")
    for n in _largest(it.products):
        terms = f"{_n(it.first[n])} · {_n(it.second[n])} · {_n(it.third[n])} = " if it.first.size else ""
        lines.append(f"  row {n + it.first_row}: {terms}{_n(it.products[n])}")
    if len(it.products) > _ROWS:
        lines.append(f"  ... {len(it.products) - _ROWS:,} rows more")
    loop = "not run" if it.loop is None else _n(it.loop)
    lines.append(
        f"  sum {_n(it.gradient)}; Xᵀδ {_n(it.matrix)}; scalar loops {loop}; central difference {_n(it.difference)}"
    )
    return [*lines, *of_update(it.update)]


def of_update(update: Update) -> list[str]:
    """Return an update's statements, each with its numbers and what the optimizer made of them."""
    known, lines = dict(update.before), []
    for name, expression in update.statements:
        chain = [expression, _with_numbers(expression, known), _n(update.after[name])]
        known[name] = update.after[name]
        lines.append(f"  {name} ← {' = '.join(dict.fromkeys(chain))}")
    return lines


def of_unit(it: UnitTerms) -> list[str]:
    """Return a unit's numbers, with the rows that count most, and the sum that its first term is.

    Parameters
    ----------
    it : UnitTerms
    """
    lines = [it.name, "δ = first · second = ∂E/∂O · ∂O/∂net"]
    for n in _largest(it.delta):
        terms = f"{_n(it.first[n])} · {_n(it.second[n])}"
        lines.append(f"  row {n + it.first_row}: output {_n(it.output[n])}; δ = {terms} = {_n(it.delta[n])}")
        if it.weights_onward.size:
            units = _largest(it.deltas_onward[n] * it.weights_onward)
            parts = " + ".join(f"{_n(it.deltas_onward[n, u])}·{_in_sum(it.weights_onward[u])}" for u in units)
            more = " + ..." if it.weights_onward.size > _ROWS else ""
            lines.append(f"    first = Σ δ·w over the next layer = {parts}{more}")
    return lines


def summary(it: "Explanation") -> str:
    """Return the network, the loss, and the findings."""
    widths = "-".join(map(str, it.network.widths))
    lines = [f"{widths}, {it.loss.name} {_n(it.value)} over {len(it.X):,} rows"]
    return "\n".join([*lines, *(f"  {finding.text}" for finding in it.findings())])


def _largest(sizes: "np.typing.NDArray[np.float64]") -> list[int]:
    """Return the places of the largest, in their order."""
    return sorted(int(n) for n in np.argsort(-np.abs(sizes), kind="stable")[:_ROWS])


def _with_numbers(expression: str, known: dict[str, float]) -> str:
    """Return the expression with every name's number in its place."""

    def number(match: "re.Match[str]") -> str:
        name = match.group()
        if name not in known:
            return name
        return _n(known[name]) if name == expression else _in_sum(known[name])

    return re.sub(r"[A-Za-z_]\w*", number, expression)


def _in_sum(value: float) -> str:
    return _n(value) if value >= 0 else f"({_n(value)})"


def _n(value: float) -> str:
    return f"{value:.6g}"


def _sub(number: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))
