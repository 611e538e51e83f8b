"""Which pixel caches a cohort has, how large they are, and how a patient leaves them.

A cohort has one cache per recipe (size, channels, frames) and selection of items. All of them lie in
``DATA/.sidelight/cache``, or in a folder of the user's choice beside those of other cohorts: there a cohort's own are told
by the digest of its folder in their headers.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sidelight.config import digest
from sidelight.data import identity
from sidelight.data.cells import normalise, owners
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import hashed_tag, outermost
from sidelight.data.dicom.header_cache import forget_headers
from sidelight.data.pixels import shards
from sidelight.errors import DataError, nearest


@dataclass(frozen=True)
class StoredCache:
    """One cache: its recipe and what lies in it.

    :ivar max_frames: frames that are kept of a clip, at most.
    :ivar patients: units of the outermost ``level``; items where the cohort has no levels.
    :ivar pixels: bytes of decoded pixels; ``features`` of what was computed from them and is kept beside them.
    """

    folder: Path
    size: int
    channels: int
    max_frames: int
    items: int
    patients: int
    level: str
    pixels: int
    features: int

    def __str__(self) -> str:
        return (
            f"{self.size} x {self.size}, {self.channels} channel{'s' * (self.channels > 1)}, up to {self.max_frames} "
            f"frames: {self.items} items of {self.patients} {owners(self.level)}, {megabytes(self.pixels)} of pixels, "
            f"{megabytes(self.features)} of features, in {self.folder}"
        )


def cache_folder(cohort: Cohort, folder: Path | None = None) -> Path:
    """Where the caches of a cohort lie: ``folder``, or the data's own; of phantoms the user's cache folder."""
    if folder is not None:
        return Path(folder)
    if cohort.phantom is not None:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sidelight"
    return cohort.root / ".sidelight" / "cache"


def caches(cohort: Cohort, folder: Path | None = None) -> list[StoredCache]:
    """Every cache of ``cohort``, the smallest pictures first.

    :param folder: the one that ``--cache`` named.
    """
    return sorted(
        (_stored(home, cohort) for home in _homes(cohort, folder)), key=lambda one: (one.size, str(one.folder))
    )


def forget_patient(cohort: Cohort, patient: str, folder: Path | None = None) -> int:
    """Delete a patient's pixels from every cache of ``cohort``, and the features stored there, which hold this patient's too.

    What was learnt and measured already stays, as do the source files: as long as they are part of the cohort, the next
    build decodes them again.

    :param patient: its own id, as it stands in the files or tables; without levels an item.
    :returns: bytes that were deleted.
    :raises DataError: for a patient who is neither in the cohort nor in a cache; it names the nearest.
    """
    homes = _homes(cohort, folder)
    known = set(cohort.items["group"])
    names = [name for name in _spellings(cohort, patient) if name in known or any(_holds(one, name) for one in homes)]
    if not names:
        hashed = _hashed(cohort)
        raise DataError(
            f"{cohort.name} has no patient {patient!r}, and its pixel caches hold none",
            do=f"Give the {hashed} as it stands in the DICOM files" if hashed else nearest(patient, known, most=3),
        )
    if cohort.phantom is None:
        forget_headers(cohort.root)
    before = sum(_bytes(home) for home in homes)
    for home in homes:
        for name in names:
            shards.forget(home, name)
    return before - sum(_bytes(home) for home in homes)


def forget_all(cohort: Cohort, folder: Path | None = None) -> int:
    """Delete every cache of ``cohort``; returns the bytes that were deleted."""
    freed = 0
    if cohort.phantom is None:
        forget_headers(cohort.root)
    for home in _homes(cohort, folder):
        freed += _bytes(home)
        shutil.rmtree(home)
    return freed


def cohort_digest(cohort: Cohort) -> str:
    """What tells the caches of one cohort from those of others: a digest of its folder, or of the phantom."""
    return digest(str(cohort.root.resolve()) if cohort.phantom is None else cohort.hash)


def _homes(cohort: Cohort, folder: Path | None) -> list[Path]:
    """The folders of the cohort's caches; all that lie in the data's own folder are."""
    found = sorted(path.parent for path in cache_folder(cohort, folder).glob(f"*/{shards.HEADER}"))
    if folder is None and cohort.phantom is None:
        return found
    return [home for home in found if shards.load(home)[0].get("root") == cohort_digest(cohort)]


def _stored(home: Path, cohort: Cohort) -> StoredCache:
    header, rows = shards.load(home)
    recipe = {name: int(header.get(name, 0)) for name in ("size", "channels", "max_frames")}
    patients = {row["shard"].partition(".")[0] for row in rows.values()}
    pixels = sum(path.stat().st_size for path in home.glob("*.bin"))
    features = sum(_bytes(path) for path in home.iterdir() if path.is_dir())
    return StoredCache(
        home,
        **recipe,
        items=len(rows),
        patients=len(patients),
        level=outermost(cohort),
        pixels=pixels,
        features=features,
    )


def _bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def _holds(home: Path, group: str) -> bool:
    salt = shards.load(home)[0].get("salt")
    return salt is not None and any(home.glob(f"{shards.hashed(salt, group)}.*.bin"))


def _spellings(cohort: Cohort, patient: str) -> list[str]:
    """What the items may call the patient: the id as it is, as cells spell it, or hashed as in DICOM headers."""
    plain = list(dict.fromkeys([patient, normalise(patient)]))
    return [identity.value_hash(name, identity.values_key(cohort.root)) for name in plain] if _hashed(cohort) else plain


def _hashed(cohort: Cohort) -> str:
    """The DICOM tag that the outermost level is the hash of, or ""."""
    return hashed_tag(cohort, outermost(cohort))


def megabytes(count: int) -> str:
    """``0.3 MB``."""
    return f"{count / 1e6:,.1f} MB"
