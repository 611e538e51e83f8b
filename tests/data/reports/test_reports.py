"""From a cohort's texts to studies with sentences: columns, folders of text, MIMIC-CXR's zip; the cache; what is refused."""

import stat
import zipfile

import pandas as pd
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import ReportSpec, parse_spec
from sidelight.data.reports import reports
from sidelight.data.reports.reports import read_report, read_reports
from sidelight.data.reports.sentences import split_sentences
from sidelight.errors import ConfigError, DataError, TooManyBadItems

FILES = 'files = "{patient}/{study}/{image}.png"\nlevels = ["patient", "study"]\n'


def ward(root, texts, toml, images=2):
    """``images`` empty pictures per study of ``texts`` {(patient, study): text}, and the texts as a table."""
    for patient, study in texts:
        for n in range(images):
            path = root / patient / study / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    rows = [(*key, text) for key, text in texts.items()]
    pd.DataFrame(rows, columns=["patient", "study", "text"]).to_csv(root / "texts.csv", index=False)
    (root / "cohort.toml").write_text(FILES + toml)
    return Cohort.open(root)


TABLE = 'tables = [{file = "texts.csv", on = ["patient", "study"]}]\nreport = "text"\n'
TEXTS = {
    ("a", "1"): "INDICATION: pain.\nFINDINGS: No effusion. Clear.\nIMPRESSION: Normal.",
    ("a", "2"): "Normal",
    ("b", "1"): "",
    ("c", "1"): "INDICATION: pain.\nFINDINGS: \n",
}


def test_a_column(tmp_path):
    found = read_reports(ward(tmp_path, TEXTS, TABLE))
    said = [("No effusion.", "Clear.", "Normal."), ("Normal",), ("INDICATION: pain.", "FINDINGS:")]
    assert [study.sentences for study in found.studies] == said
    assert [study.group for study in found.studies] == ["a", "a", "c"]
    assert [study.items.tolist() for study in found.studies] == [[0, 1], [2, 3], [6, 7]]
    assert found.left_out["images without a report"] == 2


def test_what_is_left_out(tmp_path):
    toml = TABLE.replace('report = "text"', '[report]\ncolumn = "text"\nwithout = "drop"\nexclude = {study = ["2"]}')
    found = read_reports(ward(tmp_path, TEXTS, toml))
    assert [study.group for study in found.studies] == ["a"]
    assert list(found.left_out.values()) == [2, 2, 1]


def test_label_words_go():
    spec = ReportSpec(column="x", hide=("covid-19", "pneumonia"), least_words=3)
    assert read_report("COVID-19 pneumonia with B-lines in both lungs.", spec) == ("with B-lines in both lungs.",)
    assert read_report("Pneumonia, stable lungs.", spec) == ()


def test_texts_in_a_folder_and_in_a_zip(tmp_path):
    toml = '[report]\nfiles = "notes/{patient}_{study}.txt"\n'
    (tmp_path / "notes").mkdir()
    for (patient, study), text in TEXTS.items():
        (tmp_path / "notes" / f"{patient}_{study}.txt").write_text(text, encoding="utf-8")
    loose = read_reports(ward(tmp_path, TEXTS, toml))
    assert [study.items.tolist() for study in loose.studies] == [[0, 1], [2, 3], [6, 7]]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for path in (tmp_path / "notes").iterdir():
            file.write(path, path.name)
    zipped = read_reports(ward(tmp_path, TEXTS, '[report]\nfiles = "all.zip::{patient}_{study}.txt"\n'))
    assert [study.sentences for study in zipped.studies] == [study.sentences for study in loose.studies]


