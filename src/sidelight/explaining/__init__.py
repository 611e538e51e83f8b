"""What a run learnt, in pictures, and a score for them where the truth is known; one file per method.

In comes a run with its cohort, or a method that has just been trained; out go parts of a page, or files in the run folder.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidelight.explaining.content import Explainer

if TYPE_CHECKING:  # a report is made without torch
    from sidelight.views.feed import Feed


class Shown(NamedTuple):
    """Where the functions stand that show a method: one explains its runs, one keeps what their report shows; "" is none."""

    explain: str = ""
    keep: str = "sidelight.explaining.pairs:keep"


PHOTO_PAIRS = "sidelight.explaining.photo_pairs"
SHOWN: dict[str, Shown] = {
    "sslm": Shown("sidelight.explaining.sslm:explain"),
    "lovt": Shown("sidelight.explaining.reports:explain", ""),
    "clip": Shown("sidelight.explaining.reports:explain", ""),
    "convirt": Shown("sidelight.explaining.reports:explain", ""),
    "local_sigmoid": Shown("sidelight.explaining.reports:explain", ""),
    "sm3": Shown("sidelight.explaining.sm3:explain", f"{PHOTO_PAIRS}:keep"),
    "sm3_labels": Shown("sidelight.explaining.sm3:explain", f"{PHOTO_PAIRS}:keep_labels"),
    "slimp": Shown("sidelight.explaining.slimp:explain", ""),
}
"""Every other method is explained by its nearest neighbours alone, and its report shows pairs of frames if it has them."""


def load_explainer(method: str) -> Explainer | None:
    """The function that explains runs of ``method`` beyond their nearest neighbours, if there is one."""
    found: Explainer | None = _load(SHOWN.get(method, Shown()).explain)
    return found


def keep(name: str, method: Any, feed: "Feed", folder: Path, *, pictures: bool) -> None:
    """Write into the run ``folder`` what its report shows of the trained ``method`` (called ``name``) and its views.

    :param pictures: whether pictures of the data may be kept; without them numbers alone, of which none identifies.
    """
    write = _load(SHOWN.get(name, Shown()).keep)
    if write is not None:
        write(method, feed, folder, pictures=pictures)


def _load(place: str) -> Any:
    """``module:function``; None for ""."""
    if not place:
        return None
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
