"""Colours for light and dark, and the fixed colour and marker of every contender."""

import zlib
from typing import NamedTuple

# Each name: its colour on light and on dark paper. The hues of the contenders are those of Okabe and Ito (2008),
# told apart by the colour-blind, darkened for light paper and lightened for dark.
COLOURS = {
    "ink": ("#1b1f24", "#e9ebee"),
    "soft": ("#59616b", "#a7afba"),
    "line": ("#e1e5ea", "#30363e"),
    "paper": ("#ffffff", "#16191e"),
    "blue": ("#0a63b8", "#58a6ff"),
    "vermilion": ("#c9480a", "#ff8a5c"),
    "orange": ("#c07f00", "#f0b33d"),
    "green": ("#00835f", "#3fc79a"),
    "sky": ("#2b93d1", "#8ad0ff"),
    "purple": ("#b0568c", "#ee9cc9"),
    "navy": ("#2f3f9e", "#93a8ff"),
    "violet": ("#6b4fc0", "#b7a3ff"),
    "ochre": ("#857200", "#dccb4a"),
    "teal": ("#0b7d88", "#45cfdb"),
    "rose": ("#c22a62", "#ff8db0"),
    "brown": ("#8a5a2b", "#d6a678"),
    "moss": ("#5a7a1c", "#a8cf62"),
    "grey": ("#737b86", "#959eaa"),
    "shade1": ("#f6f1e2", "#2b281b"),
    "shade2": ("#eeebf8", "#25223a"),
    "shade3": ("#e4f3ec", "#182d25"),
    "level": ("#f0f1f2", "#262b32"),
    "win1": ("#e1eefb", "#1c2d40"),
    "win2": ("#bfdcf5", "#214263"),
    "win3": ("#90c2ec", "#285a88"),
    "win4": ("#2f7ac0", "#6fb1ee"),
    "win5": ("#1a5fa3", "#97c9f7"),
    "win6": ("#0c4178", "#c4e1fd"),
    "loss1": ("#fde6d3", "#40291a"),
    "loss2": ("#fbcba6", "#5f3a18"),
    "loss3": ("#f5a871", "#824c1a"),
    "loss4": ("#bd530e", "#f0975a"),
    "loss5": ("#983f0a", "#f7b585"),
    "loss6": ("#6f2d05", "#fcd3b5"),
}
NAMES = list(COLOURS)


class Style(NamedTuple):
    """How a contender is drawn."""

    colour: str
    marker: str


STYLES = {
    "backprop_xp on NumPy": Style("blue", "o"),
    "backprop_xp on CuPy": Style("sky", "D"),
    "backprop_xp on JAX": Style("violet", "P"),
    "backprop_xp on PyTorch": Style("purple", "X"),
    "backprop_xp, engine jax": Style("teal", "H"),
    "backprop_xp, engine loops": Style("rose", "*"),
    "backprop_xp, engine torch": Style("moss", "d"),
    "backprop_xp, CUDA graph": Style("rose", "*"),
    "backprop_xp, Trainer.fit": Style("navy", "p"),
    "backprop_xp, Trainer.fit, engine loops": Style("ink", "8"),
    "backprop_xp, Trainer.fit, engine jax": Style("sky", "D"),
    "backprop_xp, Trainer.fit, CUDA graph": Style("ink", "8"),
    "backprop_xp MLPClassifier": Style("blue", "o"),
    "interpreted loops": Style("vermilion", "s"),
    "compiled loops (numba)": Style("orange", "^"),
    "S1, looped gradient": Style("vermilion", "s"),
    "S2, vectorised": Style("ochre", "v"),
    "matrix products alone": Style("grey", "."),
    "NumPy by hand, in place": Style("ochre", "v"),
    "PyTorch eager": Style("vermilion", "s"),
    "PyTorch compiled": Style("orange", "^"),
    "PyTorch, CUDA graph": Style("brown", "<"),
    "JAX, jit a step": Style("purple", "X"),
    "JAX, scan an epoch": Style("violet", "P"),
    "scikit-learn MLP": Style("green", "h"),
    "peak": Style("blue", "o"),
    "added": Style("orange", "^"),
}
_OTHERS = [Style(colour, marker) for marker in "<>pd*" for colour in ("green", "violet", "ochre", "purple", "sky")]


def style(contender: str) -> Style:
    """Return a contender's colour and marker; one that is not known gets the same ones everywhere by its name."""
    return STYLES.get(contender) or _OTHERS[zlib.crc32(contender.encode()) % len(_OTHERS)]


def ink(name: str) -> str:
    """Return the stand-in that is drawn with, and replaced by the colour's custom property afterwards."""
    return f"#01f0{NAMES.index(name):02x}"