def test_what_was_read_is_kept_for_its_owner_and_read_again(tmp_path, monkeypatch):
    cohort, folder = ward(tmp_path, TEXTS, TABLE), tmp_path / "kept" / "reports"
    first = read_reports(cohort, folder)
    (kept,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(pd.read_parquet(kept).columns) == {"key", "sentences"}
    monkeypatch.setattr(reports, "read_report", None)
    again = read_reports(cohort, folder)
    assert [study.sentences for study in again.studies] == [study.sentences for study in first.studies]
    with pytest.raises(TypeError):  # another splitter reads them anew
        read_reports(
            ward(tmp_path, TEXTS, TABLE.replace('report = "text"', '[report]\ncolumn = "text"\nhide = "x"')), folder
        )


def test_what_is_refused(tmp_path):
    with pytest.raises(DataError, match="names no reports"):
        read_reports(ward(tmp_path, TEXTS, ""))
    with pytest.raises(DataError, match="Did you mean 'text'"):
        read_reports(ward(tmp_path, TEXTS, TABLE.replace('"text"', '"txt"')))
    with pytest.raises(ConfigError, match="'fr' has no headers"):
        read_reports(
            ward(tmp_path, TEXTS, TABLE.replace('report = "text"', '[report]\ncolumn = "text"\nlanguage = "fr"'))
        )
    with pytest.raises(DataError, match="No text fits"):
        read_reports(ward(tmp_path, TEXTS, '[report]\nfiles = "no.zip::{study}.txt"'))
    (tmp_path / "x.txt").write_text("Normal")
    with pytest.raises(DataError, match="shares no name"):
        read_reports(ward(tmp_path, TEXTS, '[report]\nfiles = "{nobody}.txt"'))
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a readable zip"):
        read_reports(ward(tmp_path, TEXTS, '[report]\nfiles = "bad.zip::{study}.txt"'))
    for group, match in (
        ("column = 'a'\nfiles = 'b'", "twice"),
        ("language = 'en'", "no text"),
        ("colum = 'a'", "column"),
    ):
        with pytest.raises(ConfigError, match=match):
            parse_spec(
                {"files": "{x}.png", "report": dict(line.split(" = ") for line in group.splitlines())}, "cohort.toml"
            )


def test_sentences_of_every_splitter_go_through_one_door():
    assert read_report("No effusion. Clear.", ReportSpec(column="x")) == tuple(split_sentences("No effusion. Clear."))


def test_what_was_read_leaves_with_a_patient(tmp_path):
    from PIL import Image

    from sidelight.data.pixels.cache import build
    from sidelight.data.pixels.forget import forget_patient

    cohort = ward(tmp_path, TEXTS, TABLE)
    for path in tmp_path.rglob("*.png"):
        Image.linear_gradient("L").resize((16, 16)).save(path)
    pixels = build(Cohort.open(tmp_path), size=16)
    read_reports(cohort, pixels.folder / "reports")
    assert list((tmp_path / ".sidelight").rglob("reports/*.parquet"))
    forget_patient(cohort, "a")
    assert not list((tmp_path / ".sidelight").rglob("reports/*.parquet"))


def test_damaged_reports_are_left_out_and_counted_until_they_are_too_many(tmp_path):
    """Of ten texts in an archive one has a wrong checksum, one is locked, and one is packed in an unknown way."""
    texts = {(f"p{n}", "1"): f"FINDINGS: No effusion {'abcdefghij'[n]}." for n in range(10)}
    toml = '[report]\nfiles = "all.zip::{patient}_{study}.txt"\n'
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for (patient, study), text in texts.items():
            file.writestr(f"{patient}_{study}.txt", text)
    whole = (tmp_path / "all.zip").read_bytes()
    cohort = ward(tmp_path, texts, toml, images=1)
    central = whole.index(b"PK\x01\x02")
    for damage, place, value in (
        ("checksum", whole.index(b"effusion c"), b"E"),
        ("locked", whole.index(b"PK\x03\x04") + 6, b"\x01"),
        ("packing", central + 10, b"\x63"),
    ):
        raw = bytearray(whole)
        raw[place : place + 1] = value
        if damage == "locked":
            raw[central + 8 : central + 9] = value
        (tmp_path / "all.zip").write_bytes(raw)
        for _ in range(2):  # what is kept does not hide it
            found = read_reports(cohort, tmp_path / "kept")
            assert len(found) == 9 and found.left_out["reports that cannot be read"] == 1, damage
            assert len(found.unreadable) == 1
        with pytest.raises(TooManyBadItems, match=r"1 of 10 reports.*max_bad_fraction"):
            read_reports(cohort, max_bad_fraction=0.05)
    (tmp_path / "all.zip").write_bytes(whole)
    assert len(read_reports(cohort, tmp_path / "kept")) == 10
