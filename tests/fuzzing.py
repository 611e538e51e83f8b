"""Files that somebody broke: mutants of small seeds, and what each reader makes of them.

A reader may read a mutant or refuse it with an error of sidelight; anything else it raises is a defect, as is taking more than
``SECONDS``. Mutants are a function of the seed's bytes and a number, so that a defect is found again by its name.
"""

import re
import shutil
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.tables import read_table
from sidelight.data.pixels import shards
from sidelight.data.read import read_files
from sidelight.data.read.room import Ask, Room
from sidelight.data.reports.reports import read_reports
from sidelight.errors import MissingExtra, SidelightError
from sidelight.evaluation.model.model import read_model
from sidelight.models.image import load_encoder
from sidelight.train.run import Run

SEEDS = Path(__file__).parent / "fuzz" / "seeds"
SECONDS = 10
ROOM = 1 << 30
TELLING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000, 0x40000000)
WORDS = (
    "nan",
    "1e999",
    "-1",
    "0",
    "null",
    "[]",
    "{}",
    '"x"',
    "[[[[",
    "99999999999999999999",
    "hf-hub:a/b",
    "../x",
    "\0",
    "\ud800",
)


def mutant(raw: bytes, number: int) -> bytes:
    """The mutant ``number`` of a seed: one to four changes, each to a few bytes, or a word of a text for another."""
    rng = np.random.default_rng([number, len(raw)])
    data = bytearray(raw)
    for _ in range(int(rng.integers(1, 5))):
        data = bytearray(_changed(data, rng)) if data else data
    return bytes(data)


def _changed(data: bytearray, rng: np.random.Generator) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 1 + min(64, len(data))))
    kind = int(rng.integers(8))
    if kind == 0:  # a bit
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:  # random bytes in place of others
        data[at : at + length] = rng.bytes(len(data[at : at + length]))
    elif kind == 2:  # a telling number
        value, size = TELLING[int(rng.integers(len(TELLING)))], int(rng.choice([1, 2, 4]))
        data[at : at + size] = struct.pack(rng.choice(["<", ">"]) + "I", value)[:size]
    elif kind == 3:  # cut off
        del data[at:]
    elif kind == 4:  # a part gone
        del data[at : at + length]
    elif kind == 5:  # a part twice
        data[at:at] = data[at : at + length]
    elif kind == 6:  # something between
        data[at:at] = rng.bytes(length)
    else:  # one word of a text for another
        found = list(re.finditer(rb"[\w.+-]+", bytes(data[max(0, at - 200) : at + 200])))
        if found:
            word, place = found[int(rng.integers(len(found)))], max(0, at - 200)
            other = WORDS[int(rng.integers(len(WORDS)))].encode("utf-8", errors="surrogatepass")
            data[place + word.start() : place + word.end()] = other
    return bytes(data)


def _frames(path: Path) -> None:
    clip = read_files([path], max_frames=8, target=32, ask=Ask(Room(ROOM)))
    count = len(clip.frames)
    assert clip.frames.dtype in (np.uint8, np.uint16) and clip.frames.ndim in (3, 4) and clip.length >= count
    assert len(clip.times) == len(clip.indices) == count and (np.diff(clip.times) >= 0).all()


def _table(path: Path) -> None:
    table = read_table(path)
    assert all(isinstance(cell, str) for cell in table.iloc[:3].to_numpy().ravel())


def _reports(path: Path) -> None:
    read_reports(_cohort(path, '[report]\nfiles = "seed.zip::{patient}.txt"\n'), max_bad_fraction=1.0)


def _toml(path: Path) -> None:
    _cohort(path, "")


def _cohort(path: Path, toml: str) -> Cohort:
    """Two items beside ``path``; with no ``toml`` that is the cohort file itself."""
    for name in ("a", "b"):
        (path.parent / name).mkdir(exist_ok=True)
        (path.parent / name / "1.png").touch()
    (path.parent / "t.csv").write_text("patient,label\na,x\nb,y\n")
    if toml:
        path.with_name("cohort.toml").write_text(f'files = "{{patient}}/{{n}}.png"\nlevels = ["patient"]\n{toml}')
    return Cohort.open(path.parent)


def _in_folder(name: str, read: Callable[[Path], object]) -> Callable[[Path], None]:
    """Reads the whole folder of seeds ``name``, of which one file is the mutant."""

    def one(path: Path) -> None:
        for other in (SEEDS / name).iterdir():
            if other.name != path.name:
                shutil.copy(other, path.parent / other.name)
        read(path.parent)

    return one


def _tower(path: Path) -> None:
    load_encoder(path)


def _cache(folder: Path) -> None:
    shards.load(folder)


def _model(folder: Path) -> None:
    (folder / "towers").mkdir(exist_ok=True)
    shutil.copy(SEEDS / "tower" / "image.safetensors", folder / "towers" / "image.safetensors")
    read_model(folder)


def _run(folder: Path) -> None:
    run = Run(folder)
    assert run.config and run.summary
    run.metrics()
    run.split()


READERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("still", "dicom", "volume", "metaimage", "array", "hdf5", "video"), _frames),
    **dict.fromkeys(("csv", "excel", "parquet"), _table),
    "reports": _reports,
    "toml": _toml,
    "tower": _tower,
    "model": _in_folder("model", _model),
    "run": _in_folder("run", _run),
    "cache": _in_folder("cache", _cache),
}
"""By the name of their folder of seeds."""


@dataclass
class Outcome:
    """How many mutants were read, refused, or did what they must not, with their names."""

    counts: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


def fuzz(reader: str, mutants: int, folder: Path, *, first: int = 0) -> Outcome:
    """Hand the mutants of all seeds of a reader to it, in turn.

    :param folder: an empty one, to put them into.
    """
    seeds, found = sorted((SEEDS / reader).iterdir()), Outcome()
    for number in range(first, first + mutants):
        seed = seeds[number % len(seeds)]
        path = folder / seed.name
        path.write_bytes(mutant(seed.read_bytes(), number))
        kind = _tried(READERS[reader], path)
        found.counts[kind.partition(":")[0]] += 1
        if kind not in ("read", "refused"):
            found.defects.append(f"{reader} {seed.name} {number}: {kind}")
    return found


def reads(reader: str, seed: Path, folder: Path) -> None:
    """Hand a seed as it is to its reader; raises what that raises."""
    READERS[reader](Path(shutil.copy(seed, folder / seed.name)))


def _tried(read: Callable[[Path], None], path: Path) -> str:
    try:
        with alarm(SECONDS):
            read(path)
    except MissingExtra:
        raise
    except SidelightError as error:
        return "memory" if "more memory than there is" in str(error) else "refused"
    except TimeoutError:
        return "hang"
    except MemoryError:
        return "memory"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split())[:150]}"
    return "read"


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after so long; in the main thread of a POSIX system."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
