"""The section on masks and boxes: what it counts, whom it names, what it draws."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sidelight.evaluation.drawn import packed
from sidelight.metrics.detection import RATES
from sidelight.reporting.document import Figure
from sidelight.reporting.study.content import RESULTS, Content
from sidelight.reporting.study.localized import sections
from sidelight.reporting.tables import Table

NAMED = {"task": "t", "protocol": "p", "labels": 9}


def result(metric: str, value: float) -> dict[str, object]:
    row = dict.fromkeys(RESULTS, 0) | NAMED | {"encoder": "lead", "metric": metric, "value": value}
    return row | {"low": value - 0.1, "high": value + 0.1, "all_labels": True, "selected_on": "validation"}


def content(kind: str, pictures: pd.DataFrame, metrics: dict[str, float]) -> Content:
    size, found, value = [9, 4, 0, 0, 7], [8, 0, 3, 0, 1], [0.9, 0.0, np.nan, np.nan, 0.2]
    cases = pd.DataFrame({"unit": list("abcde"), "group": list("abcde"), "size": size, "found": found, "value": value})
    cases = cases.assign(encoder="lead", target="", outcome=kind, **NAMED)
    recall = np.linspace(0, 1, 5)
    curves = pd.DataFrame({"recall": recall, "value": 1 - recall, "low": 0.0, "high": 1.0})
    return Content(
        Path("nowhere"),
        pd.DataFrame([result(name, number) for name, number in metrics.items()]),
        *(pd.DataFrame() for _ in range(2)),
        [],
        {"encoders": {"lead": "the encoder"}},
        cases=cases,
        detection_curves=curves.assign(encoder="lead", target="", **NAMED) if kind == "boxes" else pd.DataFrame(),
        pictures=pictures,
    )


def test_misses_are_counted_and_failures_named_worst_first():
    parts = sections(content("mask", pd.DataFrame(), {"dice": 0.5}))
    misses, worst = (part for part in parts if isinstance(part, Table))
    assert misses.rows == (("lead", "p, mask", "", "1 of 3", "1 of 2"),)
    assert [row[0] for row in worst.rows] == ["b", "e", "a"] and worst.header[-1] == "Dice"
    without = sections(content("mask", pd.DataFrame(), {"dice": 0.5}), by_unit=False)
    assert len(without) == len(parts) - 1


@pytest.mark.parametrize("kind", ["mask", "boxes"])
def test_curves_and_pictures_are_drawn(kind: str, tmp_path: Path):
    mask = np.eye(8, dtype=bool)
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    found = np.array([[1, 1, 4, 4, 0.9]], "<f4").tobytes() if kind == "boxes" else packed(mask)
    shown = pd.DataFrame(
        [{"encoder": "lead", **NAMED, "outcome": kind, "target": "", "place": place, "value": 0.5, "side": 8,
          "image": buffer.getvalue(), "truth": found, "found": found} for place in ("worst", "best")]
    )  # fmt: skip
    metrics = {f"sensitivity at {rate:g} false positives": 0.5 for rate in RATES} if kind == "boxes" else {"dice": 0.5}
    parts = sections(content(kind, shown, metrics))
    drawn, pictures = (part for part in parts if isinstance(part, Figure))
    text = str(drawn.html)
    assert ("FROC" in text) == ("Precision against recall" in text) == (kind == "boxes")
    assert ("Size against Dice" in text) == (kind == "mask")
    assert drawn.save is not None and drawn.save(tmp_path / "a.png").stat().st_size > 5000
    assert str(pictures.html).index("best, 0.50") < str(pictures.html).index("worst, 0.50")
    assert "blue is true" in str(pictures.html)


def test_without_masks_or_boxes_there_is_no_section():
    empty = content("mask", pd.DataFrame(), {"dice": 0.5})
    assert sections(Content(Path(), empty.results, empty.differences, empty.efficiency, [], {})) == []
