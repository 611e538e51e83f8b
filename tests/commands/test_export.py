"""Vectors of a cohort and exports of a run: what is in them, what is not, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import sidelight
from sidelight.cli import app
from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import build
from sidelight.errors import ConfigError, EncoderError, RunError
from sidelight.evaluation.features import embed_items
from sidelight.models.image import Encoder, create_encoder, weights_hash
from sidelight.models.towers import save_tower
from sidelight.train.run import Run


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return create_encoder("test_resnet", channels=1, image_size=32).eval()


@pytest.fixture(scope="module")
def run(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run as far as delivery looks at it."""
    folder = tmp_path_factory.mktemp("runs") / "simclr"
    save_tower(encoder, folder / "towers")
    (folder / "config.json").write_text(
        json.dumps({"method": "simclr", "data": {"name": "Dr Miller", "hash": "d" * 16}})
    )
    (folder / "done.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients whose lesions have the same numbers, and one file that is no image."""
    root = tmp_path_factory.mktemp("data") / "clinic"
    random = np.random.default_rng(0)
    for name in ("miller/1/D", "miller/1/K", "miller/2/D", "smith/1/D", "smith/2/D", "smith/2/K"):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 44), dtype=np.uint8)).save(path)
    (root / "smith/1/K.png").write_bytes(b"no image")
    (root / "cohort.toml").write_text(
        'files = "{patient}/{lesion}/{view}.png"\nlevels = ["patient", "lesion"]\n'
        'views = {D = "dermoscopic", K = "clinical"}\n'
    )
    return root


def test_a_row_per_item_named_by_hash(run: Path, encoder: Encoder, clinic: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.parquet"
    table = sidelight.embed(run, clinic, out, max_bad_fraction=0.5, quiet=True)
    cohort = Cohort.open(clinic)
    readable = [place for place, files in enumerate(cohort.items["files"]) if files != ("smith/1/K.png",)]
    secret = cohort.key

    def hashed(names: "pd.Series[str]") -> list[str]:
        return [item_hash(name, secret) for name in names.iloc[readable]]

    assert table.columns.tolist() == ["item", "patient", "lesion", "group", "view", "vector"]
    assert table["item"].tolist() == [cohort.item_hash(place) for place in readable]
    assert table["patient"].tolist() == table["group"].tolist() == hashed(cohort.items["patient"])
    assert table["lesion"].tolist() == hashed(unit_keys(cohort.items, cohort.levels, "lesion"))
    assert table["lesion"].nunique() == 4  # an id counts inside its parent
    assert set(table["view"]) == {"dermoscopic", "clinical"}
    pixels = build(cohort, size=working_size(32), max_bad_fraction=0.5)
    np.testing.assert_array_equal(np.stack(table["vector"]), embed_items(encoder, pixels))
    assert table.attrs["unreadable"] == 1

    stored = pq.read_table(out)
    assert stored.schema.field("vector").type == pa.list_(pa.float32(), encoder.dim)
    known = json.loads(stored.schema.metadata[b"sidelight"])
    assert known == table.attrs
    assert known["encoder_hash"] == weights_hash(encoder)
    assert known["data_hash"] == pixels.hash
    assert (known["image_size"], known["sidelight_version"]) == (32, sidelight.__version__)
    pd.testing.assert_frame_equal(pd.read_parquet(out), table, check_like=False)
    assert not any(name in out.read_bytes() for name in (b"miller", b"smith", b"clinic/", b".png"))
    assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]


