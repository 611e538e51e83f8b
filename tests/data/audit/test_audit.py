"""What is wrong with tables, ids, files and splits: each fault planted once, and a cohort without any."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from planted import TASK, opened, table, write
from sidelight.data.audit.audit import audit
from sidelight.data.audit.counts import count
from sidelight.data.audit.ids import id_findings
from sidelight.data.audit.leaks import leak_findings, sides
from sidelight.data.audit.survey import survey
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Record
from sidelight.data.pixels.cache import build
from sidelight.data.pixels.quarantine import nameless_reasons
from sidelight.errors import DataError, SplitError


def audited(tmp_path, rows, *, split=None, change=lambda photos: None, **options):
    record = Record()
    root = write(tmp_path / "data", rows, pictures=True)
    change(root / "photos")
    cohort = opened(root, record, **options)
    pixels = build(cohort, size=64, folder=tmp_path / "cache", max_bad_fraction=1.0)
    placed = None if split is None else sides(cohort, split)
    return [*record.findings, *audit(cohort, pixels, survey(cohort), tasks=list(cohort.tasks), placed=placed)]


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_cohort_has_no_findings(tmp_path, seed):
    rows = table(12, seed=seed).assign(fold=lambda t: np.where(t["patient"].str[1:].astype(int) < 4, "test", "train"))
    assert audited(tmp_path, rows, metadata={"patient": ["age", "sex", "site"]}, split="fold") == []


def test_all_conflicts_are_listed_not_only_the_first(tmp_path):
    rows = table(10)
    rows.loc[[0, 4, 8], "age"] = "101"
    rows.loc[[0, 2], "sex"] = ["x", ""]
    rows.loc[6, "diagnosis"] = "ill" if rows["diagnosis"][6] == "healthy" else "healthy"
    options = {"metadata": {"patient": ["age", "sex"]}, "task": {"ill": {**TASK["ill"], "unit": "patient"}}}
    columns, label = audited(tmp_path, rows, **options)
    assert (columns.kind, columns.severity, columns.items) == ("conflict", "error", ("p0", "p2", "p4"))
    assert columns.numbers == {
        **{"level": "patient", "units": 10, "conflicts": 3, "with_blanks": 4},
        **{"columns": {"age": 3, "sex": 1}, "blank_columns": {"sex": 1}},
    }
    assert (label.kind, label.severity, label.items) == ("conflict", "error", ("p3",))
    settled = {**options, "metadata": {"patient": ["age", "sex"], "conflict": "first"}}
    settled["task"] = {"ill": {**options["task"]["ill"], "conflict": "first"}}
    record = Record()
    opened(tmp_path / "data", record, **settled)
    assert [one.severity for one in record.findings] == ["note", "note"]


def test_opening_without_a_record_still_stops(tmp_path):
    rows = table(4)
    rows.loc[0, "age"] = "101"
    opened(write(tmp_path, rows), metadata={"patient": ["age"]})
    files = {"files": "photos/{patient}/{photo}.png", "levels": ["patient"], "metadata": {"patient": ["age"]}}
    with pytest.raises(DataError, match="not constant"):
        Cohort.open(tmp_path, **files, tables=[{"file": "table.csv", "on": ["photo"]}])


def test_tables_that_join_badly(tmp_path):
    rows = table(8)
    write(tmp_path, rows)
    extra = rows.tail(3).assign(photo=["x1", "x2", "7_1"], itch="other")
    kept = rows.drop(columns="patient").drop(index=[0, 1])
    joined = [kept, extra.drop(columns="patient")]
    (tmp_path / "table.csv").write_text(
        "".join(part.to_csv(index=False, header=not n) for n, part in enumerate(joined))
    )
    record = Record()
    cohort = opened(tmp_path, record)
    rowless, itemless, repeated = record.findings
    assert (rowless.kind, rowless.severity, rowless.numbers["with_row"]) == ("join", "warning", 14)
    assert (itemless.kind, itemless.severity, itemless.numbers["rows_without_item"]) == ("join", "note", 2)
    assert (repeated.kind, repeated.severity, repeated.numbers["repeated"]) == ("table", "error", 1)
    assert cohort.items["itch"].iloc[-1] != "other"
    (joined,) = record.joins
    assert (joined.items, joined.with_row, joined.rows, joined.rows_without_item) == (16, 14, 16, 2)


def test_a_table_that_meets_nothing_and_a_task_that_cannot_be(tmp_path):
    record = Record()
    cohort = opened(write(tmp_path, table(4)), record, tables=[{"file": "table.csv", "on": ["patient=photo"]}])
    assert [(one.kind, one.severity) for one in record.findings] == [("join", "error"), ("task", "error")]
    assert cohort.tasks == {} and (cohort.items["age"] == "").all()


def lesions(patients=12):
    rows = table(patients).assign(lesion=lambda t: np.arange(len(t)).astype(str))
    return rows, {"levels": ["patient", "lesion"], "task": {}}


def test_ids_that_repeat_under_several_parents(tmp_path):
    rows, options = lesions()
    rows.loc[[2, 5], "lesion"] = ["0", "0"]
    (one,) = audited(tmp_path, rows, **options)
    assert (one.kind, one.severity, one.items) == ("ids", "warning", ("0",))
    assert (one.numbers["ids"], one.numbers["repeated"]) == (22, 1)


def test_ids_that_are_a_numbering_are_fine_until_a_table_is_joined_by_them(tmp_path):
    rows, options = lesions()
    rows["lesion"] = np.where(np.arange(len(rows)) % 2, "1", "2")
    root = write(tmp_path, rows)
    assert id_findings(opened(root, **options)) == []
    (root / "lesions.csv").write_text("lesion,depth\n1,3\n2,4\n")
    tables = [{"file": "table.csv", "on": ["photo"]}, {"file": "lesions.csv", "on": ["lesion"]}]
    (one,) = id_findings(opened(root, **options, tables=tables))
    assert (one.severity, one.numbers["tables"]) == ("error", ["lesions.csv"])


def test_no_level_and_an_id_that_would_be_one(tmp_path):
    rows = table(20).assign(lesion_id=lambda t: "L" + t["patient"])
    options = {"levels": [], "files": "photos/{folder}/{photo}.png", "task": {}}
    ungrouped, unnamed = id_findings(opened(write(tmp_path, rows), **options))
    assert ungrouped.numbers == {"items": 40}
    assert unnamed.numbers == {"column": "lesion_id", "values": 20, "spanning": 20, "repeats": 20}


def test_a_patient_column_that_counts_files(tmp_path):
    rows = table(30, each=3).assign(source=lambda t: np.where(np.arange(len(t)) < 30, "7", "8"))
    rows["patient_nr"] = np.where(rows["source"] == "7", np.arange(len(rows)) + 100, 200 + np.arange(len(rows)) // 3)
    rows["patient_nr"] = rows["patient_nr"].astype(str)
    (one,) = id_findings(opened(write(tmp_path, rows)))
    assert (one.kind, one.severity, one.numbers["column"]) == ("ids", "note", "patient_nr")
    assert (one.numbers["items"], one.numbers["elsewhere"]) == (30, 3)


def test_broken_files_are_told_apart(tmp_path):
    def change(photos):
        paths = sorted(photos.glob("*/*.png"))
        paths[0].write_bytes(b"")
        paths[1].write_bytes(paths[1].read_bytes()[:80])
        paths[2].write_bytes(b"%PDF-1.7 of a report")
        Image.new("L", (24, 24), 7).save(paths[3])

    found = audited(tmp_path, table(30), change=change)
    assert [(one.kind, one.severity, one.numbers["bad"], len(one.items)) for one in found] == [
        ("file", "warning", 4, 1)
    ] * 4
    empty, cut, page, constant = (reason for one in found for reason in one.numbers["reasons"])
    assert empty == "is empty (0 bytes). Copy it again or leave it out"
    assert cut.startswith("is truncated or broken (") and cut.endswith("). Replace the file or leave it out")
    assert page.startswith("is a PDF, not an image or video. Convert it to PNG")
    assert constant.startswith("all pixels are equal")
    assert found[0].sentence == f"1 of 60 items cannot be used: {empty}"


def test_reasons_that_differ_in_numbers_alone_are_one_line_with_every_item(tmp_path):
    for k in range(30):
        np.save(tmp_path / f"{k:02}.npy", np.zeros((1, 1, 4, 4, k + 5), np.uint8) if k else np.eye(9, dtype=np.uint8))
    (tmp_path / "cohort.toml").write_text('files = "{n}.npy"')
    cohort = Cohort.open(tmp_path, record=Record())
    pixels = build(cohort, size=8, channels=1, max_bad_fraction=1.0)
    (one,) = [one for one in audit(cohort, pixels, survey(cohort)) if one.kind == "file"]
    assert (one.severity, one.items) == ("error", tuple(f"{k:02}.npy" for k in range(1, 30)))
    assert one.sentence.startswith("29 of 30 items cannot be used: is an array of shape [1, 1, 4, 4, 6]")
    assert one.sentence.endswith("or leave it out (of some with other numbers)")
    assert len(one.numbers["reasons"]) == 29 and set(one.numbers["reasons"].values()) == {1}


def test_reasons_name_neither_parts_of_a_file_nor_what_lies_beside_it(tmp_path):
    """Each of these messages names more than the file itself."""
    one = np.eye(9, dtype=np.uint8)
    np.savez(tmp_path / "both.npz", Meier=one, Huber=one)
    np.savez(tmp_path / "far.npz", Meier=one)
    (tmp_path / "scan.mhd").write_text("ObjectType = Image\nNDims = 2\nDimSize = 9 9\nElementDataFile = Meier.raw\n")
    Image.fromarray(one).save(tmp_path / "good.png")
    (tmp_path / "items.csv").write_text("path\nboth.npz\nfar.npz::xyz\nscan.mhd\ngood.png\n")
    (tmp_path / "cohort.toml").write_text('items = {table = "items.csv", path = "path"}')
    cohort = Cohort.open(tmp_path, record=Record())
    pixels = build(cohort, size=8, channels=1, max_bad_fraction=1.0)
    assert pixels.quarantine["reason"].str.contains("Meier").all() and len(pixels.quarantine) == 3
    both, far, beside = nameless_reasons(cohort, pixels)
    assert both.startswith("holds 2 arrays ('...', '...'). Name one in `files`, as in \"the file\"")
    assert far == "the file holds no '...'."
    assert beside == "its pixels, '...', do not lie beside it. Copy that file, too."


def test_listed_files_that_are_missing_are_a_finding(tmp_path):
    root = write(tmp_path, table(2))
    (root / "list.csv").write_text("path\nphotos/p0/0_0.png\nphotos/p1/1_0.png\ngone.png\n")
    (root / "cohort.toml").write_text('items = {table = "list.csv", path = "path"}')
    record = Record()
    cohort = Cohort.open(root, record=record)
    (one,) = record.findings
    assert (one.kind, one.severity, one.items) == ("file", "warning", ("gone.png",))
    assert one.sentence == "1 of 3 files that list.csv names is missing" and cohort.notices == ()
    assert Cohort.open(root).notices == ("1 of 3 files that list.csv names is missing: ['gone.png']",)


def test_nothing_can_be_read(tmp_path):
    (one,) = audit(opened(write(tmp_path, table(4))), None)
    assert (one.kind, one.severity) == ("file", "error")


def test_images_of_several_kinds(tmp_path):
    def change(photos):
        path = next(photos.glob("p0/*.png"))
        Image.open(path).convert("RGB").resize((30, 24)).save(path)
        path = next(photos.glob("p1/*.png"))
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)

    found = audited(tmp_path, table(8), change=change)
    assert [(one.kind, one.severity, one.numbers["what"]) for one in found] == [
        ("mixed", "note", what) for what in ("size", "channels", "bit depths")
    ]


def test_one_picture_twice(tmp_path):
    """In two patients, in one patient, and with two labels."""
    rows = table(12)
    other = {label: rows["patient"][rows["diagnosis"] == label].unique() for label in ("ill", "healthy")}
    ill, healthy = other["ill"][0], other["healthy"][0]

    def change(photos):
        (photos / ill / f"{ill[1:]}_1.png").write_bytes((photos / ill / f"{ill[1:]}_0.png").read_bytes())
        whole = Image.open(photos / healthy / f"{healthy[1:]}_0.png").resize((72, 72), Image.Resampling.NEAREST)
        whole.save(photos / healthy / f"{healthy[1:]}_0.png")
        near = whole.resize((96, 96), Image.Resampling.BICUBIC)
        near.save(photos / ill / f"{ill[1:]}_0.png")

    found = audited(tmp_path, rows, change=change)
    assert [(one.kind, one.severity) for one in found] == [
        ("mixed", "note"),
        ("copies", "warning"),
        ("contradiction", "warning"),
    ]
    assert found[1].numbers == {"pairs": 1, "equal": 0, "groups": 2}
    assert found[2].numbers == {"task": "ill", "pairs": 1, "equal": 0}


def test_equal_pictures_of_one_patient(tmp_path):
    def change(photos):
        (photos / "p3" / "3_1.png").write_bytes((photos / "p3" / "3_0.png").read_bytes())

    (one,) = audited(tmp_path, table(8), change=change)
    assert (one.kind, one.severity, one.numbers) == ("copies", "note", {"copies": 1})


def test_a_given_split_that_leaks(tmp_path):
    rows = table(12).assign(fold=lambda t: np.where(t["patient"].str[1:].astype(int) < 4, "test", "train"))
    rows.loc[0, "fold"] = "train"
    rows.loc[9, "fold"] = ""

    def change(photos):
        (photos / "p11" / "11_0.png").write_bytes((photos / "p2" / "2_0.png").read_bytes())

    copies, *found = audited(tmp_path, rows, change=change, split="fold", task={})
    assert copies.kind == "copies"
    patient, picture, nowhere = found
    assert (patient.kind, patient.severity, patient.items) == ("leak", "error", ("p0",))
    assert (picture.severity, picture.numbers) == ("error", {"pairs": 1, "equal": 1})
    assert (nowhere.severity, nowhere.numbers) == ("note", {"items": 1})


@pytest.mark.parametrize("spelling", ["units", "items", "names", "stems", "hashes", "own"])
def test_a_split_file_in_any_spelling(tmp_path, spelling):
    cohort = opened(write(tmp_path, table(8)))
    items = cohort.items
    names = {
        "units": items["patient"].unique().tolist(),
        "items": items["item"].tolist(),
        "names": [f"{photo}.png" for photo in items["photo"]],
        "stems": items["photo"].tolist(),
        "hashes": [cohort.item_hash(n) for n in range(len(items))],
    }
    path = tmp_path / "split.json"
    if spelling == "own":
        learns = items["group"].isin(items["group"].unique()[:4])  # as earlier versions wrote them
        content = {"hash": "0" * 16, "train": items["item"][learns].tolist(), "valid": [], "leaks": []}
        content |= {"test": items["item"][~learns].tolist(), "unit_group": dict(items[["item", "group"]].to_numpy())}
        path.write_text(json.dumps(content))
    else:
        half = len(names[spelling]) // 2
        path.write_text(json.dumps({"train": names[spelling][:half], "test": names[spelling][half:]}))
    placed = sides(cohort, path)
    assert len(placed) == 16 and set(placed["side"]) == {"train", "test"}
    assert leak_findings(cohort, placed) == []
    if spelling == "stems":
        (one,) = leak_findings(cohort, sides(cohort, {"train": ["0_0", "1_0"], "test": ["0_1"]}))[:1]
        assert one.numbers == {"level": "patient", "units": 2, "leaks": 1}


def test_names_of_a_split_that_nothing_has_are_an_error(tmp_path):
    given = {"train": ["p0", "p1", "P2"], "test": ["p3", "gone", "P2"]}
    found = audited(tmp_path, table(4), split=given, task={})
    (unknown,) = [one for one in found if one.kind == "split"]
    assert (unknown.severity, unknown.numbers, unknown.items) == ("error", {"names": 2}, ("P2", "gone"))
    assert unknown.sentence == "2 names of the split are of nothing in the cohort"


def test_splits_that_are_none(tmp_path):
    cohort = opened(write(tmp_path, table(4)))
    with pytest.raises(SplitError, match=r"'sitee' is neither a file nor a column.*Did you mean 'site'"):
        sides(cohort, "sitee")
    with pytest.raises(SplitError, match="names nothing"):
        sides(cohort, {"train": ["a"], "test": ["b"]})
    with pytest.raises(SplitError, match=r"names nothing .* Did you mean 'p0' by 'P-00'\?"):
        sides(cohort, {"train": ["P-00"], "test": ["P-01"]})
    with pytest.raises(SplitError, match=r"'no\.json' is neither a file nor a column\. Check the path\."):
        sides(cohort, "no.json")
    (tmp_path / "split.json").write_text('["p0", "p1"]')
    with pytest.raises(SplitError, match=r'it holds a list, not sides. Expected: JSON such as \{"train"'):
        sides(cohort, tmp_path / "split.json")
    (tmp_path / "split.json").write_text('{"train": []}')
    with pytest.raises(SplitError, match="1 sides"):
        sides(cohort, tmp_path / "split.json")


def test_counts(tmp_path):
    record = Record()
    rows = table(6).assign(view=lambda t: np.where(np.arange(len(t)) % 2, "D", "K"))
    root = write(tmp_path, rows.drop(index=0))
    views = {"roles": {"view": "table.view"}, "views": {"D": "dermoscopic", "K": "clinical"}}
    cohort = opened(root, record, **views)
    found = count(cohort, record, None, survey(cohort), ["ill"])
    assert (found["items"], found["groups"]) == (11, 6)
    assert found["levels"] == [{"level": "patient", "units": 6, "fewest": 1, "median": 2.0, "most": 2, "repeats": 5}]
    seen = [("clinical", "patient", 5, 5, 5), ("dermoscopic", "patient", 6, 6, 5)]
    assert [tuple(row.values()) for row in found["views"]] == seen
    assert [(row["class"], row["groups"]) for row in found["tasks"]] == [("healthy", 3), ("ill", 3)]
    alone = opened(root, record, levels=["patient", "photo"], **views)  # a photo has one view, its patient has two
    assert [tuple(row.values()) for row in count(alone, record, None, survey(alone), [])["views"]] == seen


def test_masks_of_probes_are_no_source(tmp_path):
    root = write(tmp_path, table(4))
    masks = {"monitoring_probes": "photos/{patient}/{photo}.png.mask"}
    assert [one.kind for one in id_findings(opened(root, companions=masks))] == []


def linked(root, folder):
    """A public data set's files in a folder that can be written; skips where the set is not here."""
    if not root.is_dir():
        pytest.skip(f"no {root.name} in {root.parent}")
    for entry in root.iterdir():
        (folder / entry.name).symlink_to(entry)


