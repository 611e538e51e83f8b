import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from sidelight.data.cohort.pattern import find
from sidelight.data.read import read_files
from sidelight.data.read.clip import spaced_indices
from sidelight.data.read.container import members
from sidelight.data.read.nifti import PLANES, read_volume
from sidelight.errors import MissingExtra, ReadError

nib = pytest.importorskip("nibabel", reason="needs the extra 'nifti'")

RNG = np.random.default_rng(0)
PATIENT = np.diag([1.0, 1.0, 4.0, 1.0])  # RAS, thick axial slices
SHIPPED = [
    path
    for folder in ("tests/data", "nicom/tests/data", "externals/tests/data")
    for path in sorted((Path(nib.__file__).parent / folder).glob("*.*"))
    if path.suffix.lower()
    not in (".py", ".pyc", ".m", ".rst", ".txt", ".trk", ".tck", ".bin", ".dat", ".dcm")  # DICOM has its own reader
    and path.name != ".gitignore"
]


def read(path, **hints):
    return read_files([path], **{"max_frames": 1000, **hints})


def save(path, array, affine=PATIENT, kind=nib.Nifti1Image, **header):
    image = kind(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def slices(image, plane):
    """The frames by nibabel alone: float [time, slice, H, W], from the volume turned to RAS."""
    values = nib.as_closest_canonical(nib.Nifti1Image(image.get_fdata(), image.affine)).get_fdata()
    values = np.moveaxis(values.reshape(*values.shape[:3], -1), -1, 0)
    across = np.moveaxis(values, 1 + PLANES.index(plane), 1)
    return across[:, :, ::-1, ::-1].swapaxes(2, 3)


def expected(image, plane):
    """The frames in uint16 by the documented rule."""
    values = slices(image, plane)
    times = spaced_indices(len(values), 4)
    sample = values[times][:, spaced_indices(values.shape[1], 16 // len(times))]
    low, high = np.percentile(sample[np.isfinite(sample)], [0.5, 99.5])
    if low == high:
        low, high = np.nanmin(values), np.nanmax(values)
    return np.nan_to_num(np.clip((values - low) / (high - low), 0, 1)) * 65535


def reference(path):
    """What nibabel makes of the file, or None where it makes nothing of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = nib.load(path)
            image.get_fdata()
        except Exception:
            return None
    is_volume = isinstance(image, nib.spatialimages.SpatialImage) and image.affine is not None
    return image if is_volume and (image.ndim < 4 or not isinstance(image, nib.Minc1Image)) else None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", SHIPPED, ids=[f"{path.parents[2].name}-{path.name}" for path in SHIPPED])
def test_every_file_that_nibabel_ships(path):
    image = reference(path)
    if image is None:
        with pytest.raises(ReadError, match=f"^{path.name.replace('+', '.')}: ") as caught:
            read(path)
        assert str(path.parent) not in str(caught.value)
        return
    for plane in PLANES:
        times = image.shape[3] if image.ndim > 3 else 1
        for time in {0, times - 1}:
            clip = read(Path(f"{path}::{plane}/t{time}"))
            if image.get_data_dtype() == np.uint8 and clip.frames.dtype == np.uint8:
                np.testing.assert_array_equal(clip.frames, slices(image, plane)[time])
            else:
                assert np.abs(clip.frames - expected(image, plane)[time]).max() <= 0.502
            assert (clip.length, clip.timed) == (len(clip.frames), False)
    assert sum(len(one.split("/")) == 1 for one in members(path, path.name)) > 3


@pytest.mark.skipif(not SHIPPED, reason="this nibabel came without its test files")
def test_at_least_these_are_decoded():
    decoded = {path.name for path in SHIPPED if reference(path) is not None}
    assert decoded >= {
        "anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "standard.nii.gz", "test.mgz",
        "example4d+orig.HEAD", "scaled+tlrc.BRIK", "tiny.mnc", "phantom_varscale.PAR", "resampled_anat_moved.nii",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "img"])
def test_slices_lie_across_the_thickest_axis_upright_and_towards_the_head(tmp_path, suffix):
    right, front, head = np.meshgrid(np.arange(5), np.arange(6), np.arange(7), indexing="ij")
    array = (right * 36 + front * 6 + head).astype(np.uint8)  # each less than the next one's unit or nearly so
    kind = nib.Nifti1Pair if suffix == "img" else nib.Nifti1Image
    frames = read(save(tmp_path / f"a.{suffix}", array, kind=kind)).frames
    assert frames.shape == (7, 6, 5)
    assert (frames[3, 0] > frames[3, -1]).all()  # the front is on top
    assert (frames[3, :, 0] > frames[3, :, -1]).all()  # the patient's right is on the left
    assert (frames[-1] > frames[0]).all()
    coronal = read(save(tmp_path / f"c.{suffix}", array, np.diag([1, 4, 1, 1.0]), kind)).frames
    assert coronal.shape == (6, 7, 5)
    assert (coronal[3, 0] > coronal[3, -1]).all()
    sagittal = read(save(tmp_path / f"s.{suffix}", array, np.diag([4, 1, 1, 1.0]), kind)).frames
    assert sagittal.shape == (5, 7, 6)
    assert (sagittal[3, :, 0] > sagittal[3, :, -1]).all()


def test_how_the_file_stores_a_volume_does_not_matter(tmp_path):
    array = RNG.integers(0, 256, (5, 6, 7), np.uint8)
    plain = nib.Nifti1Image(array, PATIENT)
    wanted = read(save(tmp_path / "a.nii", array)).frames
    for codes in ("LPS", "SRA", "AIL", "PSR"):
        turn = nib.orientations.ornt_transform(nib.io_orientation(PATIENT), nib.orientations.axcodes2ornt(codes))
        nib.save(plain.as_reoriented(turn), tmp_path / f"{codes}.nii.gz")
        clip = read(tmp_path / f"{codes}.nii.gz", max_frames=3)
        np.testing.assert_array_equal(clip.frames, wanted[clip.indices])


def test_the_plane_of_nearly_equal_voxels_is_axial_and_a_single_slice_is_one_frame(tmp_path):
    array = RNG.integers(0, 256, (5, 6, 7), np.uint8)
    assert read(save(tmp_path / "a.nii", array, np.diag([1, 1, 0.95, 1]))).length == 7
    assert read(save(tmp_path / "b.nii", array, np.diag([1, 1, 0.5, 1]))).length == 6
    assert read(save(tmp_path / "c.nii", array[:, :, :1], np.diag([1, 1, 0.5, 1]))).frames.shape == (1, 6, 5)
    assert read(save(tmp_path / "d.nii", array[:, :, 0])).frames.shape == (1, 6, 5)


def test_a_time_point_is_a_stack_and_a_slice_in_time_a_clip_with_the_files_clock(tmp_path):
    array = RNG.integers(0, 4000, (5, 6, 7, 9), np.int16)
    path = save(tmp_path / "cine.nii.gz", array, xyzt_units=2 | 16, pixdim=[1, 1, 1, 4, 30, 0, 0, 0])
    stack, clip = read(tmp_path / "cine.nii.gz::t3"), read(tmp_path / "cine.nii.gz::s5", max_frames=4)
    assert (stack.frames.shape, stack.length, stack.timed) == ((7, 6, 5), 7, False)
    assert (clip.frames.shape, clip.length, clip.timed) == ((4, 6, 5), 9, True)
    np.testing.assert_allclose(clip.times, clip.indices * 0.03, rtol=1e-6)
    np.testing.assert_array_equal(clip.frames[clip.indices == 3][0], stack.frames[5])  # one range for the whole file
    assert {"t0", "t8", "s0", "s6", "coronal", "sagittal/t3", "coronal/s5"} <= set(members(path, "cine"))
    assert not {"t9", "s7", "coronal/s6"} & set(members(path, "cine"))
    for member, words in [
        ("", r"9 volumes of 7 slices.*::t0.*::s\{slice\}"),
        ("::t9", "counted from 0"),
        ("::x", "'x'"),
    ]:
        with pytest.raises(ReadError, match=words):
            read(Path(f"{path}{member}"))


def test_the_kept_frames_do_not_depend_on_how_many_are_kept(tmp_path):
    path = save(tmp_path / "a.nii.gz", RNG.normal(size=(5, 6, 40)).astype(np.float32))
    whole = read(path).frames
    for few in (1, 5):
        clip = read(path, max_frames=few)
        np.testing.assert_array_equal(clip.frames, whole[clip.indices])


def test_slope_nan_infinity_and_rare_values(tmp_path):
    odd = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
    odd[0, 0, 0], odd[1, 0, 0], odd[2, 0, 0] = np.nan, np.inf, -np.inf
    frames = read(save(tmp_path / "odd.nii", odd)).frames
    assert frames[0, -1, ::-1][:3].tolist() == [0, 65535, 0]
    rare = np.zeros((20, 20, 20), np.int16)
    rare[9, 9, 9] = 3
    assert sorted(set(read(save(tmp_path / "rare.nii", rare)).frames.ravel())) == [0, 65535]
    turned = nib.Nifti1Image(RNG.integers(0, 256, (5, 6, 7), np.uint8), PATIENT)
    turned.header.set_slope_inter(-2, 7)
    nib.save(turned, tmp_path / "slope.nii")
    loaded = nib.load(tmp_path / "slope.nii")
    assert np.abs(read(tmp_path / "slope.nii").frames - expected(loaded, "axial")[0]).max() <= 0.502
    with pytest.raises(ReadError, match="no finite value"):
        read(save(tmp_path / "nan.nii", np.full((3, 3, 3), np.nan, np.float32)))


def test_colour_voxels(tmp_path):
    rgb = RNG.integers(0, 256, (5, 6, 7, 3), np.uint8)
    array = rgb.copy().view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = save(tmp_path / "rgb.nii", array)
    np.testing.assert_array_equal(read(path).frames, rgb[::-1, ::-1].transpose(2, 1, 0, 3))
    assert read(path, channels=1).frames.shape == (7, 6, 5)


def test_only_what_is_kept_is_decoded(tmp_path, monkeypatch):
    path, seen = save(tmp_path / "a.nii", RNG.integers(0, 256, (5, 6, 70), np.uint8)), []
    real = nib.arrayproxy.ArrayProxy.__getitem__
    monkeypatch.setattr(nib.arrayproxy.ArrayProxy, "__getitem__", lambda self, at: seen.append(at) or real(self, at))
    read(path, max_frames=3)
    assert [at[2] for at in seen] == [0, 34, 69]


def test_what_cannot_be_read_says_why(tmp_path):
    cases = {
        "complex": (np.ones((3, 3, 3), np.complex64), "not real numbers.*magnitude"),
        "vectors": (np.ones((3, 3, 3, 1, 3), np.float32), r"shape \[3, 3, 3, 1, 3\]"),
    }
    for name, (array, words) in cases.items():
        with pytest.raises(ReadError, match=rf"{name}\.nii: .*{words}"):
            read(save(tmp_path / f"{name}.nii", array))
    whole = save(tmp_path / "a.nii.gz", RNG.integers(0, 256, (30, 30, 30), np.uint8)).read_bytes()
    for name, content in {"cut.nii.gz": whole[:5000], "text.nii": b"not a volume", "lone.img": b"\0" * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ReadError, match=rf"^{name}: cannot be decoded as a volume") as caught:
            read(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ReadError, match="27,000 bytes, more than the limit of 1,000"):
        read_volume(tmp_path / "a.nii.gz", "a", max_frames=1, most_bytes=1000)


def test_without_nibabel_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", np.ones((3, 3, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sidelight\[nifti\]'"):
        read(path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("s{slice}", ["s0", "s1", "s2"]), ("t{time}", ["t0", "t1"]), ("coronal/t{t}", ["coronal/t0", "coronal/t1"])],
)
def test_numbered_members_leave_the_planes_alone(tmp_path, text, parts):
    save(tmp_path / "a.nii.gz", RNG.normal(size=(4, 5, 3, 2)))
    assert [one.path for one in find(tmp_path, [f"a.nii.gz::{text}"])[0]] == [f"a.nii.gz::{part}" for part in parts]
