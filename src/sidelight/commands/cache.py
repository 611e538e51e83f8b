"""cache: list the decoded pixels that are kept of a cohort, or delete those of a patient."""

from pathlib import Path

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import verify as verified
from sidelight.data.pixels.forget import caches, forget_all, forget_patient


def cache(
    data: str | Path,
    *,
    preset: str | None = None,
    allow_outside: bool = False,
    cohort_file: str | Path | None = None,
    forget: str | None = None,
    forget_everybody: bool = False,
    verify: bool = False,
    folder: str | Path | None = None,
) -> list[str]:
    """Sentences on what was deleted, if anything was to be, and on what is kept.

    :param forget: delete this patient's pixels, and the features stored beside them.
    :param forget_everybody: delete every cache of the cohort.
    :param verify: compare all pixels with the digests that were stored with them; damaged files are deleted.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param folder: of the caches, where it is not the data's own.
    """
    place, lines = Path(folder) if folder else None, []
    cohort = Cohort.open(data, preset=preset, labels=False, cohort_file=cohort_file, allow_outside=allow_outside)
    if forget_everybody or forget is not None:
        freed = forget_all(cohort, place) if forget_everybody else forget_patient(cohort, forget or "", place)
        lines.append(f"{freed:,} bytes of pixels and features are deleted; source files, runs and results stay")
        sheet = cohort.root / ".sidelight" / "contact.html"
        if sheet.exists():
            lines.append(f"{sheet} may still show the patient: delete it, or draw it again with `sidelight init`")
    if verify:
        lines += verified(cohort, place)
    found = caches(cohort, place)
    total = sum(one.pixels + one.features for one in found)
    return [
        *lines,
        *(str(one) for one in found),
        f"{len(found)} caches, {total:,} bytes" if found else "No decoded pixels are kept of this cohort",
    ]