def test_lung_ultrasound_whose_patients_are_counters(real_data, tmp_path):
    """With the table's own patient column, the counter and the recordings that it cuts are both found."""
    linked(real_data / "covid19_ultrasound", tmp_path)
    (tmp_path / "cohort.toml").write_text(
        'files = ["data/pocus_videos/{probe}/{clip}.*", "data/pocus_images/{probe}/{clip}.*"]\nlevels = ["patient"]\n'
        'tables = [{file = "recording_groups.csv", on = ["file=file"], base = "data"},\n'
        '  {file = "data/dataset_metadata.csv", on = ["stem=Filename"]}]\n[roles]\npatient = "Patient ID / Name"\n'
    )
    cut, counter = id_findings(Cohort.open(tmp_path))
    assert cut.numbers["column"] == "recording_groups.group" and cut.numbers["spanning"] == 11
    assert (counter.severity, counter.numbers["column"], counter.numbers["items"]) == ("warning", "patient", 70)


def test_repeat_photographs_of_ham10000(real_data, tmp_path):
    linked(real_data / "ham10000", tmp_path)
    tables = [{"file": "HAM10000_metadata.csv", "on": ["image=image_id"]}]
    (tmp_path / "cohort.toml").write_text('files = "HAM10000_images_part_1/{image}.jpg"\n')
    ungrouped, lesion = id_findings(Cohort.open(tmp_path, tables=tables))
    assert ungrouped.numbers == {"items": 5600}
    assert lesion.numbers == {"column": "lesion_id", "values": 3055, "spanning": 1956, "repeats": 2545}


