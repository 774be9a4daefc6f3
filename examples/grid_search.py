"""scikit-learn's tools around the drop-in: a Pipeline inside GridSearchCV, on the CPU or a GPU by a flag.

python examples/grid_search.py                      # NumPy, two processes
python examples/grid_search.py --device cuda        # CuPy
python examples/grid_search.py --backend torch      # or jax
"""

import argparse

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backprop_xp import MLPClassifier


def main(device: str | None = None, backend: str | None = None) -> float:
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    classifier = MLPClassifier(
        (32,), max_iter=60, learning_rate_init=0.01, random_state=0, early_stopping=True, scoring="neg_log_loss",
        class_weight="balanced", device=device, backend=backend,
    )  # fmt: skip
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier),
        {
            "mlpclassifier__activation": ["relu", "silu"],
            "mlpclassifier__dropout": [0.0, 0.2],
            "mlpclassifier__learning_rate": ["constant", "cosine"],
        },
        scoring="roc_auc",
        cv=3,
        n_jobs=2 if device in (None, "cpu") else 1,  # one process has the GPU to itself
    ).fit(X_train, y_train)
    for name, value in search.best_params_.items():
        print(f"{name.removeprefix('mlpclassifier__')} = {value}")
    score = float(search.score(X_test, y_test))
    print(f"ROC AUC: {search.best_score_:.4f} in cross-validation, {score:.4f} on the test rows")
    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device")
    parser.add_argument("--backend")
    main(**vars(parser.parse_args()))
