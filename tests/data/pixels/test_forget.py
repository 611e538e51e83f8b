"""Caches are listed with their recipe and size, and a patient leaves all of them with what was computed from it."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from sidelight.cli import main
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels import cache, shards
from sidelight.data.pixels.cache import build, caches, forget_all, forget_patient
from sidelight.errors import DataError


def clinic(root, seed=0):
    """Two photographs each of three patients."""
    for patient in ("Adams", "Baker", "7"):
        for shot in range(2):
            path = root / patient / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed += 1
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30), np.uint8)).save(path)
    (root / "cohort.toml").write_text('files = "{patient}/{shot}.png"\nlevels = ["patient"]\n')
    return root


@pytest.fixture
def cohort(tmp_path):
    return Cohort.open(clinic(tmp_path / "clinic"))


def with_features(cohort, **recipe):
    """A cache with features of everybody beside the pixels."""
    built = build(cohort, **recipe)
    (built.folder / "features").mkdir()
    (built.folder / "features" / "f.safetensors").write_bytes(bytes(1000))
    return built


def test_every_recipe_is_listed_with_what_it_holds(cohort):
    assert caches(cohort) == []
    with_features(cohort, size=32)
    build(cohort, size=16, max_frames=8)
    small, large = caches(cohort)
    assert (small.size, small.channels, small.max_frames, small.items, small.patients) == (16, 1, 8, 6, 3)
    assert (small.pixels, small.features) == (6 * 16 * 16, 0)
    assert (large.size, large.max_frames, large.pixels, large.features) == (32, 64, 6 * 32 * 32, 1000)
    assert "32 x 32, 1 channel, up to 64 frames: 6 items of 3 patients" in str(large)


def test_a_patient_leaves_every_cache_and_the_features_go_whole(cohort):
    built = [with_features(cohort, size=16), with_features(cohort, size=32)]
    freed = forget_patient(cohort, "Baker")
    assert freed >= 2 * (16 * 16 + 32 * 32) + 2 * 1000
    assert [(one.items, one.patients, one.features) for one in caches(cohort)] == [(4, 2, 0)] * 2
    for pixels in built:
        salt = shards.load(pixels.folder)[0]["salt"]
        assert not list(pixels.folder.glob(f"{shards.hashed(salt, 'Baker')}*"))
        assert len(list(pixels.folder.glob("*.bin"))) == 2
    assert forget_patient(cohort, " 7.0 ") > 0  # as a cell may spell it
    assert [one.patients for one in caches(cohort)] == [1, 1]


def test_an_unknown_patient_is_refused_with_the_nearest(cohort):
    build(cohort, size=16)
    with pytest.raises(DataError, match=r"no patient 'Barker'.*Did you mean 'Baker'"):
        forget_patient(cohort, "Barker")
    with pytest.raises(DataError, match=r"The nearest of 3 are|Known are") as error:
        forget_patient(cohort, "NOPE")
    assert caches(cohort)[0].patients == 3
    cohort.items["group"] = [f"{name}{place}" for place, name in enumerate(cohort.items["group"])]
    with pytest.raises(DataError, match=r"The nearest of 6 are (\w+, ){2}\w+\.$") as error:
        forget_patient(cohort, "NOPE")
    assert sum(name in str(error.value) for name in cohort.items["group"]) == 3


def test_a_patient_whose_files_are_gone_already_can_be_forgotten(cohort, tmp_path):
    folder = tmp_path / "elsewhere"
    build(cohort, size=16, folder=folder)
    shutil.rmtree(cohort.root / "Baker")
    later = Cohort.open(cohort.root)
    assert forget_patient(later, "Baker", folder) >= 2 * 16 * 16
    with pytest.raises(DataError, match="no patient 'Baker'"):
        forget_patient(later, "Baker", folder)


def test_in_a_shared_folder_other_cohorts_are_left_alone(cohort, tmp_path):
    folder = tmp_path / "shared"
    other = Cohort.open(clinic(tmp_path / "other", seed=50))
    phantom = Cohort.open("phantom:ultrasound?patients=2&clips=1&frames=2&size=24")
    for one in (cohort, other, phantom):
        build(one, size=16, folder=folder)
    assert [len(caches(one, folder)) for one in (cohort, other, phantom)] == [1, 1, 1]
    forget_patient(cohort, "Adams", folder)
    assert [caches(one, folder)[0].patients for one in (cohort, other, phantom)] == [2, 3, 2]
    assert forget_all(cohort, folder) > 4 * 16 * 16
    assert [len(caches(one, folder)) for one in (cohort, other, phantom)] == [0, 1, 1]


def test_a_dicom_patient_is_forgotten_by_the_id_in_its_files(tmp_path):
    pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
    from dicom_writing import ramp, write

    for number, patient in enumerate(("DOE^JANE", "ROE^RICHARD")):
        write(tmp_path / f"{number}.dcm", ramp(), modality="DX", PatientID=patient)
    (tmp_path / "cohort.toml").write_text(
        'files = "*.dcm"\nlevels = ["patient"]\n[roles]\npatient = "dicom:PatientID"\n'
    )
    cohort = Cohort.open(tmp_path)
    build(cohort, size=16)
    with pytest.raises(DataError, match=r"no patient 'DOE'.*Give the PatientID as it stands"):
        forget_patient(cohort, "DOE")
    assert forget_patient(cohort, "DOE^JANE") >= 16 * 16
    assert caches(cohort)[0].patients == 1


def test_the_command_line_lists_and_forgets(cohort, monkeypatch, capsys):
    def said(*words):
        monkeypatch.setattr(sys, "argv", ["sidelight", "cache", str(cohort.root), *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), "".join(capsys.readouterr())

    assert said() == (0, "No decoded pixels are kept of this cohort\n")
    build(cohort, size=16)
    code, text = said()
    assert code == 0 and "16 x 16, 1 channel" in text and "1 caches, 1,536 bytes" in text
    code, text = said("--forget", "Adms")
    assert code == 2 and "Did you mean 'Adams'?" in text
    code, text = said("--forget", "Adams")
    assert code == 0 and "bytes of pixels and features are deleted" in text and "4 items of 2 patients" in text
    code, text = said("--forget-all")
    assert code == 0 and text.endswith("No decoded pixels are kept of this cohort\n")


def test_the_door_is_the_cache():
    assert {"caches", "forget_patient", "forget_all"} <= set(cache.__all__)