def test_lesion_ids_of_pad_ufes_20(real_data, tmp_path):
    linked(real_data / "pad_ufes_20", tmp_path)
    (tmp_path / "cohort.toml").write_text(
        'files = "images/imgs_part_1/{image}.png"\ntables = [{file = "metadata.csv", on = ["name=img_id"]}]\n'
        'levels = ["patient", "lesion"]\n[roles]\npatient = "patient_id"\nlesion = "lesion_id"\n'
    )
    (one,) = id_findings(Cohort.open(tmp_path))
    assert (one.severity, one.numbers["ids"], one.numbers["repeated"]) == ("warning", 693, 44)


def test_names_that_are_no_utf_8_are_audited_and_do_not_stay_in_reasons(tmp_path):
    folder = os.fsdecode("Müller".encode("cp1252"))
    (tmp_path / folder).mkdir()
    for k in range(3):
        with (tmp_path / folder / f"{k}.png").open("wb") as file:
            Image.fromarray(np.random.default_rng(k).integers(0, 256, (9, 9), np.uint8)).save(file, "PNG")
    (tmp_path / folder / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "cohort.toml").write_text('files = "{patient}/{n}.png"')
    cohort = Cohort.open(tmp_path, record=Record())
    pixels = build(cohort, size=8, channels=1, max_bad_fraction=0.9)
    assert survey(cohort)["folder"].tolist() == ["Müller"] * 4
    audit(cohort, pixels, survey(cohort), tasks=[], placed=None)
    (reason,) = nameless_reasons(cohort, pixels)
    assert "Müller" not in reason and "broken.png" not in reason
