"""DICOM headers without their pixels, and single frames decoded when they are wanted; through pydicom.

Each transfer syntax has one decoder, so that a file is the same pixels everywhere: Pillow for JPEG, openjpeg for
JPEG 2000, CharLS for JPEG-LS, gdcm for JPEG Lossless and 12-bit JPEG. A pixel stream must be of the size that the header says
before it is handed to one. Only the tags named here are kept in memory.
"""

import functools
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidelight.data.read.clip import Array, unreadable
from sidelight.errors import MissingExtra, ReadError

if TYPE_CHECKING:
    from pydicom import Dataset

MOST_PIXELS = 170_000_000
MOST_BYTES = 2 << 30
MOST_FRAMES = 100_000
MOST_HELD = 1 << 30  # values of all frames that one item keeps

_IMAGE = (
    "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PhotometricInterpretation", "PlanarConfiguration",
)  # fmt: skip
_COLOURS = ("Red", "Green", "Blue")
TAGS = (
    *_IMAGE, "NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    *(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in _COLOURS),
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SequenceOfUltrasoundRegions",
    "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate",
)  # fmt: skip

_JPEG = "1.2.840.10008.1.2.4."
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RLE = "1.2.840.10008.1.2.5"
_EXTENDED = f"{_JPEG}51"
_MPEG = f"{_JPEG}10"  # .100 to .108: MPEG-2, MPEG-4 and HEVC
DECODERS = {
    **dict.fromkeys([f"{_JPEG}50", f"{_JPEG}51"], ("pillow", "pillow")),
    **dict.fromkeys([f"{_JPEG}57", f"{_JPEG}70"], ("gdcm", "python-gdcm")),
    **dict.fromkeys([f"{_JPEG}80", f"{_JPEG}81"], ("pyjpegls", "pyjpegls")),
    **dict.fromkeys(
        [f"{_JPEG}90", f"{_JPEG}91", f"{_JPEG}201", f"{_JPEG}202", f"{_JPEG}203"], ("pylibjpeg", "pylibjpeg-openjpeg")
    ),
    _RLE: ("pydicom", "pydicom"),
}


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file with its header read and its pixels still on the disk.

    :param name: what errors call the file.
    :param header: the elements of ``TAGS`` that it has.
    :param syntax: the UID of its transfer syntax.
    :param start: byte at which its pixel data element begins.
    :param frames: how many frames the header says there are.
    """

    path: Path
    name: str
    header: "Dataset"
    syntax: str
    start: int
    frames: int


def open_source(
    path: Path,
    name: str,
    *,
    most_pixels: int = MOST_PIXELS,
    most_bytes: int = MOST_BYTES,
    most_frames: int = MOST_FRAMES,
) -> DicomFile:
    """Read the header of an image, not its pixels.

    :raises ReadError: for a file that is no DICOM image, passes a limit, or has a transfer syntax without a decoder.
    :raises MissingExtra: where pydicom is not installed.
    """
    header, start = read_header(path, name, TAGS, most_bytes)
    absent = [tag for tag in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation") if tag not in header]
    if absent:
        raise unreadable(name, f"is a DICOM file without pixels (it lacks {', '.join(absent)})", "Leave it out")
    size = (whole(header, "Columns", name), whole(header, "Rows", name))
    frames = whole(header, "NumberOfFrames", name) if header.get("NumberOfFrames") else 1
    if min(*size, frames) < 1:
        raise unreadable(name, f"its header says {frames} frames of {size[0]} x {size[1]} pixels")
    if size[0] * size[1] > most_pixels:
        raise unreadable(
            name, f"{size[0]} x {size[1]} pixels, more than the limit of {most_pixels:,}", "Make it smaller"
        )
    if frames > most_frames:
        raise unreadable(name, f"{frames:,} frames, more than the limit of {most_frames:,}", "Cut it first")
    syntax = _syntax(header, name)
    if syntax not in (*_NATIVE, _DEFLATED) and syntax not in DECODERS:
        raise unreadable(
            name, f"its transfer syntax is {_spelt(syntax)}, for which there is no decoder", _way_out(syntax)
        )
    return DicomFile(path, name, header, syntax, start, frames)


def _way_out(syntax: str) -> str:
    """What to do about pixels that cannot be decoded."""
    if syntax.startswith(_MPEG):
        return "It holds a video: take that out (`gdcmraw FILE clip.mpg` of GDCM) and use it instead, or leave it out"
    if syntax in (*_NATIVE, _DEFLATED):
        return "It is not compressed: its header and its pixels do not fit, or it is cut short. Fetch it again, or leave it out"
    return "Uncompress it (`dcmdjpeg FILE NEW` of DCMTK, `gdcmconv --raw FILE NEW` of GDCM), or leave it out"


def read_header(path: Path, name: str, tags: Sequence[str], most_bytes: int = MOST_BYTES) -> tuple["Dataset", int]:
    """The elements ``tags`` of a DICOM file with or without preamble, and the byte at which its pixels begin.

    :raises ReadError: for a file that cannot be parsed or passes the limit.
    """
    dcmread = _pydicom().dcmread
    if path.exists() and not path.is_file():
        raise unreadable(name, "is no file but a folder, a pipe, a socket or a device", "Leave it out")
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise unreadable(name, f"{size:,} bytes, more than the limit of {most_bytes:,}")
        with path.open("rb") as file:
            _check_deflated(file.read(4096), path, name, most_bytes)
            file.seek(0)
            header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(tags))
            return header, file.tell()
    except ReadError:
        raise
    except OSError as error:
        raise unreadable(name, f"cannot be opened ({error.strerror})", "Check that it exists and may be read") from None
    except Exception as error:  # a parser that is fed broken bytes may raise anything
        raise unreadable(name, f"its DICOM header is broken ({type(error).__name__})") from error


def _check_deflated(head: bytes, path: Path, name: str, most_bytes: int) -> None:
    """A small deflated file may inflate to anything, and pydicom inflates all of it."""
    if head[128:132] != b"DICM" or _DEFLATED.encode() not in head:
        return
    length = struct.unpack_from("<I", head, 140)[0]  # of the meta elements, after (0002,0000) UL 4
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(144 + length)
        while not inflate.eof and (data := inflate.unconsumed_tail or file.read(1 << 16)):
            total += len(inflate.decompress(data, 1 << 20))
            if total > most_bytes:
                raise unreadable(name, f"inflates to more than the limit of {most_bytes:,} bytes")


@functools.cache
def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise MissingExtra("pydicom", "dicom", "Reading DICOM") from None
    # both quote values, and values may identify
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    return pydicom


def whole(header: "Dataset", keyword: str, name: str) -> int:
    """An element that must be a whole number."""
    try:
        return int(header[keyword].value)
    except Exception:
        raise unreadable(name, f"its element {keyword} is no whole number") from None


def _syntax(header: "Dataset", name: str) -> str:
    """The transfer syntax; of a file without meta header the one by which pydicom could parse it."""
    try:
        found = header.file_meta.get("TransferSyntaxUID")
    except Exception:
        found = None
    if found:
        return str(found)
    implicit, little = header.original_encoding
    if implicit is None or little is None:
        raise unreadable(name, "has no transfer syntax, and none can be guessed")
    return _NATIVE[0] if implicit else _NATIVE[1 if little else 2]


def _spelt(syntax: str) -> str:
    """``JPEG-LS Lossless Image Compression (1.2...)``, or the bare UID where it has no name."""
    from pydicom.uid import UID

    return f"{UID(syntax).name} ({syntax})" if UID(syntax).name != syntax else syntax


def count(source: DicomFile) -> tuple[int, list[bytes]]:
    """How many frames there really are, and the encoded frames of a compressed file.

    :raises ReadError: when there is none.
    """
    if source.syntax in _NATIVE or source.syntax == _DEFLATED:
        return source.frames, []
    from pydicom.encaps import generate_frames

    tables = [source.header.get(tag) for tag in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    encoded: list[bytes] = []
    why = "its pixel data is missing"
    try:
        with source.path.open("rb") as file:
            file.seek(source.start)
            head = file.read(12)  # tag, representation and two blanks, length; some leave the representation out
            file.seek(source.start + (12 if head[4:6].isalpha() else 8))
            offsets = (tables[0], tables[1]) if all(tables) else None
            for frame in generate_frames(file, number_of_frames=source.frames, extended_offsets=offsets):
                encoded.append(frame)
                if len(encoded) == source.frames:
                    break
    except Exception as error:  # a clip that ends early yields what it has
        why = f"its pixel data is truncated or broken ({type(error).__name__})"
    cut = source.syntax != _RLE and not encoded[-1].rstrip(b"\0").endswith(b"\xff\xd9") if encoded else False
    if cut and len(encoded) > 1:
        encoded.pop()
    if not encoded:
        raise unreadable(source.name, why)
    return len(encoded), encoded


def decode(source: DicomFile, encoded: Sequence[bytes], indices: Sequence[int]) -> Iterator[Array]:
    """The frames ``indices``: stored values ``[H, W]``, or ``[H, W, 3]`` with YBR turned into RGB; native byte order.

    :param encoded: what :func:`count` gave.
    :raises ReadError: naming the transfer syntax, when one cannot be decoded.
    :raises MissingExtra: where its decoder is not installed.
    """
    try:
        if not encoded and source.syntax != _DEFLATED:
            _check_length(source)
        frames = _encapsulated(source, encoded, indices) if encoded else _native(source, indices)
        shift = 0 if encoded else _shift(source.header)
        for frame in frames:
            native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
            yield native >> shift if shift and native.dtype.kind in "iu" else native
    except (ReadError, MissingExtra):
        raise
    except Exception as error:  # as above
        why = " ".join(str(error).replace(str(source.path), source.name).rpartition("plugins:")[2].split())
        raise unreadable(
            source.name,
            f"its pixels, {_spelt(source.syntax)}, cannot be decoded ({why[:300]})",
            _way_out(source.syntax) if source.syntax not in _NATIVE else "Export it again, or leave it out",
        ) from error


def _check_length(source: DicomFile) -> None:
    """:raises ReadError: where uncompressed pixels are fewer bytes than the header says."""
    header, name = source.header, source.name
    samples = whole(header, "SamplesPerPixel", name) if header.get("SamplesPerPixel") else 1
    bits = whole(header, "BitsAllocated", name)
    need = source.frames * ((int(header.Rows) * int(header.Columns) * samples * bits + 7) // 8)
    need = (
        need * 2 // 3 if str(header.PhotometricInterpretation).endswith("_422") else need
    )  # two pixels share their colour
    held = max(source.path.stat().st_size - source.start - (12 if source.syntax != _NATIVE[0] else 8), 0)
    if held < need:
        frames = f"{source.frames} frames of " if source.frames > 1 else ""
        raise unreadable(
            name,
            f"its header says {frames}{header.Columns} x {header.Rows} pixels, which are {need:,} bytes; the file holds "
            f"{held:,} of them: it is cut short, or its header or transfer syntax is wrong",
            "Export it again, or leave it out",
        )


def _shift(header: "Dataset") -> int:
    """By how many bits the values of uncompressed pixels lie too high: of 12 stored bits the highest may be bit 15."""
    stored, high, allocated = (header.get(tag) for tag in ("BitsStored", "HighBit", "BitsAllocated"))
    if not (isinstance(stored, int) and isinstance(high, int) and isinstance(allocated, int)):
        return 0
    return max(high + 1 - stored, 0) if high < allocated else 0


def _native(source: DicomFile, indices: Sequence[int]) -> Iterator[Array]:
    from pydicom.pixels.utils import iter_pixels
    from pydicom.uid import UID

    if source.syntax == _DEFLATED or _shift(source.header):
        whole_file = _pydicom().dcmread(source.path, force=True)
        if _shift(source.header):  # else pydicom blanks the bits above those stored
            whole_file.BitsStored = whole_file.BitsAllocated
        yield from iter_pixels(whole_file, indices=list(indices))
    else:
        yield from iter_pixels(source.path, indices=list(indices), transfer_syntax_uid=UID(source.syntax))


def _encapsulated(source: DicomFile, encoded: Sequence[bytes], indices: Sequence[int]) -> Iterator[Array]:
    """Each frame as a file of its own, so that a wrong table of offsets or a broken neighbour does no harm."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    deep = _is_deep(source)
    plugin, package = DECODERS[source.syntax] if not deep else ("gdcm", "python-gdcm")
    if plugin not in get_decoder(UID(source.syntax)).available_plugins:
        raise MissingExtra(package, "dicom", f"Decoding {source.name}, {_spelt(source.syntax)},")
    for index in indices:
        _check_size(source, encoded[index])
        if deep:
            yield _deep_jpeg(source, encoded[index])
            continue
        one = Dataset()
        for tag in _IMAGE:
            if tag in source.header:
                one.add(source.header[tag])
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = UID(source.syntax)
        one.PixelData = encapsulate([encoded[index]])
        one["PixelData"].VR = "OB"
        yield pixel_array(one, index=0, decoding_plugin=plugin)


