"""Small cohorts on disk for the audit's tests: a table, and a picture per row."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Record

TASK = {"ill": {"label": "diagnosis", "positive": ["ill"]}}


def table(patients: int = 50, each: int = 2, seed: int = 0) -> pd.DataFrame:
    """Nothing in it says anything about the diagnosis, which is the patient's."""
    rng = np.random.default_rng(seed)
    ill = rng.permutation(np.arange(patients) % 2)
    rows = [(f"p{p}", f"{p}_{n}", "ill" if ill[p] else "healthy") for p in range(patients) for n in range(each)]
    frame = pd.DataFrame(rows, columns=["patient", "photo", "diagnosis"])
    per_patient = np.repeat(np.arange(patients), each)
    frame["age"] = rng.integers(20, 90, patients)[per_patient].astype(str)
    frame["sex"] = rng.choice(["f", "m"], patients)[per_patient]
    frame["site"] = rng.choice(["A", "B", "C"], patients)[per_patient]
    frame["itch"] = rng.choice(["yes", "no", ""], len(frame))
    frame["diameter"] = rng.normal(10, 3, len(frame)).round(1).astype(str)
    return frame


def write(root: Path, rows: pd.DataFrame, *, pictures: bool = False, seed: int = 0, pixel: int = 3) -> Path:
    """``table.csv`` and ``photos/PATIENT/PHOTO.png``: noise of 24 px, or empty files where nobody looks at them.

    :param pixel: side of each of the 8 x 8 squares.
    """
    rng = np.random.default_rng([seed, 5])
    for patient, photo in zip(rows["patient"], rows["photo"], strict=True):
        path = root / "photos" / patient / f"{photo}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if pictures:
            blocks = rng.integers(30, 220, (8, 8), dtype=np.uint8)
            Image.fromarray(np.kron(blocks, np.ones((pixel, pixel), np.uint8))).save(path)
        else:
            path.touch()
    rows.drop(columns="patient").to_csv(root / "table.csv", index=False)
    return root


def opened(root: Path, record: Record | None = None, **options: Any) -> Cohort:
    spec: dict[str, Any] = {
        "files": "photos/{patient}/{photo}.png",
        "tables": [{"file": "table.csv", "on": ["photo=photo"]}],
        "levels": ["patient"],
        "task": TASK,
        **options,
    }
    (root / "cohort.toml").write_text("")
    return Cohort.open(root, record=Record() if record is None else record, **spec)
