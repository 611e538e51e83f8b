"""A model that evaluate saved, applied to new patients."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError, DataError, EncoderError, RunError
from sidelight.evaluation.model.model import read_model
from sidelight.models.image import weights_hash

QUIET = {"seeds": 1, "frames": 2, "resamples": 200, "device": "cpu", "max_frames": 4}
FAST = {"steps": 2, "checks": 1, "batch_size": 4}


def write_photos(folder, patients, *, seed, labels=True, shift=0, views=("a", "b"), colour=False, sex=True):
    """Photos per patient and view; patients of class 1 are brighter in the middle. Returns the folder."""
    rng = np.random.default_rng(seed)
    rows = ["patient;label;sex;site"]
    for number in range(patients):
        name, label = f"pat{number + shift:03d}", number % 2
        rows.append(
            f"{name};{['benign', 'malignant'][label] if labels else ''};{'mf'[number // 2 % 2]};{'north' if sex else ''}"
        )
        for view in views:
            image = rng.integers(40, 120, (24, 24))
            image[8:16, 8:16] += 90 * label
            path = folder / "photos" / name / f"{view}1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = image.astype(np.uint8)
            Image.fromarray(np.stack([pixels, pixels // 2, pixels], -1) if colour else pixels).save(path)
    (folder / "table.csv").write_text("\n".join(rows))
    (folder / "cohort.toml").write_text(
        'files = "photos/{patient}/{view:[a-z]}{n}.png"\n'
        'tables = [{file = "table.csv", on = ["patient"]}]\nlevels = ["patient"]\n'
        '[task.malignant]\nlabel = "label"\nunit = "patient"\nclasses = ["benign", "malignant"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("here"), 40, seed=0)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("new"), 20, seed=1, labels=False, shift=500)


@pytest.fixture(scope="module")
def judged(here, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    results = sidelight.evaluate("test_resnet", here, "malignant", out=out, random=True, image_size=32, **QUIET)
    return out, results


def test_new_patients_are_scored_without_labels(judged, new, tmp_path):
    table = sidelight.predict(judged[0], new, tmp_path / "scores.csv", device="cpu", quiet=True)
    assert len(table) == 20 and table["unit"].is_unique
    assert ((table["calibrated"] >= 0) & (table["calibrated"] <= 1)).all()
    assert (table["decision"] == np.tile(["benign", "malignant"], 10)).mean() >= 0.9
    assert table["outside"].mean() <= 0.1 and (table["missing"] == "").all()
    written = (tmp_path / "scores.csv").read_text()
    assert "Research use only" in written and "pat5" not in written
    named = sidelight.predict(judged[0], new, device="cpu", quiet=True, names=True)
    assert named["name"].tolist() == [f"pat{500 + n}" for n in range(20)]


def test_a_broken_image_and_a_missing_view_are_flagged_and_the_others_are_scored(judged, tmp_path):
    folder = write_photos(tmp_path, 8, seed=2, shift=800)
    (folder / "photos/pat800/a1.png").write_bytes(b"")
    (folder / "photos/pat800/b1.png").write_bytes(b"")
    (folder / "photos/pat801/a1.png").unlink()
    (folder / "photos/pat802/b1.png").write_bytes(b"broken")
    table = sidelight.predict(judged[0], folder, device="cpu", quiet=True, names=True).set_index("name")
    assert table.loc["pat800", "missing"] == "no readable image"
    assert table.loc["pat800", "decision"] == "" and np.isnan(table.loc["pat800", "probability"])
    assert table.loc["pat801", "missing"] == "no a image"
    assert table.loc["pat802", "missing"] == "1 of 2 images unreadable"
    assert table.loc["pat803", "missing"] == "" and table.loc["pat803", "decision"] in ("benign", "malignant")


def test_clips_are_read_with_the_frames_that_the_model_learnt_from():
    data = "phantom:ultrasound?patients=8&frames=12&size=32"
    with tempfile.TemporaryDirectory() as folder:
        more = {"out": folder, "cache": folder, "random": True, "image_size": 32, "folds": 2}
        sidelight.evaluate("test_resnet", data, "diagnosis", **more, **QUIET)
        table = sidelight.predict(folder, data, device="cpu", quiet=True, cache=folder)
        card = Path(folder, "card.md").read_text()
    assert table["distance"].max() < 1e-5  # the units that it learnt from
    note = (
        "up to 11% of units like the labelled ones are flagged, too; not reliable, for the model learnt from 8 patients"
    )
    assert table.attrs["outside"] == note and note in card


def test_tomorrows_folder_needs_neither_a_cohort_file_nor_a_table(judged, here, tmp_path):
    folder = write_photos(tmp_path, 6, seed=6, shift=700)
    (folder / "cohort.toml").unlink()
    with pytest.raises(DataError, match="--cohort FILE"):
        sidelight.predict(judged[0], folder, device="cpu", quiet=True)
    shutil.copy(here / "table.csv", folder)  # of the old patients
    table = sidelight.predict(judged[0], folder, cohort_file=here, device="cpu", quiet=True)
    assert table["decision"].tolist() == ["benign", "malignant"] * 3
    assert table.attrs["notices"] == ["The table table.csv has no row for any item: goes without its columns"]
    assert table.attrs["outside"] == "up to 5% of units like the labelled ones are flagged, too"


def test_data_of_another_kind_are_refused_in_one_sentence(judged, tmp_path):
    colour = write_photos(tmp_path / "colour", 6, seed=3, colour=True)
    with pytest.raises(DataError, match="colour images, the model learnt from grey"):
        sidelight.predict(judged[0], colour, device="cpu", quiet=True)
    assert len(sidelight.predict(judged[0], colour, device="cpu", quiet=True, other_kind=True)) == 6
    views = write_photos(tmp_path / "views", 6, seed=3, views=("x", "y"))
    with pytest.raises(DataError, match="views x, y"):
        sidelight.predict(judged[0], views, device="cpu", quiet=True)
    crop = write_photos(tmp_path / "crop", 6, seed=3)
    toml = crop / "cohort.toml"
    toml.write_text(toml.read_text().replace("[task", '[images]\ncrop = "sector"\n[task'))
    with pytest.raises(DataError, match="crop = 'sector', the model learnt from those with None"):
        sidelight.predict(judged[0], crop, device="cpu", quiet=True)
    toml.write_text(toml.read_text().replace('crop = "sector"', "channels = 1\nequalize = true"))
    with pytest.raises(DataError, match="equalize = True, the model learnt from those with False"):
        sidelight.predict(judged[0], crop, device="cpu", quiet=True)
    with pytest.raises(DataError, match="per patient, a level"):
        sidelight.predict(
            judged[0], Cohort.open("phantom:ultrasound?patients=4").__class__(tmp_path, "x", pd.DataFrame())
        )


def write_round(folder, images, count, *, seed):
    """Pictures of 60 x 80, a circle or an ellipse as wide as 4:3 of it, told by the name; squashed both may be round."""
    rng, y, x = np.random.default_rng(seed), *np.mgrid[:60, :80]
    for number in range(count):
        wide, centre, size = number % 2, rng.uniform(-4, 4, 2), rng.uniform(14, 18)
        inside = ((y - 30 - centre[0]) / size) ** 2 + ((x - 40 - centre[1]) / (size * (4 / 3 if wide else 1))) ** 2 < 1
        path = folder / "photos" / ["round", "wide"][wide] / f"p{seed}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.integers(30, 60, (60, 80)) + 120 * inside).astype(np.uint8)).save(path)
    (folder / "cohort.toml").write_text(
        'files = "photos/{kind}/{patient}.png"\nlevels = ["patient"]\n' + images + '[task.kind]\nlabel = "kind"\n'
    )
    return folder


def test_images_that_another_fit_shows_otherwise_are_refused(tmp_path):
    pad = '[images]\nfit = "pad"\n'
    here, new = write_round(tmp_path / "here", pad, 40, seed=0), write_round(tmp_path / "new", "", 40, seed=1)
    out = tmp_path / "out"
    sidelight.evaluate("test_resnet", here, "kind", out=out, random=True, image_size=32, **QUIET)
    with pytest.raises(DataError, match="fit = 'squash', the model learnt from those with 'pad'"):
        sidelight.predict(out, new, device="cpu", quiet=True)
    assert len(sidelight.predict(out, new, device="cpu", quiet=True, other_kind=True)) == 40
    old = tmp_path / "old"  # of format 7, which did not say how images of classes were fitted
    shutil.copytree(out / "model", old)
    said = json.loads((old / "model.json").read_text())
    kept = {key: value for key, value in said.items() if key not in ("fit", "range", "files", "seal")}
    (old / "model.json").write_text(json.dumps({**kept, "version": 7}))
    assert len(sidelight.predict(old, new, device="cpu", quiet=True)) == 40
    write_round(new, pad, 40, seed=1)
    assert len(sidelight.predict(out, new, device="cpu", quiet=True)) == 40


def write_deep(folder, images, *, seed):
    """16 pictures of 12 bits in files of 16; class b is brighter in the middle."""
    rng = np.random.default_rng(seed)
    for number in range(16):
        pixels = rng.integers(600, 1900, (24, 24))
        pixels[8:16, 8:16] += 1400 * (number % 2)
        path = folder / "ab"[number % 2] / f"p{seed}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint16)).save(path)
    (folder / "cohort.toml").write_text(
        f'name = "n{seed}"\nfiles = "{{kind}}/{{patient}}.png"\nlevels = ["patient"]\n{images}[task.kind]\nlabel = "kind"\n'
    )
    return folder


def test_images_of_another_range_are_refused_and_an_external_test_says_so(tmp_path):
    deep = "[images]\nrange = [0, 4095]\n"
    here, new = write_deep(tmp_path / "here", deep, seed=0), write_deep(tmp_path / "new", "", seed=1)
    more = {"random": True, "image_size": 32, "folds": 2, **QUIET}
    results = sidelight.evaluate("test_resnet", here, "kind", test=new, out=tmp_path / "out", **more)
    said = "kind on n1: [images] range differ between the two data sets, so images are shown otherwise"
    assert said in results.notes
    with pytest.raises(DataError, match=r"range = None, the model learnt from those with \(0, 4095\)"):
        sidelight.predict(tmp_path / "out", new, device="cpu", quiet=True)
    write_deep(new, deep, seed=1)
    assert len(sidelight.predict(tmp_path / "out", new, device="cpu", quiet=True)) == 16


def test_images_of_something_else_are_outside(judged, tmp_path):
    folder = write_photos(tmp_path, 6, seed=4)
    for path in folder.glob("photos/*/*.png"):
        stripes = np.indices((24, 24)).sum(0) % 6 * 50
        Image.fromarray((255 - stripes).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match="far outside"):
        sidelight.predict(judged[0], folder, device="cpu", quiet=True)
    assert sidelight.predict(judged[0], folder, device="cpu", quiet=True, other_kind=True)["outside"].all()


@pytest.mark.parametrize("protocol", ["knn", "finetune"])
def test_every_protocol_saves_a_model_that_gives_the_same_scores_when_read_back(here, new, tmp_path, protocol):
    sidelight.evaluate(
        "test_resnet", here, "malignant", protocol, out=tmp_path, random=True, image_size=32, folds=2, finetune=FAST, **QUIET
    )  # fmt: skip
    model = read_model(tmp_path)
    one = sidelight.predict(model, new, device="cpu", quiet=True, other_kind=True)
    again = sidelight.predict(tmp_path, new, device="cpu", quiet=True, other_kind=True)
    pd.testing.assert_frame_equal(one, again)
    assert one["probability"].nunique() >= (2 if protocol == "knn" else 10)


def test_the_card_and_the_files_name_nobody(judged):
    out, results = judged
    card = (out / "card.md").read_text()
    for words in (
        "40 labelled units of 40 groups",
        "auroc",
        "specificity at threshold",
        "ece, calibrated",
        "| sex | m |",
        "CLAIM",
    ):
        assert words in card, words
    facts = json.loads((out / "model" / "model.json").read_text())
    assert facts["views"] == ["a", "b"] and facts["channels"] == 1 and facts["unit"] == "patient"
    for path in out.rglob("*"):
        assert not path.is_file() or b"pat0" not in path.read_bytes(), path
    sexes = results.subgroups.query("column == 'sex' and metric == 'auroc'")
    assert sexes["subgroup"].tolist() == ["f", "m"] and (sexes["value"] > 0.8).all() and (sexes["groups"] == 20).all()
    assert {curve["kind"] for curve in results.reliability} == {"as predicted", "calibrated"}


def test_an_external_test_trains_here_and_refits_nothing_there(here, judged, tmp_path):
    there = write_photos(tmp_path / "there", 24, seed=5, shift=900)
    toml = there / "cohort.toml"
    toml.write_text(toml.read_text().replace('["benign", "malignant"]', '{malignant = "malignant", benign = "benign"}'))
    judged_there = sidelight.evaluate(
        "test_resnet", here, "malignant", test=there, random=True, image_size=32, labels=[8], **QUIET
    )  # fmt: skip
    found, sexes = judged_there.results, judged_there.subgroups
    name = f"malignant on {Cohort.open(there).alias}"
    assert set(sexes.loc[(sexes["task"] == name) & (sexes["column"] == "sex"), "subgroup"]) == {"f", "m"}
    outer = found[(found["task"] == name) & (found["metric"] == "auroc")]
    assert outer["labels"].tolist() == [8, 40] and (outer["units"] == 24).all()
    assert outer["value"].iloc[-1] > 0.9
    assert {"ece", "brier", "ece, calibrated"} <= set(found.loc[found["task"] == name, "metric"])
    # what the other site's labels say cannot change its scores
    inner = judged[1].results
    both = found[(found["task"] == "malignant") & (found["metric"] == "auroc") & found["all_labels"].astype(bool)]
    assert both["value"].item() == pytest.approx(inner.loc[inner["metric"] == "auroc", "value"].item())


def test_an_external_test_on_the_same_images_is_none(here):
    from sidelight.errors import SplitError

    with pytest.raises(SplitError, match="no external test"):
        sidelight.evaluate("test_resnet", here, "malignant", test=here, random=True, image_size=32, **QUIET)


def test_a_class_that_the_training_data_lack_must_be_mapped(here, tmp_path):
    there = write_photos(tmp_path / "there", 6, seed=5)
    toml = there / "cohort.toml"
    toml.write_text(toml.read_text().replace('["benign", "malignant"]', '{benign = "good", malignant = "malignant"}'))
    with pytest.raises(ConfigError, match="has the class 'good'"):
        sidelight.evaluate("test_resnet", here, "malignant", test=there, random=True, image_size=32, **QUIET)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match="--out"):
        read_model(tmp_path)


def test_another_evaluation_is_not_replaced_without_force(here, tmp_path):
    out = tmp_path / "judged"
    known = {"random": True, "image_size": 32, **QUIET}
    sidelight.evaluate("test_resnet", here, "malignant", "knn", out=out, **known)
    sidelight.evaluate("test_resnet", here, "malignant", "knn", out=out, **known)  # the same again replaces itself
    before = (out / "model" / "model.json").read_bytes()
    other = write_photos(tmp_path / "other", 40, seed=9)
    for data, protocol, seed, said in (
        (here, "linear", 0, "with protocol 'knn'"),
        (other, "knn", 0, "on other data"),
        (here, "knn", 1, "of another encoder"),
    ):
        with pytest.raises(ConfigError, match=f"judged holds another evaluation, {said}.*--force"):
            sidelight.evaluate("test_resnet", data, "malignant", protocol, out=out, first_seed=seed, **known)
    assert (out / "model" / "model.json").read_bytes() == before
    sidelight.evaluate("test_resnet", here, "malignant", "linear", out=out, force=True, **known)
    assert read_model(out).facts.protocol == "linear"


def test_predict_replaces_its_own_file_and_no_other(judged, new, tmp_path):
    out = tmp_path / "scores.csv"
    for _ in range(2):
        sidelight.predict(judged[0], new, out, device="cpu", quiet=True)
    out.write_text("patient;label\n1;benign\n")
    with pytest.raises(ConfigError, match=r"scores\.csv exists already, and no prediction wrote it.*--force"):
        sidelight.predict(judged[0], new, out, device="cpu", quiet=True)
    assert out.read_text().startswith("patient;label")
    sidelight.predict(judged[0], new, out, device="cpu", quiet=True, force=True)
    assert out.read_text().startswith("unit,")


def test_a_place_that_cannot_be_written_stops_every_command_before_its_work(judged, here, tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "out"
    for call in (
        lambda: sidelight.evaluate("no such encoder", here, "malignant", out=place),
        lambda: sidelight.predict(tmp_path / "no model", here, place),
        lambda: sidelight.embed("no such encoder", here, place),
        lambda: sidelight.export(tmp_path / "no run", "hf", place),
        lambda: sidelight.explain(tmp_path / "no run", here, place),
        lambda: sidelight.report(tmp_path / "no run", place),
        lambda: sidelight.pretrain("simclr", tmp_path / "no data", place),
    ):
        with pytest.raises(ConfigError, match=r"out cannot be written \(.+\)\. Give another place with --out"):
            call()


def test_the_encoder_of_a_saved_model_is_found_by_the_folder_that_the_error_names(judged, here, tmp_path):
    towers = judged[0] / "model" / "towers"
    wanted = weights_hash(read_model(judged[0]).encoder)
    for call in (
        lambda folder: sidelight.export(folder, "timm", tmp_path / "encoder.safetensors"),
        lambda folder: sidelight.embed(folder, here, quiet=True, device="cpu", max_frames=4).attrs["encoder_hash"],
    ):
        with pytest.raises(EncoderError, match=f"holds a model that evaluate saved. Name {towers} for its encoder"):
            call(judged[0])
    assert sidelight.embed(towers, here, quiet=True, device="cpu", max_frames=4).attrs["encoder_hash"] == wanted
    assert sidelight.export(towers, "timm", tmp_path / "encoder.safetensors").path.is_file()


@pytest.mark.parametrize("name", ["s.parquet", "s.xlsx", "s.tsv"])
def test_a_table_is_not_called_what_it_is_not(tmp_path, name):
    with pytest.raises(
        ConfigError, match=r"the table is no (PARQUET|XLSX|TSV) file\. Expected: a name that ends in \.csv"
    ):
        sidelight.predict(tmp_path / "none", tmp_path, tmp_path / name)
    for fits in ("s.csv", "S.CSV", "s"):
        with pytest.raises(RunError, match="holds no model"):
            sidelight.predict(tmp_path / "none", tmp_path, tmp_path / fits)
