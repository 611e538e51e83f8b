"""The formats that sidelight reads, one line each: whatever lists suffixes or chooses a reader asks this table.

A new format is one file in this folder, with a reader, and one line here.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sidelight.data.read.array import npz_members, read_npy, read_npz
from sidelight.data.read.clip import Clip, to_uint16
from sidelight.data.read.dicom import DICOM_SUFFIXES, has_preamble, read_dicom
from sidelight.data.read.hdf5 import hdf5_members, read_hdf5
from sidelight.data.read.heic import is_heic, read_heic
from sidelight.data.read.metaimage import pixels_beside
from sidelight.data.read.nifti import HEADER_SUFFIXES, VOLUME_SUFFIXES, is_volume, read_volume, volume_members
from sidelight.data.read.room import Ask
from sidelight.data.read.still import IMAGE_SUFFIXES, is_image, read_image
from sidelight.data.read.video import VIDEO_SUFFIXES, is_video, read_video

Kind = Literal["still", "clip", "volume", "array", "container", "dicom"]


@dataclass(frozen=True)
class Wanted:
    """What of a file is wanted: at most so many frames, and hints as :func:`sidelight.data.read.read_files` takes them.

    :param member: what stood behind ``::``; "" without.
    :param ask: by which a reader asks for memory; without, a quarter of the machine is there.
    """

    max_frames: int
    channels: int | None = None
    target: int | None = None
    member: str = ""
    ask: Ask | None = None


@dataclass(frozen=True)
class Format:
    """One format.

    :param kind: what such files hold; "container": several named pictures; "dicom": their headers say.
    :param suffixes: in lower case, without the first dot: of the files that are items, and that a final ``.*`` means.
    :param recognises: whether a file is read so, from its first 132 bytes and its name in lower case; the first line counts.
    :param read: (path, what errors call it, what is wanted) -> frames; :raises ReadError: where it cannot be decoded.
    :param headers: suffixes of files beside those, which a path may name in their place.
    :param members: (path, what errors call it) -> what a path may say after ``::``; None where it may say nothing.
    :param extra: what ``pip install 'sidelight[EXTRA]'`` must bring; "" for nothing.
    """

    name: str
    kind: Kind
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes, str], bool]
    read: Callable[[Path, str, Wanted], Clip]
    headers: tuple[str, ...] = ()
    members: Callable[[Path, str], list[str]] | None = None
    extra: str = ""


def _dicom(path: Path, name: str, want: Wanted) -> Clip:
    return read_dicom([path], [name], max_frames=want.max_frames, channels=want.channels, ask=want.ask)


def _volume(path: Path, name: str, want: Wanted) -> Clip:
    return read_volume(path, name, member=want.member, max_frames=want.max_frames, channels=want.channels, ask=want.ask)


def _video(path: Path, name: str, want: Wanted) -> Clip:
    frames, channels, target = want.max_frames, want.channels, want.target
    return read_video(path, name, max_frames=frames, channels=channels, target=target, ask=want.ask)


def _image(path: Path, name: str, want: Wanted) -> Clip:
    frames, channels, target = want.max_frames, want.channels, want.target
    return read_image(path, name, max_frames=frames, channels=channels, target=target, ask=want.ask)


def _npy(path: Path, name: str, want: Wanted) -> Clip:
    frames, channels, target = want.max_frames, want.channels, want.target
    return read_npy(path, name, max_frames=frames, channels=channels, target=target, ask=want.ask)


def _npz(path: Path, name: str, want: Wanted) -> Clip:
    frames, channels, target = want.max_frames, want.channels, want.target
    return read_npz(path, name, member=want.member, max_frames=frames, channels=channels, target=target, ask=want.ask)


def _hdf5(path: Path, name: str, want: Wanted) -> Clip:
    frames, channels, target = want.max_frames, want.channels, want.target
    return read_hdf5(path, name, member=want.member, max_frames=frames, channels=channels, target=target, ask=want.ask)


def _heic(path: Path, name: str, want: Wanted) -> Clip:
    return read_heic(path, name, channels=want.channels, ask=want.ask)


FORMATS = (
    Format("DICOM", "dicom", DICOM_SUFFIXES, lambda head, name: has_preamble(head), _dicom, extra="dicom"),
    Format("NIfTI and other volumes", "volume", VOLUME_SUFFIXES, lambda head, name: is_volume(name), _volume,
           headers=HEADER_SUFFIXES, members=volume_members, extra="nifti"),
    Format("GIF", "clip", ("gif",), lambda head, name: head.startswith(b"GIF8"), _image),
    Format("video", "clip", VIDEO_SUFFIXES, is_video, _video, extra="video"),
    Format("images", "still", IMAGE_SUFFIXES, lambda head, name: is_image(head), _image),
    Format("NumPy array", "array", ("npy",), lambda head, name: head.startswith(b"\x93NUMPY"), _npy),
    Format("NumPy arrays", "container", ("npz",), lambda head, name: head.startswith(b"PK") and name.endswith(".npz"),
           _npz, members=npz_members),
    Format("HDF5", "container", ("h5", "hdf5"), lambda head, name: head.startswith(b"\x89HDF"), _hdf5,
           members=hdf5_members, extra="hdf5"),
    Format("HEIC", "still", ("heic", "heif"), lambda head, name: is_heic(head), _heic, extra="heic"),
)  # fmt: skip

SUFFIXES = tuple(sorted(f".{suffix}" for one in FORMATS for suffix in one.suffixes))
"""Of every file that may be an item, in lower case, with the dot; of a header and its pixels beside it that of the pixels."""
_BY_SUFFIX = {suffix: one for one in FORMATS for suffix in (*one.suffixes, *one.headers)}


def split_suffix(path: str) -> tuple[str, str]:
    """``"a/b.nii.gz"`` -> ``("a/b", ".nii.gz")``: a suffix of the table is one, of any other name what follows its last dot."""
    folder, slash, name = path.rpartition("/")
    pieces = name.split(".")
    if len(pieces) > 2 and pieces[-3] and ".".join(pieces[-2:]).lower() in _BY_SUFFIX:
        return f"{folder}{slash}{'.'.join(pieces[:-2])}", f".{'.'.join(pieces[-2:])}"
    return os.path.splitext(path)


def stem(path: str) -> str:
    """The name of a file without its folder and its suffix; ``.nii.gz`` is one suffix."""
    return split_suffix(path.rpartition("/")[2])[0]


def by_suffix(path: str) -> Format | None:
    """The format that a file's name promises; None where sidelight reads none that is called so."""
    return _BY_SUFFIX.get(split_suffix(path)[1].lower()[1:])