def _is_deep(source: DicomFile) -> bool:
    """Whether it is grey JPEG of 12 bits: pydicom hands that to no decoder here, though gdcm reads it."""
    header = source.header
    plain = int(header.get("SamplesPerPixel") or 1) == 1 and not header.get("PixelRepresentation")
    return source.syntax == _EXTENDED and plain and int(header.get("BitsStored") or header.BitsAllocated) > 8


def _deep_jpeg(source: DicomFile, encoded: bytes) -> Array:
    """A frame of 12-bit JPEG, uint16 ``[H, W]``; :raises ReadError: where the stream is broken or has other bits."""
    import gdcm

    found = _jpeg_header(encoded)
    if found is None or found[0] != 12:
        what = "has no JPEG header" if found is None else f"is of {found[0]} bits"
        raise unreadable(source.name, f"its pixel stream, {_spelt(source.syntax)}, {what}", _way_out(source.syntax))
    rows, columns = int(source.header.Rows), int(source.header.Columns)
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(encoded)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    # 12 bits allocated, not the file's 16: else gdcm tries its 16-bit decoder first and complains on stderr
    image.SetPixelFormat(gdcm.PixelFormat(1, 12, 12, 11, 0))
    text = image.GetBuffer()
    raw = b"" if text is None else text.encode("utf-8", "surrogateescape")
    if len(raw) != 2 * rows * columns:
        raise unreadable(source.name, f"its pixels, {_spelt(source.syntax)}, are truncated or broken")
    return np.frombuffer(raw, "<u2").reshape(rows, columns)


