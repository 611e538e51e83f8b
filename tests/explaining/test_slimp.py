"""The page of a SLIMP run: attention that adds up, metadata beside their pictures, retrieval beside chance, a map."""

import re

import pandas as pd
import pytest

import sidelight
from sidelight.data.cohort.cohort import Cohort


def test_a_page_of_what_slimp_ties_together(tmp_path):
    cohort = Cohort.open("phantom:skin?patients=14&size=32")
    settings = {"encoder": "test_resnet", "image_size": 32, "steps": 1, "batch_size": 8, "device": "cpu"}
    settings |= {"table": {"width": 16, "heads": 2, "depth": 1}, "cache": str(tmp_path / "c"), "quiet": True}
    run = sidelight.pretrain("slimp", cohort, tmp_path / "run", **settings)
    page = sidelight.explain(run, cohort, tmp_path / "out", items=3, cache=str(tmp_path / "c"), quiet=True)
    text = page.read_text()
    for title in ("Attention over lesion metadata", "Nearest lesions with their metadata", "A map of the lesions"):
        assert title in text
    seen = pd.read_csv(tmp_path / "out" / "attention-over-lesion-metadata.csv")
    assert set(seen["column"]) == set(cohort.spec.metadata.columns["lesion"])
    assert seen.drop(columns=["column", "known"]).sum().to_numpy() == pytest.approx(1)
    found = pd.read_csv(tmp_path / "out" / "photographs-find-metadata.csv").set_index("direction")
    assert found.loc["by chance", "median rank"] == (len(cohort.items) + 1) / 2
    assert found["among the first 10"].between(0, 1).all()
    assert re.search(r"Coloured by:.*diagnosis.*site.*age", text, re.S)
    assert "diameter" in text and not any(name in text for name in cohort.items["item"])
