"""What the methods that learn from clips share: their settings, which clips play which role, and their feed."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import deal
from sidelight.methods.base import MethodBase
from sidelight.methods.contrast import ContrastSettings
from sidelight.methods.settings import PretrainSettings
from sidelight.views.augment import Augment
from sidelight.views.clips import PairRecipe, PairSource
from sidelight.views.feed import Feed, Integers


class ClipSettings(PretrainSettings, PairRecipe):
    """What every method on clips understands beside :class:`PretrainSettings`; how pairs are made among it."""

    pairs_per_clip: int = Field(4, ge=1, description="pairs of each clip in an epoch")
    channels: Literal[1, 3] | None = Field(None, description="channels of the encoder; none is what the data have")
    mean: float | None = Field(
        None, description="normalisation of all channels; none is the architecture's or the weights' own"
    )
    std: float | None = Field(None, gt=0, description="as mean")
    augment: Augment = Augment()


class ClipContrastSettings(ClipSettings, ContrastSettings):
    """What every contrast of clips understands beside :class:`ClipSettings`."""

    projection: int = Field(128, ge=2, description="width of the projection in which the pairs are compared")


class ClipMethod(MethodBase):
    """A method whose batches are pairs of frames."""

    Settings: ClassVar[type[PretrainSettings]] = ClipSettings

    def weigh(self, left: Tensor, right: Tensor, gap: Tensor, max_gap: Tensor) -> Tensor | None:
        """Weights [N] of pairs by their features [N,D] and distances [N]; None where all pairs count the same."""
        return None

    def recipe(self, role: str) -> PairRecipe:
        """How the pairs of ``role`` ("train", "valid" or "extra") are made."""
        recipe: PairRecipe = self.settings
        return recipe

    def augmentation(self, role: str) -> Augment | tuple[Augment, Augment]:
        """How the views of ``role`` are changed; two recipes are of the left and of the right view."""
        recipe: Augment = self.settings.augment
        return recipe

    def roles(self, rows: Integers, groups: NDArray[Any]) -> dict[str, Integers]:
        """Which of ``rows`` train, which give the validation loss ("valid"), which come beside the batch ("extra")."""
        s = self.settings
        return deal(rows, groups, {"valid": s.valid_fraction}, seed=s.seed, least=self.least_groups)

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """Pairs of frames for the loop, of the rows of ``pixels.index`` that may be used (None: all).

        :param secret: the cohort's key, under which items are named in logs.
        """
        s = self.settings
        rows = np.arange(len(pixels.index), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
        roles = self.roles(rows, pixels.index["group"].to_numpy()[rows])
        sources = {
            role: PairSource(
                pixels,
                self.recipe(role),
                self.augmentation(role),
                s.seed,
                size=s.image_size,
                broken=s.shuffle_pairs and role != "extra",
                pool=chosen,
            )
            for role, chosen in roles.items()
            if len(chosen)
        }
        return Feed.of(roles, sources, draws=s.pairs_per_clip, pixels=pixels, secret=secret)
