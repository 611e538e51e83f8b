"""Identity stays out: strings planted wherever a cohort can hold one stand in nothing that leaves the cohort's folder."""

import importlib.util
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

import identifiers
import sidelight
from identifiers import DICOM_STRINGS, PHOTO_STRINGS, ROOT, flags, leaks, said, spoken
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build, caches
from sidelight.models.image import create_encoder
from sidelight.models.towers import save_tower

TINY = {"encoder": "test_resnet", "image_size": 32, "steps": 2, "batch_size": 4, "pairs_per_clip": 1, "device": "cpu"}
PAIRS = {**{key: value for key, value in TINY.items() if key != "pairs_per_clip"}, "photographs": ["D", "K"]}
SERIES = {**TINY, "image_size": 48, "patch_size": 33, "pairs_per_clip": 2}
SECOND = {"steps": 2, "batch_size": 4, "device": "cpu", "labels.mel": 2, "labels.colour": 2, "width": 8}
STUDY = """
title = "Tiny"
seeds = 1
protocols = ["linear"]
pretrain = {encoder = "test_resnet", image_size = 32, steps = 2, batch_size = 4, pairs_per_clip = 1, device = "cpu"}
evaluate = {folds = 2, resamples = 100, device = "cpu", subgroups = ["site", "region"]}
[encoders.random]
[encoders.simclr]
method = "simclr"
[parts.mel]
task = "mel"
"""


ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript"))


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    root = identifiers.photos(tmp_path_factory.mktemp("a"))
    save_tower(create_encoder("test_resnet", channels=3, image_size=32), root / identifiers.WEIGHTS)
    return root


@pytest.fixture(scope="module")
def written(ward, tmp_path_factory):
    """Everything that every command writes, and what was said meanwhile, by command."""
    out = tmp_path_factory.mktemp("out")
    tomorrow = shutil.copytree(
        ward, tmp_path_factory.mktemp("b") / ROOT, ignore=shutil.ignore_patterns("*.toml", ".sidelight")
    )
    (out / "study.toml").write_text(STUDY)
    data, run, judged = ("--data", str(ward)), str(out / "run"), str(out / "judged")
    puzzles = str(out / "sslm" / "run")
    nested = {name: value for name, value in TINY.items() if name != "pairs_per_clip"} | {"valid_fraction": 0.3}
    borrowed, both = flags(inputs={"kind": "image+borrowed"}), flags(inputs={"kind": "image+metadata"})
    small = flags(folds=2, seeds=1, resamples=100, device="cpu", subgroups=["site", "region"])
    commands = [
        ["check", str(ward), "--json", str(out / "check.json"), "--html", str(out / "check.html"), *flags(**TINY), "--quick"],
        ["pretrain", "simclr", *data, "--out", run, *flags(**TINY, initial=str(ward / identifiers.WEIGHTS))],
        ["pretrain", "sm3", *data, "--out", str(out / "sm3"), *flags(**PAIRS)],
        ["pretrain", "sm3_labels", *data, "--out", str(out / "sm3l"), "--from", str(out / "sm3"), *flags(**SECOND)],
        ["explain", str(out / "sm3l"), *data, "--out", str(out / "explained" / "sm3l"), "--items", "3"],
        ["explain", str(out / "sm3"), *data, "--out", str(out / "explained" / "sm3"), "--items", "3"],
        ["export", str(out / "sm3"), "--format", "timm", "--role", "K", "--out", str(out / "k.safetensors")],
        ["report", str(out / "sm3l"), "--out", str(out / "sm3l.html")],
        ["evaluate", run, *data, "--task", "mel", "--out", judged, *small],
        ["study", str(out / "study.toml"), *data, "--out", str(out / "study")],
        ["report", run, "--out", str(out / "run.html")],
        ["report", str(out / "study"), "--out", str(out / "study.md")],
        ["report", judged, "--out", str(out / "judged.html")],
        ["predict", judged, *data, "--out", str(out / "scores.csv")],
        ["predict", judged, "--data", str(tomorrow), "--cohort", str(ward), "--out", str(out / "later.csv")],
        ["embed", run, *data, "--out", str(out / "vectors.parquet")],
        ["export", run, "--format", "timm", "--out", str(out / "e.safetensors")],
        ["export", run, "--format", "hf", "--out", str(out / "hf")],
        *([["export", run, "--format", "onnx", "--out", str(out / "e.onnx")]] if ONNX else []),
        ["explain", run, *data, "--out", str(out / "explained"), "--items", "3"],
        ["pretrain", "sslm", *data, "--out", puzzles, *flags(**SERIES)],
        ["evaluate", puzzles, *data, "--task", "mel", "--protocol", "series", "--out", str(out / "series"), *small],
        ["predict", str(out / "series"), *data, "--out", str(out / "series.csv")],
        ["explain", puzzles, *data, "--out", str(out / "sslm" / "explained"), "--items", "2"],
        ["pretrain", "slimp", *data, "--out", str(out / "slimp"), *flags(**nested)],
        ["evaluate", str(out / "slimp"), *data, "--task", "mel", "--out", str(out / "lent"), *small, *borrowed],
        ["evaluate", str(out / "slimp"), *data, "--task", "mel", "--out", str(out / "told"), *small, *both],
        ["predict", str(out / "told"), *data, "--out", str(out / "told.csv")],
        ["evaluate", str(out / "slimp"), *data, "--task", "mel", "--protocol", "retrieval", "--out", str(out / "found"), *small],
        ["pretrain", "slimp", *data, "--out", str(out / "slimp2"), "--from", str(out / "slimp"), "--set", "steps=1"],
        ["report", str(out / "slimp2"), "--out", str(out / "slimp2.html")],
        ["embed", str(out / "slimp"), *data, "--out", str(out / "nested.parquet")],
        ["explain", str(out / "slimp"), *data, "--out", str(out / "nested" / "explained"), "--items", "3"],
        ["cache", str(ward)],
    ]  # fmt: skip
    return out, spoken(commands)


