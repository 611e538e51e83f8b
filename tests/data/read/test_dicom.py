"""Values equal pydicom's own pipeline on every image that pydicom ships; limits and odd headers on written files."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut  # noqa: E402

from dicom_writing import dataset, ramp, write  # noqa: E402
from sidelight.data.read import dicom_frames, read_files  # noqa: E402
from sidelight.data.read.dicom import is_dicom, read_dicom  # noqa: E402
from sidelight.data.read.dicom_frames import count, decode, open_source, stream_size  # noqa: E402
from sidelight.errors import MissingExtra, ReadError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
# Their pixels are broken on purpose, or of a kind without a decoder: pydicom itself raises for each.
BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "header says 256 x 1024 pixels, its pixel stream 3722445056 x 1024",
    "MR_truncated.dcm": "the file holds 8,130 of them",
    "badVR.dcm": "NumberOfFrames is no whole number",
}


def read(path, max_frames=100, **hints):
    return read_dicom([Path(path)], [Path(path).name], max_frames=max_frames, **hints)


def shipped():
    return sorted(path for path in SHIPPED.rglob("*") if path.is_file())


def has_pixels(path):
    try:
        header = pydicom.dcmread(path, force=True)
    except Exception:
        return False
    return "Rows" in header and "PixelData" in header


DEEP = ("JPEG-lossy.dcm", "JPGExtended.dcm")  # 12-bit JPEG: pydicom has no decoder without a copyleft one


def reference(path):
    """Frames as pydicom shows them, 0 to 1: its arrays, rescale, VOI and palette; inversion and padding by hand."""
    full = pydicom.dcmread(path, force=True)
    stored = full.pixel_array
    stored = stored if full.get("NumberOfFrames", 1) > 1 else stored[None]
    kind, bits, signed = full.PhotometricInterpretation, full.BitsStored, full.PixelRepresentation
    if kind == "PALETTE COLOR":
        return apply_color_lut(stored, full) / 65535
    if not kind.startswith("MONOCHROME"):
        return stored / (2**bits - 1)
    windowed = "WindowCenter" in full
    values = apply_modality_lut(stored, full)
    if windowed:
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], float)
        if "RescaleSlope" in full:
            ends = ends * full.RescaleSlope + full.RescaleIntercept
        low, high = ends
        values = apply_voi_lut(values, full)
    else:
        kept = values[stored != full.PixelPaddingValue] if "PixelPaddingValue" in full else values
        low, high = (0, 2**bits - 1) if bits <= 8 else np.percentile(kept.astype(np.float64), (0.1, 99.9))
    shown = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    shown = 1 - shown if kind == "MONOCHROME1" else shown
    if "PixelPaddingValue" in full:
        shown[stored == full.PixelPaddingValue] = 0
    return shown


def test_every_image_that_pydicom_ships():
    compared = 0
    for path in filter(has_pixels, shipped()):
        if path.name in BROKEN:
            with pytest.raises(ReadError, match=rf"^{path.name}: .*{BROKEN[path.name]}"):
                read(path)
            continue
        clip = read(path)
        if path.name in DEEP:
            continue
        expected = reference(path)
        assert clip.frames.shape == expected.shape, path.name
        top = np.iinfo(clip.frames.dtype).max
        lossy_jpeg = pydicom.dcmread(path).file_meta.TransferSyntaxUID.name.startswith("JPEG Baseline")
        off = np.abs(clip.frames - expected * top)
        # Reference and reader may use two decoders of lossy JPEG; 32-bit colour is cut, not rounded, to 16.
        assert off.max() <= (3 if lossy_jpeg else 1.01), (path.name, off.max())
        compared += 1
    assert compared > 75


def test_every_other_file_that_pydicom_ships_is_refused_by_name():
    for path in shipped():
        if not has_pixels(path):
            with pytest.raises(ReadError, match=rf"^{path.name}: "):
                read_files([path], max_frames=1)


def test_a_video_of_thirty_frames_decodes_only_those_kept(monkeypatch):
    path = SHIPPED / "examples_ybr_color.dcm"
    every = read(path)
    sizes = []
    monkeypatch.setattr(dicom_frames, "stream_size", lambda encoded: sizes.append(len(encoded)))
    few = read(path, max_frames=4)
    assert len(sizes) == 4
    assert few.length == 30
    np.testing.assert_array_equal(few.frames, every.frames[few.indices])
    header = pydicom.dcmread(path, stop_before_pixels=True)
    np.testing.assert_allclose(every.times, np.arange(30) * float(header.FrameTime) / 1000)
    assert few.timed
    assert read(path, max_frames=2, channels=1).frames.shape == (2, 240, 320)


@pytest.mark.parametrize(
    ("tags", "seconds", "timed"),
    [
        ({"FrameTime": 40}, [0, 0.04, 0.08], True),
        ({"FrameTimeVector": [0, 10, 30]}, [0, 0.01, 0.04], True),
        ({"CineRate": 50}, [0, 0.02, 0.04], True),
        ({"FrameTime": 0, "RecommendedDisplayFrameRate": 10}, [0, 0.1, 0.2], True),
        ({"FrameTimeVector": [0, 10]}, [0, 0.04, 0.08], False),
        ({}, [0, 0.04, 0.08], False),
    ],
)
def test_the_clock(tmp_path, tags, seconds, timed):
    clip = read(write(tmp_path / "a.dcm", ramp(12, 5, np.uint8).reshape(3, 4, 5), NumberOfFrames=3, **tags))
    np.testing.assert_allclose(clip.times, seconds)
    assert clip.timed == timed


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows(tmp_path, function):
    tags = {"WindowCenter": [50, 9], "WindowWidth": [60, 9], "VOILUTFunction": function}
    path = write(tmp_path / "a.dcm", ramp(start=-20), RescaleSlope=2, RescaleIntercept=-10, **tags)
    full = pydicom.dcmread(path)
    windowed = apply_voi_lut(apply_modality_lut(full.pixel_array, full), full)
    low, high = (bound * 2 - 10 for bound in (-(2**15), 2**15 - 1))
    np.testing.assert_allclose(read(path).frames[0], (windowed - low) / (high - low) * 65535, atol=1)


def test_a_table_of_values_comes_before_a_window(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, 100, 16], [0, 10000, 30000, 65535]
    table["LUTDescriptor"].VR = "US"
    table["LUTData"].VR = "US"
    values = np.array([[98, 100, 101], [102, 103, 200]], np.uint16)
    tags = {"VOILUTSequence": [table], "WindowCenter": 5, "WindowWidth": 3}
    frames = read(write(tmp_path / "a.dcm", values, **tags)).frames
    assert frames[0].tolist() == [[0, 0, 10000], [30000, 65535, 65535]]


def test_padding_is_black_and_does_not_count(tmp_path):
    values = np.array([[-2000, -2000, 0], [50, 99, 100]], np.int16)
    for kind, expected in (("MONOCHROME2", [0, 0, 0, 0.5, 0.99, 1]), ("MONOCHROME1", [0, 0, 1, 0.5, 0.01, 0])):
        path = write(tmp_path / f"{kind}.dcm", values, photometric=kind, PixelPaddingValue=-2000)
        np.testing.assert_allclose(read(path).frames.ravel() / 65535, expected, atol=2e-3)
    path = write(tmp_path / "range.dcm", values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=0)
    np.testing.assert_allclose(read(path).frames.ravel() / 65535, [0, 0, 0, 0, 0.98, 1], atol=5e-3)


def test_bits_that_are_not_stored(tmp_path):
    path = write(tmp_path / "a.dcm", np.arange(64, dtype=np.uint8).reshape(8, 8), bits=6)
    np.testing.assert_array_equal(read(path).frames.ravel(), np.rint(np.arange(64) / 63 * 255))
    colour = write(tmp_path / "c.dcm", np.arange(4096, dtype=np.uint16)[:48].reshape(4, 4, 3) * 85, bits=12)
    assert read(colour).frames.max() == 47 * 85 * 65535 // 4095


def test_a_series_shares_one_window_and_keeps_its_order(tmp_path):
    paths = [
        write(tmp_path / f"{k}.dcm", ramp(start=1000 * k), RescaleSlope=1 + k, RescaleIntercept=0) for k in range(3)
    ]
    clip = read_files(paths[::-1], max_frames=8, root=tmp_path)
    assert (clip.length, clip.timed, clip.frames.dtype) == (3, False, np.uint16)
    assert (np.diff(clip.frames.mean(axis=(1, 2))) < 0).all()
    with pytest.raises(ReadError, match=r"odd\.dcm: is 9 x 9, but 0\.dcm of the same series is 16 x 8"):
        read_files([paths[0], write(tmp_path / "odd.dcm", ramp(9, 9))], max_frames=2)
    loop = write(tmp_path / "loop.dcm", ramp(16, 16).reshape(2, 8, 16), NumberOfFrames=2)
    with pytest.raises(ReadError, match=r"loop\.dcm: holds 2 frames, but is one of 2 files of a series"):
        read_files([paths[0], loop], max_frames=2)


def test_an_enhanced_file_has_a_rescale_per_frame(tmp_path):
    def group(slope):
        inner = pydicom.Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = slope, 0
        outer = pydicom.Dataset()
        outer.PixelValueTransformationSequence = [inner]
        return outer

    values = np.stack([ramp(), ramp()])
    window = {"WindowCenter": 500.5, "WindowWidth": 1001}
    path = write(
        tmp_path / "a.dcm", values, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=[group(1), group(4)], **window
    )
    frames = read(path).frames.astype(float)
    np.testing.assert_allclose(frames[1], frames[0] * 4, atol=4)


def test_files_without_preamble_or_suffix(tmp_path):
    one = dataset(ramp())
    del one.file_meta
    pydicom.dcmwrite(tmp_path / "bare", one, implicit_vr=True, little_endian=True)
    expected = read(write(tmp_path / "whole", ramp())).frames
    np.testing.assert_array_equal(read_files([tmp_path / "bare"], max_frames=1).frames, expected)
    np.testing.assert_array_equal(read_files([tmp_path / "whole"], max_frames=1).frames, expected)
    assert is_dicom((tmp_path / "bare").read_bytes()[:132])


def test_an_unknown_transfer_syntax_is_named(tmp_path):
    path = write(tmp_path / "a.dcm", ramp(), syntax="1.2.840.10008.1.2.4.102", encoded=[b"x" * 10])
    with pytest.raises(ReadError, match=r"a\.dcm: its transfer syntax is MPEG-4.*4\.102\).*gdcmraw FILE clip\.mpg"):
        read(path)


@pytest.mark.parametrize("name", DEEP)
def test_twelve_bit_jpeg_has_the_values_of_pydicoms_tests(name, capfd):
    source = open_source(SHIPPED / name, name)
    (values,) = decode(source, count(source)[1], [0])
    # pydicom tests/pixels/pixels_reference.py, which decodes them with libjpeg
    assert (values[420, 140], values[230, 120], values.dtype) == (244, 95, np.uint16)
    said = capfd.readouterr().err
    assert "precision" not in said


def extended(path, values, bits):
    """``values`` as a stream of JPEG Extended with samples of ``bits``, by gdcm."""
    gdcm = pytest.importorskip("gdcm", reason="needs the extra 'dicom'")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(write(path, values, modality="DX", bits=12)))
    reader.Read()
    reader.GetImage().SetPixelFormat(gdcm.PixelFormat(1, bits, 12, 11, 0))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    change.SetInput(reader.GetImage())
    assert change.Change()
    sequence = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    return sequence.GetFragment(0).GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")


def test_twelve_bit_jpeg_comes_back_as_it_was(tmp_path):
    y, x = np.mgrid[:64, :48]
    values = (2048 + 1900 * np.sin(x / 9) * np.cos(y / 11)).astype(np.uint16)
    stream, path = extended(tmp_path / "a.dcm", values, 12), tmp_path / "b.dcm"
    options = {"modality": "DX", "bits": 12, "syntax": pydicom.uid.JPEGExtended12Bit}
    source = open_source(write(path, values, encoded=[stream], **options), "b.dcm")
    (found,) = decode(source, count(source)[1], [0])
    assert np.abs(found.astype(int) - values).max() < 40
    with pytest.raises(ReadError, match=r"b\.dcm: its pixels, JPEG Extended.*4\.51\), are truncated or broken"):
        read(write(path, values, encoded=[stream[: stream.index(b"\xff\xda")] + b"\xff\xd9"], **options))
    with pytest.raises(ReadError, match=r"b\.dcm: .*4\.51\), is of 16 bits.*dcmdjpeg FILE NEW"):
        read(write(path, values, encoded=[extended(tmp_path / "a.dcm", values, 16)], **options))


def test_jpeg_lossless_of_any_predictor_and_a_decoder_that_is_missing(tmp_path, monkeypatch):
    name = "SC_rgb_jpeg_gdcm.dcm"
    full = pydicom.dcmread(SHIPPED / name)
    full.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.57"
    full.save_as(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name).frames, read(SHIPPED / name).frames)
    decoder = pydicom.pixels.get_decoder(full.file_meta.TransferSyntaxUID)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(MissingExtra, match=r"JPEG Lossless.*'python-gdcm'.*sidelight\[dicom\]"):
        read(tmp_path / name)


def test_limits_come_before_decoding(tmp_path):
    path = write(tmp_path / "a.dcm", np.stack([ramp(), ramp()]), NumberOfFrames=2)
    for limit, value, message in [
        ("most_pixels", 127, "16 x 8 pixels, more than the limit of 127"),
        ("most_frames", 1, "2 frames, more than the limit of 1"),
        ("most_bytes", 100, "bytes, more than the limit of 100"),
        ("most_held", 255, "hold 256 values, more than the limit of 255"),
    ]:
        with pytest.raises(ReadError, match=message):
            read(path, **{limit: value})


def test_a_stream_larger_than_the_header_says_never_meets_a_decoder(tmp_path):
    name = "SC_rgb_jpeg_dcmtk.dcm"
    full = pydicom.dcmread(SHIPPED / name)
    full.Rows = full.Columns = 10
    full.save_as(tmp_path / name)
    with pytest.raises(ReadError, match="header says 10 x 10 pixels, its pixel stream 100 x 100"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm"])
def test_the_size_of_a_stream(name):
    full = pydicom.dcmread(SHIPPED / name)
    frame = next(pydicom.encaps.generate_frames(full.PixelData, number_of_frames=1))
    assert stream_size(frame) == (full.Columns, full.Rows, full.SamplesPerPixel)
    assert stream_size(frame[:8]) is None


def test_a_deflated_file_is_not_inflated_beyond_the_limit(tmp_path):
    path = SHIPPED / "image_dfl.dcm"
    assert open_source(path, "a").frames == 1
    with pytest.raises(ReadError, match="inflates to more than the limit of 100,000 bytes"):
        open_source(path, "a", most_bytes=100_000)
    data = path.read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match=r"^cut: "):
        read_dicom([cut], ["cut"], max_frames=1)


def test_a_clip_that_ends_early_yields_what_it_has(tmp_path):
    data = (SHIPPED / "examples_ybr_color.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: len(data) // 2])
    clip = read(path)
    assert 5 < clip.length < 30
    np.testing.assert_array_equal(clip.frames[:5], read(SHIPPED / "examples_ybr_color.dcm").frames[:5])


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    path = write(tmp_path / "a.dcm", ramp())
    dicom_frames._pydicom.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(MissingExtra, match=r"sidelight\[dicom\]"):
        read(path)
    dicom_frames._pydicom.cache_clear()


def test_garbage_after_the_preamble(tmp_path):
    rng = np.random.default_rng(0)
    whole = write(tmp_path / "a.dcm", ramp()).read_bytes()
    path = tmp_path / "b.dcm"
    for _ in range(60):
        broken = bytearray(whole)
        for place in rng.integers(132, len(broken), 12):
            broken[place] = rng.integers(256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(ReadError):
            assert read(path).frames.dtype in (np.uint8, np.uint16)


def test_bits_that_end_above_those_stored_are_shifted(tmp_path):
    values = ramp(kind=np.uint16, step=16)
    plain = read(write(tmp_path / "a.dcm", values, bits=12)).frames
    noise = (np.arange(values.size) % 16).reshape(values.shape).astype(np.uint16)  # below the 12 bits of the picture
    left = read(write(tmp_path / "b.dcm", (values << 4) + noise, bits=12, HighBit=15)).frames
    np.testing.assert_array_equal(left, plain)


@pytest.mark.parametrize("window", [(1, 1), (0, 0), (127, 1)])
def test_a_window_that_is_a_placeholder_does_not_count(tmp_path, window):
    values = ramp(kind=np.uint16, step=16)
    shown = write(tmp_path / "b.dcm", values, bits=12, WindowCenter=window[0], WindowWidth=window[1])
    np.testing.assert_array_equal(read(shown).frames, read(write(tmp_path / "a.dcm", values, bits=12)).frames)


def test_pixels_that_are_missing_are_told_in_bytes(tmp_path):
    path = write(tmp_path / "a.dcm", ramp(kind=np.uint16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ReadError, match=r"16 x 8 pixels, which are 256 bytes; the file holds 156 of them.*Export it again"
    ):
        read(path)
    three = write(tmp_path / "b.dcm", ramp(kind=np.uint16), NumberOfFrames=3)
    with pytest.raises(ReadError, match=r"3 frames of 16 x 8 pixels, which are 768 bytes; the file holds 256"):
        read(three)
