"""Files -> decoded frames: ``read_files``, whatever the format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sidelight.data.cells import readable
from sidelight.data.read.clip import Array, Clip, decoding, spaced_indices, unreadable, untimed
from sidelight.data.read.container import MARK, split
from sidelight.data.read.dicom import header_regions, is_dicom, read_dicom
from sidelight.data.read.formats import Wanted, by_content
from sidelight.data.read.room import Ask
from sidelight.data.read.sector import crop_sector
from sidelight.errors import ReadError

__all__ = ["Clip", "read_files", "spaced_indices"]

FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"<": "a web page or XML file",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
}


def read_files(
    paths: Sequence[Path],
    *,
    max_frames: int,
    channels: int | None = None,
    target: int | None = None,
    root: Path | None = None,
    crop: str | int | None = None,
    ask: Ask | None = None,
) -> Clip:
    """Decode one item: one file is a still, a video, a DICOM file or a volume, several are a stack of frames in this order.

    A path may name a member of its file, as ``cases.npz::image``; see ``data/read/container.py``.

    :param max_frames: at most so many frames, evenly spread over the source, first and last included.
    :param channels: hint: 1 decodes to grey, anything else as the file is.
    :param target: hint: side that the frames will be reduced to; much larger ones may be decoded coarsely.
    :param crop: "sector" keeps the ultrasound sector of a frame alone (see ``sector.py``), a number cuts so many pixels
        off every side.
    :param ask: by which readers ask for memory; without, a quarter of the machine is there.
    :param root: folder that errors name the files from; without it they give the file name alone.
    :raises ReadError: names the file, what was found and what to do; also for an item whose pixels are all equal.
    """
    if not paths or max_frames < 1:
        raise ReadError(
            f"read_files was given {len(paths)} files and max_frames = {max_frames}", expected="at least one"
        )
    names = [_name(path, root) for path in paths]
    want = Wanted(
        max_frames, channels, None if crop else target, ask=ask or Ask()
    )  # what a crop leaves may be much smaller
    with decoding(paths[0], names[0]):  # whatever a decoder makes of broken bytes is this item's error, and no other's
        if len(paths) == 1:
            clip = _read(paths[0], names[0], want)
        elif is_dicom(_head(paths[0], names[0]), paths[0].suffix.lower()):
            clip = read_dicom(paths, names, max_frames=max_frames, channels=channels, ask=want.ask)
        else:
            clip = _stack(paths, names, want)
        if crop == "sector":
            clip = _cropped(clip, paths[0], names[0])
        elif crop:
            clip = _without_border(clip, int(crop), names[0])
    if not any((frame != clip.frames[0, 0, 0]).any() for frame in clip.frames):
        raise unreadable(names[0], "all pixels are equal: nothing to learn from")
    return clip


def _cropped(clip: Clip, path: Path, name: str) -> Clip:
    regions = header_regions(path, name) if is_dicom(_head(path, name), path.suffix.lower()) else None
    frames = crop_sector(clip.frames, regions)
    if frames is None:
        raise unreadable(name, "no ultrasound sector is found in it", 'Leave it out, or take crop = "sector" away')
    return replace(clip, frames=frames, size=None)


def _without_border(clip: Clip, border: int, name: str) -> Clip:
    height, width = clip.frames.shape[1:3]
    if min(height, width) <= 2 * border:
        raise unreadable(name, f"{width} x {height} pixels are not more than a border of {border} on every side")
    return replace(clip, frames=np.ascontiguousarray(clip.frames[:, border:-border, border:-border]), size=None)


def _name(path: Path, root: Path | None) -> str:
    if root and path.is_relative_to(root):
        return readable(path.relative_to(root).as_posix())
    file, member = split(str(path))
    return readable(f"{Path(file).name}{MARK}{member}" if member else path.name)


def _read(path: Path, name: str, want: Wanted) -> Clip:
    """One file, by what it begins with; the suffix only decides where that does not, as for the bare voxels of ``.img``."""
    head = _head(path, name)
    plain, member = split(str(path))
    path = Path(plain)
    if not head:
        raise unreadable(name, "is empty (0 bytes)", "Copy it again or leave it out")
    one = by_content(head, path.name)
    if one is not None:
        return one.read(path, name, replace(want, member=member))
    found = next((FOREIGN[h] for h in FOREIGN if head.startswith(h)), "")
    if not found and is_dicom(head, path.suffix.lower()):
        return read_dicom([path], [name], max_frames=want.max_frames, channels=want.channels, ask=want.ask)
    raise unreadable(
        name,
        f"is {found}, not an image or video" if found else "is not an image or video that sidelight knows",
        "Convert it to PNG, TIFF, JPEG, MP4, NIfTI or NPY, or leave it out by the pattern of `files`",
    )


def _head(path: Path, name: str) -> bytes:
    plain = Path(split(str(path))[0])
    if plain.exists() and not plain.is_file():
        raise unreadable(
            name, "is no file but a folder, a pipe, a socket or a device", "Leave it out by the pattern of `files`"
        )
    try:
        with plain.open("rb") as file:
            return file.read(132)
    except OSError as error:
        raise unreadable(name, f"cannot be opened ({error.strerror})", "Check that it exists and may be read") from None


def _stack(paths: Sequence[Path], names: list[str], want: Wanted) -> Clip:
    """Only the frames that are kept are decoded; grey ones among RGB ones are widened."""
    indices = spaced_indices(len(paths), want.max_frames)
    frames: list[Array] = []
    sizes = set()
    for index in indices:
        clip = _read(paths[index], names[index], replace(want, max_frames=1))
        if clip.length > 1:
            raise unreadable(names[index], f"holds {clip.length} frames, but is one of {len(paths)} files of a stack")
        frames.append(clip.frames[0])
        sizes.add(clip.source_size)
        if want.ask is not None:
            want.ask(2 * frames[0].nbytes * len(indices), names[index])
    first = frames[0]
    for frame, index in zip(frames, indices, strict=True):
        if frame.shape[:2] != first.shape[:2] or frame.dtype != first.dtype:
            is_ = f"{frame.shape[1]} x {frame.shape[0]} {frame.dtype}"
            but = f"{first.shape[1]} x {first.shape[0]} {first.dtype}"
            raise unreadable(names[index], f"is {is_}, but {names[0]} of the same stack is {but}")
    if len({frame.ndim for frame in frames}) > 1:
        frames = [frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2) for frame in frames]
    size = sizes.pop() if len(sizes) == 1 else None
    return Clip(np.stack(frames), untimed(indices), indices, len(paths), timed=False, size=size)
