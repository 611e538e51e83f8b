"""Folders and files that devices and viewers put among images: recycle bins, thumbnails, previews. They are no data."""

import re
from collections import Counter
from collections.abc import Iterable

from sidelight.data.cells import counted, listed

FOLDERS = (
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb", "@sharebin", "$recycle.bin"),
    *("recycler", "system volume information", "__macosx", "lost+found", "network trash folder", "temporary items"),
    *("thumbnails", "thumbnail", "thumbs", "previews", "preview", "synophoto_thumbs"),
)
_FILES = re.compile(r"(?:.*[_\-. ])?(?:thumbs?|thumbnails?|previews?)(?:[_\-. ]?\d+)?\.\w+", re.IGNORECASE)


def is_rubbish(name: str, *, folder: bool = False, asked: str = "") -> bool:
    """Whether a folder or file is called like rubbish, and ``asked`` (file patterns) does not name such things itself."""
    if folder:
        return name.casefold() in FOLDERS and name.casefold() not in asked.casefold()
    return _FILES.fullmatch(name) is not None and re.search("thumb|preview", asked, re.IGNORECASE) is None


def passed_over(names: Iterable[str]) -> str:
    """``12 folders @eaDir and 3 thumbnails or previews``; "" for nothing. A folder's name ends in a slash, a link's in an @."""
    names = list(names)
    links = [name[:-1] for name in names if name.endswith("@")]
    counts = Counter(name[:-1] if name.endswith("/") else "" for name in names if not name.endswith("@"))
    said = [f"{count} folder{'s' * (count > 1)} {name}" for name, count in counts.items() if name]
    said += [f"{counts['']} thumbnail{'s' * (counts[''] > 1)} or preview{'s' * (counts[''] > 1)}"] if counts[""] else []
    said += [f"{counted(len(links), 'link')} to folders that are read already ({listed(links)})"] if links else []
    return " and ".join(said)