def test_sixty_strings_are_planted_and_the_search_finds_them(ward, tmp_path):
    assert len(PHOTO_STRINGS) >= 60
    there = {line.partition(": ")[2] for line in leaks(ward.parent, PHOTO_STRINGS)}
    assert there == set(PHOTO_STRINGS)
    text = "Vogelsäng07"
    pd.DataFrame({"a": [text] * 99, "b": "x"}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text(json.dumps({"a": text}))
    (tmp_path / "c.html").write_text("<p>Vogels&auml;ng07</p>")
    (tmp_path / "d.bin").write_bytes(text.encode("utf-16-le"))
    (tmp_path / "e.txt").write_text(text, encoding="latin-1")
    (tmp_path / f"{text}.png").touch()
    assert len(leaks(tmp_path, (text,))) == 6


def test_no_file_that_a_command_writes_names_anybody(written):
    out, _ = written
    for name in (
        *(
            "check.json",
            "check.html",
            "run/card.md",
            "run/config.json",
            "run/metrics.jsonl",
            "run/quarantine.csv",
            "run/split.csv",
            "told/model/towers/lesion_metadata.safetensors",
            "told.csv",
        ),
        *("run/towers/image.safetensors", "judged/card.md", "judged/scores.parquet", "judged/model/model.json"),
        *("study/results.parquet", "study/report.html", "study/study.json", "study/card.md", "study.md", "run.html"),
        *("sslm/run/card.md", "series/model/model.json", "series/model/head.safetensors", "series.csv"),
        *("k.safetensors", "sm3l.html", "slimp2.html", "slimp2/card.md", "nested.parquet", "lent/borrowed.csv"),
        *("explained/sm3/index.html", "slimp/towers/lesion_metadata.safetensors", "sm3l/relations.safetensors"),
        *("sm3/towers/K.safetensors", "sm3l/towers/labels.safetensors", "explained/sm3l/index.html"),
        *("scores.csv", "later.csv", "vectors.parquet", "e.safetensors", "hf/README.md", *["e.onnx"] * ONNX),
        "explained/index.html",
    ):
        assert (out / name).stat().st_size, name
    assert not leaks(out, PHOTO_STRINGS)
    for page in out.rglob("*.html"):  # to explain is to show images; there are no copies to show
        assert ("data:image" in page.read_text()) == ("explained" in page.parts), page


def test_a_log_names_nobody_but_the_folder_that_was_typed(written):
    _, texts = written
    for command, text in texts.items():
        if command != "check":  # it names the items that are to be mended, on the terminal alone
            assert said(text, PHOTO_STRINGS) in ([], [ROOT]), command


def test_the_pixel_cache_names_nobody(ward, written):
    assert leaks(ward / ".sidelight" / "cache", PHOTO_STRINGS) == []
    assert len(caches(Cohort.open(ward))) == 3  # one per working size, and one in which copies are looked for


def test_no_dicom_tag_or_name_gets_out(tmp_path, capfd, caplog):
    pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
    root = identifiers.dicoms(tmp_path / "data")
    there = {line.partition(": ")[2] for line in leaks(root.parent, DICOM_STRINGS)}
    assert there == set(DICOM_STRINGS)
    out = tmp_path / "out"
    out.mkdir()
    more = {"quiet": True, "cache": str(out / "cache"), "max_bad_fraction": 0.5}
    run = sidelight.pretrain("simclr", root, out / "run", **TINY, **more)
    sidelight.embed(run, root, out / "vectors.parquet", device="cpu", **more)
    found = sidelight.check(root, quick=True, **{**TINY, **more})
    assert leaks(root / ".sidelight", DICOM_STRINGS) == []
    (out / "check.json").write_text(found.to_json())
    sidelight.report(run.folder, out / "run.html")
    assert leaks(out, DICOM_STRINGS) == []
    assert said("".join(capfd.readouterr()) + caplog.text, DICOM_STRINGS) == []


def screen(seed, name):
    """An ultrasound image with a name burnt into a band above its sector."""
    rng = np.random.default_rng(seed)
    canvas, fan = Image.new("L", (160, 120)), Image.new("1", (160, 120))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 160, 12), fill=60)
    draw.text((3, 1), name, fill=255)
    ImageDraw.Draw(fan).pieslice((-8, -66, 168, 110), 50, 130, fill=1)
    speckle = rng.rayleigh(40, (120, 160)).clip(15, 255)
    return np.where(np.asarray(fan), speckle, np.asarray(canvas)).astype(np.uint8)


def test_a_name_that_is_burnt_into_a_band_is_not_in_the_cache(tmp_path):
    pixels = {}
    for name in ("DOE, JANE 1950-02-03", ""):
        for crop in ("sector", None):
            root = tmp_path / f"{name}{crop}"
            root.mkdir()
            for seed in range(3):
                Image.fromarray(screen(seed, name)).save(root / f"{seed}.png")
            (root / "cohort.toml").write_text(
                'files = "{item_id}.png"\n' + ('[images]\ncrop = "sector"\n' if crop else "")
            )
            pixels[name, crop] = build(Cohort.open(root), size=64).batch(range(3), [0] * 3)
    named, blank = "DOE, JANE 1950-02-03", ""
    np.testing.assert_array_equal(pixels[named, "sector"], pixels[blank, "sector"])
    assert (pixels[named, None] != pixels[blank, None]).any()
