"""The library in one file: describe a network, train it on the CPU or a GPU by a flag, keep it, use it again.

python examples/library.py                    # NumPy
python examples/library.py --device cuda      # CuPy
python examples/library.py --backend jax      # or torch, or array_api_strict
"""

import argparse
import tempfile
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

import backprop_xp as bx


def macro_f1(y_true, y_pred):
    """Any function of (y_true, y_pred) is a metric."""
    return f1_score(y_true, y_pred, average="macro")


def main(device: str = "cpu", backend: str | None = None) -> float:
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, random_state=0, stratify=y)

    network = bx.Network((64, 128, 64, 10), activation="silu", output="softmax")
    trainer = bx.Trainer(
        network,
        loss="cross_entropy",
        optimizer=bx.adamw(bx.schedules.one_cycle(0.01, total=30 * 37)),  # 37 steps of 32 rows an epoch, 30 epochs
        device=device,
        backend=backend,
        epochs=30,
        dropout=0.1,
        validation_fraction=0.125,
        metrics=("accuracy", macro_f1),
        monitor="val_macro_f1",
        patience=10,
    )
    history = trainer.fit(X_train, y_train)
    print(f"{trainer.stopped} after {len(history['epoch'])} epochs, the best is {trainer.kept_epoch}")
    print(f"validation accuracy {history['val_accuracy'][trainer.kept_epoch - 1]:.4f}")

    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder) / "digits.safetensors")
        model = bx.load(Path(folder) / "digits.safetensors")
    accuracy = float((model.predict(X_test) == y_test).mean())
    print(f"test accuracy {accuracy:.4f}")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend")
    main(**vars(parser.parse_args()))