def _check_size(source: DicomFile, encoded: bytes) -> None:
    """:raises ReadError: where the stream says another size than the header: a decoder would make room for it."""
    said = (source.header.Columns, source.header.Rows)
    found = stream_size(encoded)
    if found is not None and (found[:2] != said or found[2] > 4):
        raise unreadable(
            source.name, f"its header says {said[0]} x {said[1]} pixels, its pixel stream {found[0]} x {found[1]}"
        )


def stream_size(encoded: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG, JPEG-LS or JPEG 2000 stream; None where it does not say."""
    at = encoded.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at >= 0 and len(encoded) >= at + 42:
        right, bottom, left, top = struct.unpack_from(">4I", encoded, at + 8)
        return right - left, bottom - top, struct.unpack_from(">H", encoded, at + 40)[0]
    jpeg = _jpeg_header(encoded)
    return None if jpeg is None else (jpeg[2], jpeg[1], jpeg[3])


def _jpeg_header(encoded: bytes) -> tuple[int, int, int, int] | None:
    """Bits of a sample, height, width and components of a JPEG or JPEG-LS stream; None where it does not say."""
    at = 2
    while encoded.startswith(b"\xff\xd8") and at + 10 <= len(encoded) and encoded[at] == 0xFF:
        marker, length = encoded[at + 1], struct.unpack_from(">H", encoded, at + 2)[0]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, height, width, components = struct.unpack_from(">BHHB", encoded, at + 4)
            return bits, height, width, components
        at += 1 if marker == 0xFF else 2 + length
    return None
