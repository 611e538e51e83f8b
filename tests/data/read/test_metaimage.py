"""MetaImage against SimpleITK's own arrays and nibabel's of the same volume; headers that point elsewhere."""

import time

import numpy as np
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.data.read import read_files
from sidelight.data.read.formats import beside
from sidelight.data.read.nifti import volume_spacing, volume_values
from sidelight.data.read.room import Ask, Room
from sidelight.errors import ReadError

sitk = pytest.importorskip("SimpleITK")
nib = pytest.importorskip("nibabel")


def written(path, values, spacing=(0.5, 0.5, 4.0), *, vector=False, compressed=False):
    image = sitk.GetImageFromArray(values, isVector=vector)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, str(path), compressed)
    return path


def slices(count=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 16), dtype=np.uint8)


@pytest.mark.parametrize(("name", "compressed"), [("a.mha", False), ("a.mha", True), ("a.mhd", False), ("a.mhd", True)])
def test_slices_are_those_that_were_written_and_lie_as_they_are_shown(tmp_path, name, compressed):
    values = slices()
    clip = read_files([written(tmp_path / name, values, compressed=compressed)], max_frames=10)
    np.testing.assert_array_equal(clip.frames, values)
    assert clip.length == 5 and not clip.timed
    assert volume_spacing(tmp_path / name, name) == (0.5, 0.5, 4.0)


@pytest.mark.parametrize("code", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_values_of_every_type_and_byte_order(tmp_path, code):
    values = (slices().astype(code) - 100 if code[0] != "u" else slices().astype(code)) * np.ones(1, code)
    path = written(tmp_path / "a.mha", values)
    np.testing.assert_array_equal(volume_values(path, "a"), values)
    header, _, _ = path.read_bytes().partition(b"ElementDataFile")
    swapped = values.astype(f">{code}").tobytes()
    path.write_bytes(header.replace(b"MSB = False", b"MSB = True") + b"ElementDataFile = LOCAL\n" + swapped)
    np.testing.assert_array_equal(volume_values(path, "a"), values)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)


@pytest.mark.parametrize("turned", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_a_turned_volume_is_shown_as_the_same_volume_in_nifti(tmp_path, turned):
    image = sitk.GetImageFromArray(slices().astype(np.int16) * 7 - 300)
    image.SetSpacing((0.5, 0.7, 4.0))
    image.SetOrigin((3.0, -5.0, 9.0))
    image.SetDirection(np.eye(3)[list(turned)].ravel() * np.array([1, 1, 1, -1, -1, -1, 1, 1, 1]))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    ours, theirs = (read_files([tmp_path / name], max_frames=10) for name in ("a.mha", "a.nii.gz"))
    np.testing.assert_array_equal(ours.frames, theirs.frames)
    assert volume_spacing(tmp_path / "a.mha", "a") == pytest.approx(volume_spacing(tmp_path / "a.nii.gz", "a"))


def test_colour_flat_and_timed_images(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        read_files([written(tmp_path / "c.mha", colour, vector=True)], max_frames=3).frames, colour
    )
    np.testing.assert_array_equal(
        read_files([written(tmp_path / "f.mha", slices()[0])], max_frames=3).frames[0], slices()[0]
    )
    timed = np.stack([slices(seed=seed) for seed in range(3)])
    path = sitk.GetImageFromArray(timed, isVector=False)
    path.SetSpacing((0.5, 0.5, 4.0, 0.2))
    sitk.WriteImage(path, str(tmp_path / "t.mha"))
    with pytest.raises(ReadError, match="is 4D: 3 volumes of 5 slices"):
        read_files([tmp_path / "t.mha"], max_frames=3)
    clip = read_files([tmp_path / "t.mha::s2"], max_frames=3)
    np.testing.assert_array_equal(clip.frames, timed[:, 2])
    np.testing.assert_allclose(clip.times, [0, 0.2, 0.4], atol=1e-6)


@pytest.mark.parametrize(
    "named", ["../secret.raw", "/etc/passwd", "LIST", "slice%03d.raw 1 5 1", "..", ".", "", "sub\\a.raw"]
)
def test_a_header_that_names_anything_but_a_file_beside_it_is_refused(tmp_path, named):
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder / "a.mhd", slices())
    (tmp_path / "secret.raw").write_bytes((folder / "a.raw").read_bytes())
    header = (folder / "a.mhd").read_text()
    (folder / "a.mhd").write_text(header.replace("= a.raw", f"= {named}"))
    with pytest.raises(ReadError, match=r"not the name of one file beside it|a MetaImage"):
        read_files([folder / "a.mhd"], max_frames=3)
    assert beside(folder / "a.mhd") == []
    decoy = f"elementdatafile = a.raw\n{header.replace('= a.raw', '= ../secret.raw')}"
    (folder / "a.mhd").write_text(decoy)
    with pytest.raises(ReadError, match=r"a MetaImage|one file beside it"):
        read_files([folder / "a.mhd"], max_frames=3)