def test_frames_roles_and_random_encoders(run: Path, tmp_path: Path) -> None:
    cohort = Cohort.open("phantom:ultrasound?patients=3&clips=1&frames=4&size=40")
    cache = str(tmp_path)
    one = sidelight.embed(Run(run), cohort, frames=1, cache=cache)
    more = sidelight.embed(run / "towers" / "image.safetensors", cohort, cache=cache)
    assert not np.allclose(one["vector"][0], more["vector"][0])
    again, other = (
        sidelight.embed("test_resnet", cohort, random=True, image_size=32, seed=seed, cache=cache) for seed in (0, 1)
    )
    assert again.attrs["encoder_hash"] != other.attrs["encoder_hash"]
    with pytest.raises(EncoderError, match="no tower 'clinical': it has image"):
        sidelight.embed(run, cohort, role="clinical", cache=cache)
    with pytest.raises(EncoderError, match="--random"):
        sidelight.embed("test_resnet", cohort, cache=cache)
    with pytest.raises(ConfigError, match="Unknown setting 'folds'"):
        sidelight.embed(run, cohort, folds=3)
    with pytest.raises(ConfigError, match=r"e\.csv: vectors are no CSV file.*ends in \.parquet, \.pq"):
        sidelight.embed(run, cohort, tmp_path / "e.csv")
    assert not (tmp_path / "e.csv").exists()


def test_stored_vectors_follow_their_items_when_the_order_changes(encoder: Encoder, tmp_path: Path) -> None:
    cohort = Cohort.open("phantom:ultrasound?patients=3&clips=1&frames=4&size=40")
    pixels = build(cohort, size=working_size(32), folder=tmp_path)
    turned = dataclasses.replace(pixels, index=pixels.index.iloc[::-1].reset_index(drop=True))
    first, second = (embed_items(encoder, some, folder=tmp_path / "features") for some in (pixels, turned))
    np.testing.assert_allclose(first, second[::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("format", "name", "files"),
    [
        ("timm", "e.safetensors", {"e.safetensors", "e.json"}),
        ("hf", "e", {"model.safetensors", "config.json", "README.md"}),
    ],
)
def test_an_export_is_whole_and_names_nobody(
    run: Path, tmp_path: Path, format: str, name: str, files: set[str]
) -> None:
    done = sidelight.export(run, format, tmp_path / name)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in found} == files
    assert done.difference == 0
    assert name in done.usage
    assert not any(b"Miller" in path.read_bytes() or str(run).encode() in path.read_bytes() for path in found)
    before = {path: path.read_bytes() for path in found}
    with pytest.raises(ConfigError, match=r"exists already.*--force"):
        sidelight.export(run, format, tmp_path / name)
    sidelight.export(Run(run), format, tmp_path / name, force=True)
    assert before == {path: path.read_bytes() for path in found}


def test_what_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    save_tower(create_encoder("test_resnet", channels=1, image_size=32), unfinished / "towers")
    (unfinished / "config.json").write_text("{}")
    with pytest.raises(RunError, match="not finished"):
        sidelight.export(unfinished, "hf", tmp_path / "hf")
    with pytest.raises(RunError, match="not a folder"):
        sidelight.export(tmp_path / "none", "hf", tmp_path / "hf")
    with pytest.raises(EncoderError, match="no tower 'clinical': it has image"):
        sidelight.export(run, "hf", tmp_path / "hf", role="clinical")
    assert not (tmp_path / "hf").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        sidelight.export(run, "hf", tmp_path / "file", force=True)
    (tmp_path / "e.onnx").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        sidelight.export(run, "onnx", tmp_path / "e.onnx", force=True)


def test_the_command_line(run: Path, clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["export", str(run), "--format", "timm"], catch_exceptions=False).output
    assert 'timm.create_model("test_resnet", checkpoint_path="simclr.safetensors", num_classes=0, in_chans=1)' in said
    assert (tmp_path / "simclr.safetensors").is_file()
    words = ["embed", str(run), "--data", str(clinic), "--out", "v.parquet", "--set", "max_bad_fraction=0.5"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "6 vectors of 96 numbers lie in v.parquet" in said
    assert "1 items could not be read" in said
    with pytest.raises(ConfigError, match=r"v\.parquet exists already"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert CliRunner().invoke(app, [*words, "--force"], catch_exceptions=False).exit_code == 0
