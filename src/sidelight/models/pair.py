"""Two image encoders that read the two photographs of a unit, each its own."""

from torch import Tensor, nn

from sidelight.models.image import Encoder
from sidelight.models.labels import LabelRelations


class PhotoPair(nn.Module):
    """The encoders of the first and the second photograph; one and the same module where one reads both.

    A unit is read as [f_1; f_2], float [N, D_1 + D_2].

    :ivar views: which view is the first and which the second; () is any two photographs.
    :ivar start: the label-relation net of SM3's second stage, from which a label-relation head may start.
    """

    def __init__(
        self, first: Encoder, second: Encoder, views: tuple[str, ...] = (), start: LabelRelations | None = None
    ) -> None:
        super().__init__()
        self.first, self.second, self.views, self.start = first, second, views, start

    @property
    def both(self) -> tuple[Encoder, Encoder]:
        """First and second."""
        return self.first, self.second

    @property
    def shared(self) -> bool:
        """Whether one encoder reads both."""
        return self.first is self.second

    @property
    def mean(self) -> Tensor:
        """The first encoder's; for its device."""
        return self.first.mean

    @property
    def name(self) -> str:
        """Their architecture, and that there are two."""
        return self.first.name if self.shared else f"{self.first.name} + {self.second.name}"

    @property
    def channels(self) -> int:
        """Of the first, as of the second."""
        return self.first.channels

    @property
    def image_size(self) -> int:
        """Side in pixels of the larger input."""
        return max(one.image_size for one in self.both)

    @property
    def dim(self) -> int:
        """Numbers of both features."""
        return sum(one.dim for one in self.both)
