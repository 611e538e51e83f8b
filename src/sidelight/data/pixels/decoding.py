"""Items -> frames at the working size: several at a time, in the order that was asked for."""

import contextlib
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.placement import Fit, placed
from sidelight.data.pixels.shards import Row
from sidelight.data.read.clip import Array, grey
from sidelight.data.read.room import Room
from sidelight.errors import ReadError
from sidelight.machine import cores

Decoded = tuple[int, tuple[Row, Array] | str]


def look_at_sample(
    cohort: Cohort, sample: list[int], max_frames: int, size: int, memory: int | None = None
) -> tuple[float, float]:
    """Share of grey items in the sample, and mean bytes of an item at the working size in one channel.

    :param memory: bytes that decoding may hold at once; None is a quarter of the machine.
    """
    room = Room(memory, _threads())

    def one(position: int) -> tuple[bool, int] | None:
        try:
            with room.item() as ask:
                frames = cohort.read(position, max_frames=max_frames, target=size, ask=ask).frames
                return is_grey(frames), len(frames) * frames.itemsize * size * size
        except ReadError:
            return None

    with ThreadPoolExecutor(_threads()) as pool:
        seen = [found for found in pool.map(one, sample) if found]
    return (float(np.mean([s[0] for s in seen])), float(np.mean([s[1] for s in seen]))) if seen else (1.0, 0.0)


def _threads() -> int:
    return min(8, cores())


def decoded(
    cohort: Cohort, positions: Sequence[int], size: int, channels: int, max_frames: int, memory: int | None = None
) -> Generator[Decoded, None, None]:
    """In the order of ``positions``: what the index says of the item and its pixels, or why it cannot be read.

    :param memory: bytes that decoding may hold at once; None is a quarter of the machine.
    """
    threads = _threads()
    room = Room(memory, threads)

    def one(position: int) -> tuple[Row, Array] | str:
        try:
            with room.item() as ask:
                clip = cohort.read(position, max_frames=max_frames, channels=channels, target=size, ask=ask)
                shown = cohort.spec.images
                frames = equalized(clip.frames) if shown.equalize else clip.frames
                small = at_working_size(frames, size, channels, shown.fit)
        except ReadError as error:
            return str(error)
        row = {"length": clip.length, "timed": clip.timed, "times": clip.times, "numbers": clip.indices}
        row["height"], row["width"] = clip.source_size
        return row, small

    pool = ThreadPoolExecutor(threads)
    ahead: deque[tuple[int, Future[tuple[Row, Array] | str]]] = deque()
    try:
        for position in positions:
            ahead.append((position, pool.submit(one, position)))
            if len(ahead) > 2 * threads:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def watched(items: Generator[Decoded, None, None], total: int, progress: bool) -> Generator[Decoded, None, None]:
    """The same items, with a bar on stderr once two seconds have passed."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(items))
        bar = None
        for done, one in enumerate(items, 1):
            if bar is None and progress and time.monotonic() - began > 2:
                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task = bar.add_task("decoding", total=total)
            if bar is not None:
                bar.update(task, completed=done)
            yield one


TINT = 32  # of 255: screens that tint their grey map stay below, Doppler colour and skin do not


COLOURED = 0.05


def is_grey(frames: Array) -> bool:
    """No colour in ``[T, H, W]`` or ``[T, H, W, 3]``: channels differ by over ``TINT`` in under 5 % of pixels."""
    if frames.ndim == 3:
        return True
    spread = frames.max(axis=-1) - frames.min(axis=-1)
    return bool((spread > TINT * (257 if frames.dtype == np.uint16 else 1)).mean() < COLOURED)


def equalized(frames: Array) -> Array:
    """Grey frames, uint8 or uint16, whose values are spread evenly: each becomes the share of pixels that are not brighter.

    Colour is made grey first. The histogram has every value of the type, as scikit-image's ``equalize_hist`` of integers.

    >>> equalized(np.array([[[0, 0], [4, 9]]], np.uint8)).tolist()
    [[[128, 128], [191, 255]]]
    """
    plain = grey(frames) if frames.ndim == 4 else frames
    top = np.iinfo(plain.dtype).max
    spread = []
    for frame in plain:
        shares = np.bincount(frame.ravel(), minlength=top + 1).cumsum() / frame.size
        spread.append(np.rint(shares * top).astype(plain.dtype)[frame])
    return np.stack(spread)


def at_working_size(frames: Array, size: int, channels: int, fit: Fit = "squash") -> Array:
    """``[T, H, W]`` or ``[T, H, W, 3]`` -> ``[T, channels, size, size]``, contiguous, same dtype (uint8 or uint16).

    Colour becomes grey by luma; grey becomes three equal channels.
    :param fit: how a frame fills the square; see ``placement.py``.
    """
    resize = _resize_8 if frames.dtype == np.uint8 else _resize_16
    place = placed(frames.shape[1], frames.shape[2], size, fit)
    small = np.stack([resize(frame, place.inner, channels) for frame in frames])
    if place.inner != (size, size):
        padding = [(at, size - at - length) for at, length in zip(place.offset, place.inner, strict=True)]
        small = np.pad(small, [(0, 0), *padding, *[(0, 0)] * (small.ndim - 3)])
    if small.ndim == 4:
        return np.ascontiguousarray(np.moveaxis(small, -1, 1))
    return np.repeat(small[:, None], channels, axis=1)


def _resize_8(frame: Array, shape: tuple[int, int], channels: int) -> Array:
    image = Image.fromarray(frame)
    if channels == 1 and image.mode != "L":
        image = image.convert("L")
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC))


def _resize_16(frame: Array, shape: tuple[int, int], channels: int) -> Array:
    if frame.ndim == 3 and channels == 1:
        frame = grey(frame)
    if frame.ndim == 3:
        return np.stack([_resize_16(frame[..., c], shape, 1) for c in range(3)], axis=-1)
    deep = Image.fromarray(frame.astype(np.float32)).resize(shape[::-1], Image.Resampling.BICUBIC)
    rounded: Array = np.clip(np.rint(np.asarray(deep)), 0, 65535).astype(np.uint16)
    return rounded
