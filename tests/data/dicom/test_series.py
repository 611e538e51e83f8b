"""A DICOM tree as items: series by position, phases apart, roles from tags, no identifier anywhere."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

from dicom_writing import ramp, write  # noqa: E402
from sidelight.data.cohort.cohort import Cohort  # noqa: E402
from sidelight.errors import ConfigError, DataError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
AXIAL, SAGITTAL, CORONAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
ORIENTATION = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL}
NORMAL = {"axial": [0, 0, 1], "sagittal": [-1, 0, 0], "coronal": [0, 1, 0]}


def slices(root, order, *, series="1.2.3", plane="axial", patient="DOE^1", study="ACC1", prefix="", **tags):
    """One slice per position in ``order``: the first file is ``1.dcm``, and a slice's pixels start at its position."""
    for name, position in enumerate(order, 1):
        place = [part * position for part in NORMAL[plane]]
        options = {
            "modality": "MR", "PatientID": patient, "AccessionNumber": study, "StudyInstanceUID": f"1.2.{study[3:]}",
            "SeriesInstanceUID": series, "ImagePositionPatient": place, "ImageOrientationPatient": ORIENTATION[plane],
            "InstanceNumber": name, **tags,
        }  # fmt: skip
        write(root / f"{prefix}{name}.dcm", ramp(start=100 * position), **options)
    return root


def opened(root, extra="", files="**/*.dcm"):
    (root / "cohort.toml").write_text(f'files = "{files}"\n{extra}')
    return Cohort.open(root)


ROLES = 'levels = ["patient", "study"]\n[roles]\npatient = "dicom:PatientID"\nstudy = "dicom:AccessionNumber"\n'


def order_of(cohort, position=0):
    return [int(Path(file).stem) for file in cohort.items["files"][position]]


def test_a_series_is_one_item_sorted_by_position_not_by_name(tmp_path):
    slices(tmp_path, [3, 10, 1, 7])
    cohort = opened(tmp_path)
    assert cohort.items["item"].tolist() == ["1.dcm"]
    assert order_of(cohort) == [3, 1, 4, 2]
    row = cohort.items.iloc[0]
    assert (row["frames"], row["plane"], row["modality"], row["localizer"]) == ("4", "axial", "MR", "false")
    clip = cohort.read(0, max_frames=8)
    assert (np.diff(clip.frames[:, 0, 0].astype(int)) > 0).all()


def test_without_positions_the_instance_number_counts_and_then_the_name(tmp_path):
    for name, number in ((2, 30), (10, 20), (1, 40)):
        write(tmp_path / f"{name}.dcm", ramp(), SeriesInstanceUID="1.2", InstanceNumber=number)
    assert order_of(opened(tmp_path)) == [10, 2, 1]
    for name in (2, 10, 1):
        write(tmp_path / f"{name}.dcm", ramp(), SeriesInstanceUID="1.2")
    assert order_of(opened(tmp_path)) == [1, 2, 10]


