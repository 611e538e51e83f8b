"""What init reads off the headers of DICOM trees: joins by hashed identifiers, levels, views, labels, what to select."""

import re
import tomllib

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

from dicom_writing import ramp, write  # noqa: E402
from sidelight.commands import init as start  # noqa: E402
from sidelight.data.audit.ids import id_findings  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402
from sidelight.data.guess import guess, render  # noqa: E402
from sidelight.reporting.contact import render_contact  # noqa: E402


def exams(root, count=12, *, files=2, **tags):
    """Files of ``count`` exams of ``count // 2`` patients; a tag may be a function of the exam's number and the file's."""
    for exam in range(count):
        for k in range(files):
            values = {
                "modality": "US", "PatientID": f"P{exam // 2}", "AccessionNumber": f"A{exam}",
                "StudyInstanceUID": f"1.2.{exam}", "SeriesInstanceUID": f"1.2.{exam}.{k}", **tags,
            }  # fmt: skip
            values = {name: value(exam, k) if callable(value) else value for name, value in values.items()}
            pixels = values.pop("pixels", ramp(kind=np.uint8))
            write(root / f"e{exam}/f{k}.dcm", pixels, **values)


def drafted(root):
    """The draft, what it says as TOML, and the cohort that it opens as."""
    draft = guess(root)
    text = render(draft)
    (root / "cohort.toml").write_text(text, encoding="utf-8")
    return draft, tomllib.loads(text), Cohort.open(root)


def listed(root, column, key, count=12, more=""):
    rows = [f"{key(n)}{more},{['normal', 'cyst'][n // 2 % 2]}" for n in range(count)]
    (root / "list.csv").write_text("\n".join([f"{column},diagnosis", *rows]))