def test_pixels_that_are_missing_or_cut_short_are_said(tmp_path):
    written(tmp_path / "a.mhd", slices())
    (tmp_path / "a.raw").write_bytes((tmp_path / "a.raw").read_bytes()[:100])
    with pytest.raises(ReadError, match=r"a.mhd: 100 bytes of pixels, and its header says 960"):
        read_files([tmp_path / "a.mhd"], max_frames=3)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ReadError, match=r"its pixels, 'a.raw', do not lie beside it"):
        read_files([tmp_path / "a.mhd"], max_frames=3)
    packed = written(tmp_path / "z.mha", slices(), compressed=True)
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(ReadError, match=r"z.mha: "):
        read_files([packed], max_frames=3)


def test_a_packed_file_that_unpacks_to_gigabytes_is_refused_before_memory_is_taken(tmp_path):
    packed = written(tmp_path / "z.mha", np.ones((64, 64, 64), np.uint8), compressed=True).read_bytes()
    for sizes, why in (("4000 4000 900", "more than the limit"), ("4000 4000 400", "of memory to read")):
        (tmp_path / "z.mha").write_bytes(packed.replace(b"DimSize = 64 64 64", f"DimSize = {sizes}".encode()))
        with pytest.raises(ReadError, match=why):
            read_files([tmp_path / "z.mha"], max_frames=3, ask=Ask(Room(1 << 30)))


def test_new_pixels_behind_the_same_header_are_read_anew(tmp_path):
    for number, name in enumerate("ab"):
        written(tmp_path / f"{name}.mhd", slices(seed=number))
    (tmp_path / "cohort.toml").write_text('files = "{patient}.mhd"\nlevels = ["patient"]\n')
    cohort = Cohort.open(tmp_path)
    before = build(cohort, size=16, channels=1)
    was = [before.read(item, [0, 1]).copy() for item in (0, 1)]
    raw = (tmp_path / "a.raw").read_bytes()
    (tmp_path / "a.raw").write_bytes(raw[::-1])
    after = build(Cohort.open(tmp_path), size=16, channels=1)
    assert (was[0] != after.read(0, [0, 1])).any()
    np.testing.assert_array_equal(was[1], after.read(1, [0, 1]))


def test_headers_with_dicom_tags_and_names_with_blanks_are_read(tmp_path):
    image = sitk.GetImageFromArray(slices())
    image.SetMetaData("0008|0005", "ISO_IR 100")
    image.SetMetaData("0020|4000", "a comment\nof two lines")
    sitk.WriteImage(image, str(tmp_path / "my vol.mhd"))
    assert "0008|0005" in (tmp_path / "my vol.mhd").read_text()
    np.testing.assert_array_equal(read_files([tmp_path / "my vol.mhd"], max_frames=9).frames, slices())
    assert [path.name for path in beside(tmp_path / "my vol.mhd")] == ["my vol.raw"]


def test_a_key_that_stands_twice_is_refused_and_a_long_line_takes_no_time(tmp_path):
    path = written(tmp_path / "a.mha", slices())
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"DimSize = 16 12 5", b"DimSize = 16 12 5\nDimSize = 12 16 5"))
    with pytest.raises(ReadError, match="not that of a MetaImage"):
        read_files([path], max_frames=3)
    path.write_bytes(raw.replace(b"NDims = 3", b"Comment = x" + b" " * 60_000 + b"x\nNDims = 3"))
    began = time.process_time()
    np.testing.assert_array_equal(read_files([path], max_frames=9).frames, slices())
    assert time.process_time() - began < 2
