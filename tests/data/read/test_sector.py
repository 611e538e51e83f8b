from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.read import read_files
from sidelight.data.read.sector import crop_sector
from sidelight.errors import ReadError

HEIGHT, WIDTH = 300, 400
APEX, RADIUS = (200, 40), 220


def fan():
    """Where the sector of the written images is, bool [H, W]."""
    canvas = Image.new("1", (WIDTH, HEIGHT))
    x, y = APEX
    ImageDraw.Draw(canvas).pieslice((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), 50, 130, fill=1)
    return np.asarray(canvas)


def screen(seed=0, band=True):
    """One frame as a machine shows it: speckle in a fan, a band of text above, texts, a scale and a bar beside."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("L", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(canvas)
    if band:
        draw.rectangle((0, 0, WIDTH, 28), fill=60)
        draw.text((5, 8), "DOE, JANE   1950-02-03   ACC 7001   MI 1.1", fill=255)
    draw.text((5, 60), "Gen\nC5-1\n28 Hz\n11 cm", fill=220)
    draw.text((300, 280), "HOSPITAL", fill=220)
    draw.rectangle((390, 60, 396, 160), fill=150)
    speckle = rng.rayleigh(40, (HEIGHT, WIDTH)).clip(15, 255)
    return np.where(fan(), speckle, np.asarray(canvas)).astype(np.uint8)


def frames_of(count):
    return np.stack([screen(seed) for seed in range(count)])


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_sector_is_kept_and_everything_else_is_gone(count, kind):
    frames = frames_of(count).astype(kind) * (257 if kind == np.uint16 else 1)
    out = crop_sector(frames)
    assert out.dtype == kind
    assert out.shape[0] == count
    rows, columns = (np.flatnonzero(fan().any(axis=axis)) for axis in (1, 0))
    assert abs(out.shape[1] - len(rows)) < 16
    assert abs(out.shape[2] - len(columns)) < 16
    kept = np.count_nonzero(out[0])
    assert 0.97 < kept / np.count_nonzero(fan()) < 1.05
    colour = crop_sector(np.repeat(frames[..., None], 3, axis=-1))
    np.testing.assert_array_equal(colour[..., 0], out)


def test_large_frames_are_looked_at_coarsely():
    large = np.kron(frames_of(2), np.ones((1, 4, 4), np.uint8))
    out = crop_sector(large)
    assert abs(out.shape[1] / 4 - fan().any(axis=1).sum()) < 16


def test_a_frame_that_is_all_sector_stays_whole():
    rng = np.random.default_rng(0)
    frames = rng.integers(20, 200, (3, 120, 90), np.uint8)
    np.testing.assert_array_equal(crop_sector(frames), frames)


def test_no_sector():
    assert crop_sector(np.zeros((2, 64, 64), np.uint8)) is None
    assert crop_sector(np.full((1, 64, 64), 200, np.uint8)) is None


def test_the_setting_in_a_cohort(tmp_path):
    for name in "ab":
        Image.fromarray(screen(ord(name))).save(tmp_path / f"{name}.png")
    (tmp_path / "cohort.toml").write_text('files = "{clip}.png"\n[images]\ncrop = "sector"\n')
    whole = read_files([tmp_path / "a.png"], max_frames=1).frames
    cut = Cohort.open(tmp_path).read(0, max_frames=1, target=8).frames
    assert cut.shape[1] < 0.8 * whole.shape[1]
    Image.fromarray(np.pad(np.full((9, 9), 9, np.uint8), 30)).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match=r"a\.png: no ultrasound sector"):
        Cohort.open(tmp_path).read(0, max_frames=1)


def test_cropped_and_whole_pixels_do_not_share_a_cache(tmp_path):
    from sidelight.data.pixels.cache import build

    for name in "abc":
        Image.fromarray(screen(ord(name))).save(tmp_path / f"{name}.png")
    toml = 'files = "{clip}.png"\n'
    digests = []
    for text in (toml, toml + '[images]\ncrop = "sector"\n'):
        (tmp_path / "cohort.toml").write_text(text)
        digests.append(build(Cohort.open(tmp_path), size=32, channels=1).hash)
    assert digests[0] != digests[1]


def test_regions_that_the_file_names_come_first(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
    from dicom_writing import write

    def region(left, top, right, bottom, kind=1):
        one = pydicom.Dataset()
        one.RegionSpatialFormat, one.RegionDataType = 1, kind
        one.RegionLocationMinX0, one.RegionLocationMinY0 = left, top
        one.RegionLocationMaxX1, one.RegionLocationMaxY1 = right, bottom
        return one

    rng = np.random.default_rng(0)
    values = rng.integers(20, 200, (HEIGHT, WIDTH), np.uint8)
    regions = [region(50, 60, 249, 159), region(0, 200, 399, 299, kind=3)]
    path = write(tmp_path / "a.dcm", values, modality="US", SequenceOfUltrasoundRegions=regions)
    np.testing.assert_array_equal(read_files([path], max_frames=1, crop="sector").frames[0], values[60:160, 50:250])
    odd = write(tmp_path / "b.dcm", values, modality="US", SequenceOfUltrasoundRegions=[region(900, 900, 950, 950)])
    np.testing.assert_array_equal(read_files([odd], max_frames=1, crop="sector").frames[0], values)


@pytest.mark.parametrize(("name", "most"), [("examples_palette.dcm", 100), ("examples_jpeg2k.dcm", 260)])
def test_screens_of_real_machines_lose_their_texts(name, most):
    """Rows and columns of text above, beside and below; found from the pixels alone."""
    pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    frames = read_files([path], max_frames=1).frames
    assert 0.15 * most < crop_sector(frames).shape[1] < most < 0.6 * frames.shape[1]
