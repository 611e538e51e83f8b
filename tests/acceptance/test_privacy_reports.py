"""Text of reports identifies: strings planted in them stand in no run, model, report, export or log, nor in the tokenizer.

The page of `explain` shows the sentences of the reports that it is asked about, as it shows their images; its tables do not.
"""

import json
import stat

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from identifiers import flags, leaks, said, spoken
from sidelight.models.towers import read_tower

NAMES = [f"Schlummerküken{chr(97 + n)}" for n in range(24)]
PLANTED = (
    *NAMES,
    "Frau Zwiebelturm",
    "MRN 77-Qx-19",
    "Tel. 0049-555-0177",
    "told to Dr. Wurzelsepp",
    "born on 30.02.1903 in Hinterkuckuck",
)
TINY = {
    "encoder": "test_resnet",
    "image_size": 32,
    "steps": 2,
    "batch_size": 4,
    "device": "cpu",
    "text.width": 16,
    "text.layers": 1,
    "text.heads": 2,
    "hidden": 16,
    "dim": 8,
}


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    root = tmp_path_factory.mktemp("ward")
    rows, rng = [], np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        path = root / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(path)
        text = f"FINDINGS: {name} has an effusion, {PLANTED[-5]}, {PLANTED[-4]}. No nodule in the left lung. {PLANTED[-3]} "
        rows.append((number, "ab"[number % 2], f"{text}\nIMPRESSION: Effusion. {PLANTED[-2]}, {PLANTED[-1]}."))
    pd.DataFrame(rows, columns=["n", "site", "text"]).to_csv(root / "texts.csv", index=False)
    (root / "cohort.toml").write_text(
        'files = "{n}.png"\nlevels = ["n"]\ntables = [{file = "texts.csv", on = ["n"]}]\nreport = "text"\n'
        '[task.site]\nlabel = "site"\npositive = ["a"]\n'
    )
    return root


@pytest.fixture(scope="module")
def written(ward, tmp_path_factory):
    out, data = tmp_path_factory.mktemp("out"), ("--data", str(ward))
    run, small = str(out / "run"), flags(folds=2, seeds=1, resamples=100, device="cpu")
    seen = tmp_path_factory.mktemp("seen") / "page"
    commands = [
        ["check", str(ward), "--json", str(out / "check.json"), "--quick"],
        ["pretrain", "lovt", *data, "--out", run, *flags(**TINY)],
        ["evaluate", run, *data, "--task", "site", "--out", str(out / "judged"), *small],
        ["report", run, "--out", str(out / "run.html")],
        ["predict", str(out / "judged"), *data, "--out", str(out / "scores.csv")],
        ["embed", run, *data, "--out", str(out / "vectors.parquet")],
        ["export", run, "--format", "timm", "--out", str(out / "e.safetensors")],
        ["pretrain", "clip", *data, "--out", str(out / "clip"), *flags(**TINY)],
        ["explain", str(out / "clip"), *data, "--out", str(seen.parent / "clip"), "--items", "2"],
        ["explain", run, *data, "--out", str(seen), "--items", "3"],
    ]
    return out, seen, spoken(commands)


def test_no_text_of_a_report_gets_out(ward, written):
    out, seen, texts = written
    assert {line.rpartition(": ")[2] for line in leaks(ward, PLANTED)} >= set(NAMES)  # the search finds what is there
    assert (out / "run" / "towers" / "report.safetensors").stat().st_size
    assert leaks(out, PLANTED) == []
    for command, text in texts.items():
        assert said(text, PLANTED) == [], command
    tables = list(seen.parent.rglob("*.csv"))
    assert tables
    page = (seen / "index.html").read_text()
    assert "No nodule in the left lung." in page and "patient data" in page
    assert stat.S_IMODE(seen.stat().st_mode) == 0o700
    for path in tables:
        assert not [name for name in PLANTED if name in path.read_text()]


def test_the_tokenizer_holds_only_what_20_patients_share(written):
    said, _ = read_tower(written[0] / "run", "report", kind="report")
    pieces = json.loads(said["tokenizer"])["model"]["vocab"]
    assert "effusion" in pieces
    for name in NAMES:
        word = name.lower()
        assert not [piece for piece in pieces if len(piece.removeprefix("##")) > 5 and piece.removeprefix("##") in word]
    assert "_name_or_path" not in json.dumps(said)


def test_what_was_read_lies_beside_the_data_for_its_owner(ward, written):
    kept = list((ward / ".sidelight").rglob("reports/*.parquet"))
    assert kept
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in kept} == {0o700}
    assert stat.S_IMODE((ward / ".sidelight").stat().st_mode) == 0o700