def test_series_of_a_study_are_apart_and_selected(tmp_path):
    slices(tmp_path, range(3), series="1.1", prefix="a/", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    slices(tmp_path, range(4), series="1.2", prefix="b/", plane="sagittal", SeriesDescription="knee of Mr Doe")
    slices(tmp_path, range(5), series="1.3", prefix="c/", plane="coronal", ImageType=["DERIVED", "SECONDARY"])
    cohort = opened(tmp_path, f'where = {{localizer = "false", derived = "false"}}\n{ROLES}view = "dicom:plane"\n')
    assert cohort.items[["item", "view", "frames"]].to_numpy().tolist() == [["b/1.dcm", "sagittal", "4"]]
    assert not [name for name in cohort.items if "Description" in name]
    every = opened(tmp_path, ROLES)
    assert every.items["plane"].tolist() == ["axial", "sagittal", "coronal"]
    assert every.items["study"].nunique() == 1
    where = 'where = {"dicom:SeriesDescription" = "knee of Mr Doe"}\n'
    assert opened(tmp_path, where).items["plane"].tolist() == ["sagittal"]


def test_three_planes_of_one_localizer_series_are_three_items(tmp_path):
    for plane in ORIENTATION:
        slices(tmp_path, range(2), plane=plane, prefix=f"{plane}-")
    assert sorted(opened(tmp_path).items["plane"]) == ["axial", "coronal", "sagittal"]


@pytest.mark.parametrize("tag", ["EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber"])
def test_phases_of_one_series_are_apart(tmp_path, tag):
    for phase in (1, 2, 3):
        slices(tmp_path, [2, 1, 3, 4], prefix=f"{phase}-", **{tag: phase})
    cohort = opened(tmp_path)
    assert cohort.items["files"].map(len).tolist() == [4, 4, 4]
    assert all({name[0] for name in files} == {str(k)} for k, files in enumerate(cohort.items["files"], 1))


def test_a_number_per_slice_is_no_phase_and_what_cannot_be_told_apart_is_noticed(tmp_path):
    for phase in (1, 2):
        for place in range(4):
            slices(tmp_path, [place], prefix=f"{phase}-{place}-", AcquisitionNumber=10 * phase + place)
    cohort = opened(tmp_path)
    assert cohort.items["frames"].tolist() == ["8"]
    assert any("positions several times" in notice for notice in cohort.notices)


def test_a_file_exported_twice_counts_once(tmp_path):
    slices(tmp_path, range(3))
    shutil.copy(tmp_path / "2.dcm", tmp_path / "again.dcm")
    cohort = opened(tmp_path)
    assert cohort.items["frames"].tolist() == ["3"]
    assert any("again.dcm" in notice and "second copy" in notice for notice in cohort.notices)


def test_a_missing_slice_is_noticed_and_an_even_series_is_not(tmp_path):
    slices(tmp_path, [0, 3, 6, 12, 15, 18], series="1.1", prefix="torn/")
    slices(tmp_path, [0, 3.1, 6, 9.2, 12], series="1.2", prefix="whole/", plane="coronal")
    slices(tmp_path, [0, 50, 60], series="1.3", prefix="few/", plane="sagittal")
    cohort = opened(tmp_path)
    assert sorted(cohort.items["frames"]) == ["3", "5", "6"]  # nothing is left out
    said = [notice for notice in cohort.notices if "lack slices" in notice]
    assert len(said) == 1 and said[0].startswith("1 series lack slices: their positions have a gap")
    assert "'torn/3.dcm' and 'torn/4.dcm'" in said[0]


def test_one_series_number_of_several_patients_is_several_volumes(tmp_path):
    for patient in range(3):
        slices(tmp_path, [1, 2, 3], patient=f"P^{patient}", prefix=f"P{patient}/")
    cohort = opened(tmp_path, ROLES)
    assert [len(files) for files in cohort.items["files"]] == [3, 3, 3] and cohort.items["patient"].nunique() == 3


def test_one_image_number_with_other_pixels_is_no_copy(tmp_path):
    slices(tmp_path, [1, 2, 3, 4], SOPInstanceUID="1.2.3.4")
    shutil.copy(tmp_path / "2.dcm", tmp_path / "copy.dcm")
    cohort = opened(tmp_path)
    assert [len(files) for files in cohort.items["files"]] == [4]
    assert any(
        "3 DICOM files have the number (SOPInstanceUID) of another one and other pixels" in one
        for one in cohort.notices
    )
    assert any("1 DICOM files are left out" in one and "second copy" in one for one in cohort.notices)


def test_a_slice_twice_at_one_position_is_noticed(tmp_path):
    """Another image at the same position, and no tag that makes it a volume of its own."""
    slices(tmp_path, [0, 3, 3, 6, 9])
    cohort = opened(tmp_path)
    assert cohort.items["frames"].tolist() == ["5"]
    assert any("positions several times" in notice for notice in cohort.notices)
    assert not any("lack slices" in notice for notice in cohort.notices)


def test_clips_and_stills_are_items_of_their_own(tmp_path):
    loop = np.stack([ramp(kind=np.uint8), ramp(kind=np.uint8)])
    write(tmp_path / "clip.dcm", loop, modality="US", NumberOfFrames=2, FrameTime=50, SeriesInstanceUID="1.2")
    region = pydicom.Dataset()
    region.RegionDataType = 2
    colour = ramp(8, 48, np.uint8).reshape(8, 16, 3)
    write(tmp_path / "flow.dcm", colour, modality="US", SeriesInstanceUID="1.2", SequenceOfUltrasoundRegions=[region])
    cohort = opened(tmp_path)
    assert cohort.items[["frames", "frame_time", "colour", "ultrasound"]].to_numpy().tolist() == [
        ["2", "50", "grey", ""],
        ["1", "", "rgb", "colour flow"],
    ]
    assert opened(tmp_path, 'where = {frames = ">= 2"}\n').items["item"].tolist() == ["clip.dcm"]


def test_a_table_joins_by_accession_number_and_no_identifier_is_left(tmp_path):
    slices(tmp_path, range(3), patient="DOE^1", study="ACC7001", prefix="a/")
    slices(tmp_path, range(3), patient="ROE^2", study="ACC7002", prefix="b/", series="1.9")
    (tmp_path / "reports.csv").write_text("accession,finding\nACC7001,tear\nACC7002,none\n")
    (tmp_path / "patients.csv").write_text("pid,age\nDOE^1,40\nROE^2,50\n")
    tables = (
        'tables = [{file = "reports.csv", on = ["study=accession"]}, {file = "patients.csv", on = ["patient=pid"]}]\n'
    )
    cohort = opened(tmp_path, tables + ROLES + '[task.tear]\nlabel = "finding"\npositive = ["tear"]\nunit = "study"\n')
    assert cohort.items["finding"].tolist() == ["tear", "none"]
    assert cohort.items["age"].tolist() == ["40", "50"]
    for column in ("patient", "study", "dicom:StudyInstanceUID"):
        assert all(re.fullmatch("[0-9a-f]{16}", value) for value in cohort.items[column])
    everything = cohort.items.to_csv() + repr(cohort.spec) + repr(cohort.notices)
    assert not re.search(r"DOE|ROE|ACC7|1\.2\.7", everything)
    again = Cohort.open(tmp_path)
    assert again.items["patient"].tolist() == cohort.items["patient"].tolist()
    assert again.hash == cohort.hash


def test_errors_of_a_join_show_no_identifier(tmp_path):
    slices(tmp_path, range(2), study="ACC7001")
    (tmp_path / "reports.csv").write_text("accession,finding\nACC9,tear\n")
    with pytest.raises(DataError, match=r"No item has a row in reports\.csv") as error:
        opened(tmp_path, 'tables = [{file = "reports.csv", on = ["study=accession"]}]\n' + ROLES)
    assert "ACC" not in str(error.value)


def test_another_folder_hashes_otherwise(tmp_path):
    first, second = (opened(slices(tmp_path / name, range(2)), ROLES) for name in "ab")
    assert first.items["patient"][0] != second.items["patient"][0]


def test_what_is_no_image_is_left_out_with_a_notice(tmp_path):
    slices(tmp_path, range(2))
    shutil.copy(SHIPPED / "test-SR.dcm", tmp_path / "report.dcm")
    shutil.copy(SHIPPED / "dicomdirtests" / "DICOMDIR", tmp_path / "DICOMDIR")
    (tmp_path / "README.txt").write_text("An export.")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    cohort = opened(tmp_path, ROLES, files="**/*")
    assert len(cohort.items) == 1
    notices = "\n".join(cohort.notices)
    assert "2 DICOM files are left out, for example 'broken.dcm': no image" in notices
    assert "1 file is not DICOM, for example 'README.txt': left out" in notices
    assert "DICOMDIR" not in notices


def test_files_named_like_uids_in_a_tree(tmp_path):
    shutil.copytree(SHIPPED / "dicomdirtests" / "77654033", tmp_path / "export")
    cohort = opened(tmp_path, ROLES, files="export/**/*")
    kinds = cohort.items.groupby("modality")["item"].count().to_dict()
    assert kinds == {"CR": 3, "CT": 1}
    assert cohort.items["patient"].nunique() == 1
    assert len(cohort.items.loc[cohort.items["modality"] == "CT", "files"].iloc[0]) == 4


def test_pictures_beside_dicom(tmp_path):
    slices(tmp_path, range(2))
    (tmp_path / "a.png").write_bytes(b"x")
    cohort = opened(tmp_path, files="*.*")
    assert cohort.items["item"].tolist() == ["1.dcm", "a.png"]
    assert cohort.items["modality"].tolist() == ["MR", ""]


def test_a_role_without_any_dicom(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="wants DICOM tags"):
        opened(tmp_path, ROLES, files="*.*")
    with pytest.raises(ConfigError, match="put the series of DICOM together"):
        opened(tmp_path, f'stack = "n"\n{ROLES}', files="{n}.dcm")


def test_a_table_may_list_folders_of_slices(tmp_path):
    slices(tmp_path, [5, 1, 3], prefix="s1/")
    (tmp_path / "list.csv").write_text("path,label\ns1,x\n")
    (tmp_path / "cohort.toml").write_text(f'{ROLES}[items]\ntable = "list.csv"\npath = "path"\n')
    cohort = Cohort.open(tmp_path)
    assert order_of(cohort) == [2, 3, 1]
    assert cohort.items["plane"].tolist() == ["axial"]
    assert re.fullmatch("[0-9a-f]{16}", cohort.items["patient"][0])


def test_ages_planes_and_broken_elements(tmp_path):
    write(
        tmp_path / "a.dcm", ramp(), PatientAge="018M", ImageOrientationPatient=[0.707, 0.707, 0, -0.408, 0.408, -0.816]
    )
    assert opened(tmp_path).items[["patient_age", "plane"]].to_numpy().tolist() == [["1.5", "oblique"]]
