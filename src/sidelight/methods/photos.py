"""What the methods that learn from two photographs of one lesion share: their settings, the lesions, and their feed."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import deal
from sidelight.errors import ConfigError, nearest
from sidelight.methods.base import MethodBase
from sidelight.methods.settings import PretrainSettings
from sidelight.views.augment import Augment
from sidelight.views.feed import Feed, Integers
from sidelight.views.photos import PhotoLesions, PhotoSource


class PhotoAugment(Augment):
    """How each view of a photograph is changed; stage 1 of the paper, as far as the library's augmentation goes."""

    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    grayscale: float = 0.2
    blur: float = 1.0
    noise: float = 0.0
    jittered: float = 0.8
    blurred: float = 0.5


class PhotoSettings(PretrainSettings):
    """What every method on two photographs understands beside :class:`PretrainSettings`."""

    photographs: tuple[()] | tuple[str, str] = Field(
        ("dermoscopic", "clinical"),
        description="views that pair; () pairs any two photographs of a lesion, views unread",
    )
    unit: str | None = Field(None, description="level whose photographs pair, e.g. lesion; none is the innermost")
    towers: str = Field(
        "separate", pattern="^(separate|shared)$", description="shared: one encoder reads both photographs"
    )
    draws: int = Field(1, ge=1, description="pairs of each lesion in an epoch")
    drop_last: bool = Field(True, description="an epoch leaves out its last incomplete batch")
    mean: float | tuple[float, float, float] | None = Field(
        None, description="normalisation, one number or one per channel; none is the architecture's or the weights' own"
    )
    std: float | tuple[float, float, float] | None = Field(
        None, description="as mean: none is the architecture's or the weights' own"
    )
    augment: PhotoAugment = PhotoAugment()


def find_lesions(
    cohort: Cohort, pixels: Pixels, rows: Integers, photographs: tuple[str, ...], unit: str | None = None
) -> PhotoLesions:
    """The lesions among ``rows`` of the pixel index, with their photographs by view.

    :param photographs: the first and the second view, or () for any two photographs.
    :param unit: the level that is a lesion; none is the innermost.
    :raises ConfigError: for views or a level that are not there.
    """
    unit = unit or cohort.levels[-1]
    if unit not in cohort.levels:
        raise ConfigError(f"Setting unit = {unit!r} is no level of {cohort.name}", do=nearest(unit, cohort.levels))
    positions = pixels.index["position"].to_numpy()[rows]
    views = cohort.items["view"].to_numpy()[positions]
    for view in photographs:
        if view not in views:
            raise ConfigError(
                f"{cohort.name} has no photograph of the view {view!r}; its views are {sorted({*cohort.views} - {''})}",
                do="Name two of them with photographs=[...], or pair any two photographs with photographs=[]",
            )
    frame = pd.DataFrame({"unit": unit_keys(cohort.items, cohort.levels, unit).to_numpy()[positions], "row": rows})
    frame["slot"] = [photographs.index(one) if one in photographs else -1 for one in views] if photographs else 0
    frame = frame[frame["slot"] >= 0]
    owners = pd.factorize(pixels.index["group"])[0]
    found = []
    for _, own in frame.groupby("unit", sort=False):
        first, second = (tuple(own["row"][own["slot"] == slot].tolist()) for slot in (0, 1))
        found.append((min(own["row"]), (first, second)))
    found.sort()
    names = np.array([row for row, _ in found], np.int64)
    return PhotoLesions(names, tuple(slots for _, slots in found), owners[names].astype(np.int64), bool(photographs))


class PhotoMethod(MethodBase):
    """A method whose batches are lesions with up to two photographs."""

    views = 2

    @classmethod
    def needs(cls, cohort: Cohort) -> str:
        """Lesions with two photographs."""
        if not cohort.levels:
            return "a level, e.g. lesion, that says which photographs show the same"
        if cohort.items.groupby(unit_keys(cohort.items, cohort.levels, cohort.levels[-1])).size().max() < 2:
            return f"a {cohort.levels[-1]} with two photographs"
        return ""

    def lesions(self, pixels: Pixels, rows: Integers) -> PhotoLesions:
        """The lesions among ``rows`` of the pixel index; :raises ConfigError: for views or a level that are not there."""
        assert self.source is not None
        return find_lesions(self.source.cohort, pixels, rows, self.settings.photographs, self.settings.unit)

    def extra_rows(self, pixels: Pixels, rows: Integers) -> Integers:
        """Those of ``rows`` that are shown beside the training batches: none."""
        return rows[:0]

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """Lesions for the loop, of the rows of ``pixels.index`` that may be used (None: all); validation is whole patients."""
        s = self.settings
        rows = np.arange(len(pixels.index), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
        lesions, owners = self.lesions(pixels, rows), pixels.index["group"].to_numpy()
        extra = self.extra_rows(pixels, rows)
        kept_out = np.isin(owners[lesions.rows], owners[extra])
        dealt = deal(
            np.flatnonzero(~kept_out), lesions.groups[~kept_out], {"valid": s.valid_fraction}, seed=s.seed,
            least=self.least_groups,
        )  # fmt: skip
        shown = {role: lesions.take(chosen) for role, chosen in dealt.items()}
        if len(extra):  # of the patients that are kept out only the items that are to be shown
            shown["extra"] = self.lesions(pixels, extra)
        sources = {
            role: PhotoSource(
                pixels,
                chosen,
                s.augment,
                s.seed,
                size=s.image_size,
                views=self.views,
                broken=s.shuffle_pairs,
            )
            for role, chosen in shown.items()
            if len(chosen.rows)
        }
        named = {role: chosen.rows for role, chosen in shown.items()}
        return Feed.of(named, sources, draws=s.draws, pixels=pixels, secret=secret, drop_last=s.drop_last)


def photo_roles(settings: Any) -> tuple[str, str]:
    """What the towers of the first and the second photograph are called: as their views are.

    The first of other views than a dermoscopic one is the run's image tower, and so is one that reads both.
    """
    if settings.towers == "shared":
        return "image", "image"
    first, second = settings.photographs or ("image", "second")
    return first if first == "dermoscopic" else "image", second