def beside(path: Path) -> list[Path]:
    """The header of a file of pixels, or the pixels of a header, where they lie beside it: ``scan.hdr`` of ``scan.img``.

    A header that cannot be opened has none.
    """
    if path.suffix.lower() == ".mhd":
        with contextlib.suppress(OSError):
            pixels = pixels_beside(path)
            return [pixels] if pixels is not None and pixels.is_file() else []
        return []
    start, suffix = split_suffix(path.name)
    pair = {"img": ("hdr",), "img.gz": ("hdr.gz", "hdr"), "hdr": ("img", "img.gz"), "hdr.gz": ("img.gz",), "rec": ("par",),
            "par": ("rec",), "brik": ("head",), "brik.gz": ("head",), "head": ("brik", "brik.gz")}  # fmt: skip
    names = [
        f"{start}.{one}"
        for other in pair.get(suffix.lower()[1:], ())
        for one in (other, other.upper(), other.upper().replace("GZ", "gz"))
    ]
    return [path.with_name(name) for name in dict.fromkeys(names) if path.with_name(name).is_file()]


def is_kind(path: str, kind: Kind) -> bool:
    """Whether a file's name promises this kind."""
    one = by_suffix(path)
    return one is not None and one.kind == kind


def by_content(head: bytes, name: str) -> Format | None:
    """The format of a file from its first 132 bytes and its name; None where no line of the table says that it is its."""
    return next((one for one in FORMATS if one.recognises(head, name.lower())), None)


def in_range(clip: Clip, path: Path, ends: tuple[int, int]) -> Clip:
    """Deep frames of an image or array with ``ends`` as black and white; volumes and DICOM have found theirs themselves."""
    one = by_suffix(path.name.partition("::")[0])
    if clip.frames.dtype != np.uint16 or one is None or one.kind in ("volume", "dicom"):
        return clip
    return replace(clip, frames=to_uint16(clip.frames, *ends))