@pytest.mark.parametrize(
    ("key", "on"),
    [
        (lambda n: f"A{n}", "study=number"),
        (lambda n: f"1.2.{n}", "dicom:StudyInstanceUID=number"),
        (lambda n: f"P{n // 2}", "patient=number"),
    ],
)
def test_the_column_of_identifiers_is_found_by_its_values(tmp_path, key, on):
    exams(tmp_path)
    listed(tmp_path, "number", key)
    draft, spec, cohort = drafted(tmp_path)
    assert spec["tables"] == [{"file": "list.csv", "on": [on]}]
    assert draft.joins[0].share == 1.0
    page = render_contact(cohort, tmp_path / "contact.html").read_text(encoding="utf-8")
    assert "identifiers that meet those of DICOM headers as keyed hashes" in page
    assert cohort.items["diagnosis"].tolist() == [["normal", "cyst"][n // 2 % 2] for n in range(12) for _ in range(2)]
    assert spec["task"]["diagnosis"]["classes"] == ["normal", "cyst"]
    assert not re.search(r"\b[AP]\d|1\.2\.\d", cohort.items.drop(columns=["item", "files"]).to_csv())


def test_a_list_by_series_and_one_by_file(tmp_path):
    exams(tmp_path)
    series = [f"1.2.{n}.{k},{['long', 'short'][k]}" for n in range(12) for k in range(2)]
    (tmp_path / "axes.csv").write_text("\n".join(["series uid,axis", *series]))
    files = [f"e{n}/f{k}.dcm,{n % 3}" for n in range(12) for k in range(2)]
    (tmp_path / "grades.csv").write_text("\n".join(["path,grade", *files]))
    _, spec, cohort = drafted(tmp_path)
    assert {one["file"]: one["on"] for one in spec["tables"]} == {
        "axes.csv": ["dicom:SeriesInstanceUID=series uid"],
        "grades.csv": ["file=path"],
    }
    assert cohort.items["axis"].tolist() == ["long", "short"] * 12
    assert list(spec["task"]) == ["grade"]


def test_a_chain_from_the_accession_number_to_the_patient_of_a_table(tmp_path):
    exams(tmp_path, PatientID="ANONYMOUS")
    (tmp_path / "exams.csv").write_text("\n".join(["order,pid", *(f"A{n},{n // 2 + 70}" for n in range(12))]))
    rows = [f"{n + 70},{30 + 3 * n},{'ab'[n % 2]}" for n in range(6)]
    (tmp_path / "people.csv").write_text("\n".join(["pid,Alter,diagnosis", *rows]))
    draft, spec, cohort = drafted(tmp_path)
    assert not any("PatientID" in point for point in draft.todo)
    assert [one["on"] for one in spec["tables"]] == [["study=order"], ["pid=pid"]]
    assert spec["levels"] == ["patient", "study"]
    assert spec["roles"] == {"patient": "column:pid", "study": "dicom:AccessionNumber"}
    assert spec["metadata"] == {"patient": ["Alter"], "numeric": ["Alter"]}
    assert cohort.items["patient"].nunique() == 6


def test_numbers_that_lost_their_zeros_are_told(tmp_path):
    exams(tmp_path, AccessionNumber=lambda n, _: f"{n + 17:08d}")
    listed(tmp_path, "Auftrag", lambda n: n + 17)
    draft, spec, _ = drafted(tmp_path)
    assert "tables" not in spec
    assert "column Auftrag has lost the leading zeros of the headers' study" in draft.unjoined[0][1]
    listed(tmp_path, "Auftrag", lambda n: f"{n + 17:08d}")
    assert drafted(tmp_path)[1]["tables"] == [{"file": "list.csv", "on": ["study=Auftrag"]}]


def test_what_is_said_of_tables(tmp_path):
    exams(tmp_path, PatientSex=lambda n, _: "MF"[n // 2 % 2])
    listed(tmp_path, "Auftrag", lambda n: f"A{n}", 9)
    (tmp_path / "visits.csv").write_text("\n".join(["pid,day", *(f"P{n // 2},2020-01-{n + 1}" for n in range(12))]))
    text = render(drafted(tmp_path)[0]).replace("\n# ", " ")
    assert "24 of 24 DICOM files match" in text and "A name in braces" not in text
    assert "18 of 24 items have a row, 9 of 9 rows have an item (study = column Auftrag): look at the items" in text
    assert "visits.csv is not joined: its column pid holds what is called patient here, but rows with one value" in text
    assert 'To join it, perhaps: tables = [{file = "visits.csv", on = ["study=COLUMN"]}].' in text
    assert '"patient_sex",  # categorical: M (3), F (3)' in text  # patients, not their 24 files


def test_a_task_that_does_not_open_stands_as_comments(tmp_path, torn_tasks):
    exams(tmp_path)
    listed(tmp_path, "Auftrag", lambda n: f"A{n}")
    text = start.init(tmp_path).read_text(encoding="utf-8")
    assert "tasks only stand as comments" in text and "\n# [task.diagnosis]" in text
    cohort = Cohort.open(tmp_path)
    assert cohort.levels == ("patient", "study") and not cohort.tasks and "diagnosis" in cohort.items


def test_without_accession_numbers_the_study_is_its_uid_and_one_patient_is_none(tmp_path):
    exams(tmp_path, PatientID="", AccessionNumber="")
    draft, spec, cohort = drafted(tmp_path)
    assert spec["levels"] == ["study"]
    assert spec["roles"] == {"study": "dicom:StudyInstanceUID"}
    assert cohort.items["study"].nunique() == 12
    assert any("no patient was found: the outermost level is study" in point for point in draft.todo)
    assert "PatientID is blank in 24 of 24 items" in draft.todo
    (finding,) = [one for one in id_findings(cohort) if one.kind == "ids"]
    assert "every study for a patient of its own (PatientID is blank in 24 of" in finding.sentence


@pytest.mark.parametrize(
    ("patient", "told"),
    [("ANON", "is the same in all 24 items"), (lambda n, _: f"P{n}" if n < 10 else "", "is blank in 4 of 24 items")],
)
def test_patients_that_headers_do_not_tell_apart_are_to_be_checked(tmp_path, patient, told):
    exams(tmp_path, PatientID=patient)
    draft, spec, _ = drafted(tmp_path)
    assert f"PatientID {told}" in draft.todo
    assert ("patient" in spec["levels"]) == callable(patient)


def test_what_headers_tell_of_patients_is_metadata_and_identifiers_are_none(tmp_path):
    exams(
        tmp_path, PatientSex=lambda n, _: "MF"[n // 2 % 2], PatientAge=lambda n, _: f"{40 + n // 2 * 3:03d}Y",
        ManufacturerModelName=lambda n, _: ["X1", "Z9"][n % 5 % 2], Manufacturer="Acme",
    )  # fmt: skip
    rows = [f"A{n},P{n // 2},{['normal', 'cyst'][n % 3 % 2]}" for n in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["order,PatientID,diagnosis", *rows]))
    draft, spec, _ = drafted(tmp_path)
    described = {"patient": ["patient_sex", "patient_age"], "study": ["model"]}
    assert spec["metadata"] == {**described, "numeric": ["patient_age"]}
    out = {column.name: column.why for column in draft.left_out}
    assert out == {"manufacturer": "always 'Acme'", "PatientID": "an identifier"}


def test_columns_of_0_and_1_are_labels_where_a_table_holds_nothing_else(tmp_path):
    exams(tmp_path)
    rows = [f"A{n},{n % 2},{n // 3 % 2},{n // 4 % 2}" for n in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["order,fluid,rim,smoker", *rows]))
    (tmp_path / "more.csv").write_text(
        "\n".join(["order,weeks,Erguss,seen", *(f"A{n},{n},{n // 2 % 2},{n % 4 // 2}" for n in range(12))])
    )
    _, spec, _ = drafted(tmp_path)
    assert list(spec["task"]) == ["fluid", "rim", "erguss"]
    assert {*spec["metadata"]["study"]} >= {"weeks"} and "smoker" in str(spec["metadata"])


@pytest.mark.parametrize(("frames", "wanted"), [(12, ">= 10"), (4, ">= 2")])
def test_loops_among_stills(tmp_path, frames, wanted):
    loop = np.stack([ramp(kind=np.uint8)] * frames)
    exams(
        tmp_path, 4, pixels=lambda _, k: loop if k else ramp(kind=np.uint8),
        NumberOfFrames=lambda _, k: frames if k else 1,
    )  # fmt: skip
    draft, _, _ = drafted(tmp_path)
    assert [(column, value) for column, value, _ in draft.where] == [("frames", wanted)]
    assert f'\n# where.frames = "{wanted}"\n' in render(draft)
    assert len(Cohort.open(tmp_path, where={"frames": wanted}).items) == 4


def test_doppler_among_images_that_are_all_stored_in_colour(tmp_path):
    def regions(_, k):
        region = pydicom.Dataset()
        region.RegionDataType = [1, 2][k]
        return [region]

    exams(tmp_path, 4, pixels=ramp(8, 48, np.uint8).reshape(8, 16, 3), SequenceOfUltrasoundRegions=regions)
    draft, _, _ = drafted(tmp_path)
    assert [(column, value) for column, value, _ in draft.where] == [("ultrasound", "tissue")]
    assert len(Cohort.open(tmp_path, where={"ultrasound": "tissue"}).items) == 4


def test_descriptions_that_few_studies_have_are_not_shown(tmp_path):
    exams(tmp_path, 6, modality="MR", SeriesDescription=lambda n, k: ["T1", "T2"][k] if n else "knee of Mr Doe")
    draft, _, _ = drafted(tmp_path)
    assert draft.sequences == () and "Doe" not in render(draft)
    exams(tmp_path, 6, modality="MR", SeriesDescription=lambda _, k: ["T1 (SE)", "T2"][k])
    draft, _, _ = drafted(tmp_path)
    assert draft.sequences == (("T1 (SE)", 6), ("T2", 6))
    (line,) = [one for one in render(draft).splitlines() if one.startswith("# derive.sequence")]
    rule = tomllib.loads(line.removeprefix("# "))
    assert Cohort.open(tmp_path, **rule).items["sequence"].tolist() == ["T1 (SE)", "T2"] * 6
