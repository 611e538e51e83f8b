"""From stored features to the whole table: seconds of sidelight, and of a scikit-learn script that does the same (T6).

One frozen encoder, 2,000 units of 500 patients x 384 features in five folds: kNN and the linear probe with its sweep of eight
strengths, chosen inside the units that learn; then AUROC, average precision, accuracy, balanced accuracy, F1, Brier score,
calibration intercept and slope, sensitivity and specificity, each with 1,000 resamples of patients, and the AUROC of nine
subgroups of three columns with theirs. sidelight's table holds more: decision curves, bands,
2x2 tables, differences of subgroups.

    python benchmarks/evaluation.py

The bar: the table from scores under 10 s, and the whole at least 3x the script.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sidelight.data.cohort.task import Task
from sidelight.evaluation.labelled import make_folds
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.scores import Ready, collect_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables import tabulated
from sidelight.evaluation.tables.subgroups import subgroup_table

CLASSES = ("no", "yes")
STRENGTHS = [10.0**k for k in range(-5, 3)]


def features(units: int, width: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Units of four a patient, three in ten positive, their features, and three columns of subgroups."""
    rng = np.random.default_rng(seed)
    group = np.arange(units) // 4
    label = (rng.random(units // 4) < 0.3)[group].astype(int)
    axis = rng.standard_normal(width) / np.sqrt(width)
    vectors = (
        2.0 * label[:, None] * axis
        + rng.standard_normal((units, width))
        + 0.5 * rng.standard_normal((units // 4, width))[group]
    )
    table = pd.DataFrame(
        {"unit": [f"u{at:05d}" for at in range(units)], "group": [f"p{at:05d}" for at in group], "label": label}
    )
    columns = {
        name: rng.choice(list(values), units // 4)[group]
        for name, values in (("sex", "fm"), ("site", "abc"), ("age", "wxyz"))
    }
    return (
        table.assign(rows=[[at] for at in range(units)]),
        vectors.astype(np.float32),
        pd.DataFrame(columns, index=table["unit"]),
    )


def ours(table: pd.DataFrame, vectors: np.ndarray, columns: pd.DataFrame, resamples: int) -> tuple[float, float]:
    """Seconds for the heads, and for the table."""
    started, parts = time.perf_counter(), []
    settings = EvaluateSettings(seeds=1, resamples=resamples)
    folds = make_folds(table, {"": CLASSES}, settings)
    for protocol in ("knn", "linear"):
        ready = Ready(None, None, folds, learned(protocol), settings, vectors)  # type: ignore[arg-type]
        parts.append(collect_scores(ready, 0)[0].assign(protocol=protocol))
    scores = pd.concat(parts).assign(encoder="e", task="t")
    learnt = time.perf_counter() - started
    started = time.perf_counter()
    task = Task("t", ("label",), "item", CLASSES, "binary")
    found = tabulated(scores, {"t": {"": CLASSES}}, {"t": task}, resamples=resamples)
    subgroups = subgroup_table(scores, columns, resamples=resamples)
    assert len(found["results"]) and len(subgroups)
    return learnt, time.perf_counter() - started


def script(table: pd.DataFrame, vectors: np.ndarray, columns: pd.DataFrame, resamples: int) -> tuple[float, float]:
    """The same by scikit-learn, as one would write it."""
    started = time.perf_counter()
    y, groups = table["label"].to_numpy(), table["group"].to_numpy()
    found = {name: np.zeros(len(y)) for name in ("knn", "linear", "calibrated")}
    for train, test in GroupKFold(5).split(vectors, y, groups):
        neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(5, metric="cosine")).fit(
            vectors[train], y[train]
        )
        found["knn"][test] = neighbours.predict_proba(vectors[test])[:, 1]
        inner = list(GroupKFold(5).split(vectors[train], y[train], groups[train]))
        line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        search = GridSearchCV(line, {"logisticregression__C": STRENGTHS}, scoring="neg_log_loss", cv=inner)
        best = search.fit(vectors[train], y[train]).best_estimator_
        found["linear"][test] = best.predict_proba(vectors[test])[:, 1]
        calibrated = CalibratedClassifierCV(best, cv=inner).fit(vectors[train], y[train])
        found["calibrated"][test] = calibrated.predict_proba(vectors[test])[:, 1]
    learnt = time.perf_counter() - started
    started = time.perf_counter()
    for score in (found["knn"], found["calibrated"]):
        _bootstrap(y, score, groups, _measures, resamples)
        for name in columns:
            for value in columns[name].unique():
                own = (columns[name] == value).to_numpy()
                _bootstrap(y[own], score[own], groups[own], lambda a, b: [roc_auc_score(a, b)], resamples)
    return learnt, time.perf_counter() - started


def _measures(y: np.ndarray, score: np.ndarray) -> list[float]:
    called = score >= 0.3
    logit = np.log(np.clip(score, 1e-6, 1 - 1e-6) / np.clip(1 - score, 1e-6, 1))[:, None]
    line = LogisticRegression(C=np.inf).fit(logit, y)
    return [
        roc_auc_score(y, score), average_precision_score(y, score), accuracy_score(y, called), balanced_accuracy_score(y, called),
        f1_score(y, called), brier_score_loss(y, score), recall_score(y, called), recall_score(y, called, pos_label=0),
        float(line.coef_[0, 0]), float(line.intercept_[0]),
    ]  # fmt: skip


def _bootstrap(
    y: np.ndarray,
    score: np.ndarray,
    groups: np.ndarray,
    measure: Callable[[np.ndarray, np.ndarray], list[float]],
    resamples: int,
) -> np.ndarray:
    rng, members = np.random.default_rng(0), [np.flatnonzero(groups == one) for one in np.unique(groups)]
    drawn = []
    for _ in range(resamples):
        at = np.concatenate([members[one] for one in rng.integers(len(members), size=len(members))])
        drawn.append(measure(y[at], score[at]))
    return np.quantile(drawn, [0.025, 0.975], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--units", type=int, default=2000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    data = features(given.units, given.width, 0)
    rows = {"sidelight": ours(*data, given.resamples), "scikit-learn": script(*data, given.resamples)}
    print("| | heads, s | table, s | both, s |\n|---|---:|---:|---:|")
    for name, (learnt, table) in rows.items():
        print(f"| {name} | {learnt:.1f} | {table:.1f} | {learnt + table:.1f} |")
    (mine, own), (other, theirs) = rows.values()
    both = (other + theirs) / (mine + own)
    print(f"\nscikit-learn / sidelight: heads {other / mine:.1f}, table {theirs / own:.1f}, both {both:.1f}")


if __name__ == "__main__":
    main()
