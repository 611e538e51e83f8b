"""Where a phrase points: cosines of an image's regions and phrases, in a space that images and reports share."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidelight.errors import ConfigError
from sidelight.models.joint import Alignment, Joint

Space = Literal["whole", "local"]
"""Of regions and phrases:

- ``whole``: each region pooled and projected as if it were a whole image, the phrase as a whole report (dense CLIP features, Zhou
  et al., ECCV 2022). Every method on reports learns this space, LoVT too.
- ``local``: LoVT's projected regions z^I, and the phrase as its cross-attention writes it into a region, z^{R->I} of a report of
  this one sentence: what its local loss compares. A region and a projected sentence z^R are nowhere compared in its training.
  Without cross-attention (``local_sigmoid``) the phrase is z^R, which is what regions were compared with.
"""


class PhraseMaps(nn.Module):
    """The last feature map of images to maps of phrases.

    :ivar vectors: buffer float32 [K, D], of each class the mean of its phrases' vectors of length 1, so that a map is the mean of
        the phrases' cosines; ``mean`` float32 [K, h, w], taken from every map (of all zeros: nothing is).
    """

    vectors: Tensor
    mean: Tensor

    def __init__(self, alignment: Alignment, space: Space, vectors: Tensor, mean: Tensor | None = None) -> None:
        """:raises ConfigError: for the local space of a run that has none."""
        super().__init__()
        check_space(alignment, space)
        self.alignment, self.space = alignment.eval(), space
        self.register_buffer("vectors", vectors)
        self.register_buffer("mean", torch.zeros(len(vectors), 1, 1) if mean is None else mean)

    @torch.no_grad()
    def regions(self, last: Tensor) -> Tensor:
        """Vectors of length 1, [N, D, h, w], of the last feature map [N, C, h, w]."""
        regions, side = last.flatten(2).mT, self.alignment.image
        every = torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)
        if self.space == "whole":
            found = side.alone(regions, side.pool(regions, every)[0])
        else:
            assert side.local is not None
            found = F.normalize(side.local(regions, every).float(), dim=-1)
        return found.mT.reshape(len(last), -1, *last.shape[2:])

    def coarse(self, last: Tensor) -> Tensor:
        """Cosines [N, K, h, w] of the last feature map [N, C, h, w]."""
        return torch.einsum("ndhw,kd->nkhw", self.regions(last), self.vectors)

    def forward(self, last: Tensor, size: int) -> Tensor:
        """Maps [N, K, size, size]."""
        return enlarged(self.coarse(last) - self.mean, size)


def enlarged(maps: Tensor, size: int) -> Tensor:
    """Maps [N, K, h, w] as [N, K, size, size], bilinearly."""
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


@torch.no_grad()
def phrase_vectors(joint: Joint, phrases: Sequence[Sequence[str]], space: Space) -> Tensor:
    """Of each class the mean of its phrases' vectors of length 1, float32 [K, D]; each phrase is a report of one sentence.

    :raises ConfigError: for the local space of a run that has none.
    """
    check_space(joint.alignment, space)
    device = next(joint.alignment.parameters()).device
    tokens = joint.reports.to(device).tokens([[one] for own in phrases for one in own]).to(device)
    sentences, mask, side = joint.reports(tokens), tokens.mask, joint.alignment.report
    if space == "whole":
        found = side(sentences, mask).whole
    else:
        attention = joint.alignment.attention
        assert side.local is not None
        found = side.local(sentences, mask)
        found = (found if attention is None else attention.norm(attention.out(attention.value(found))))[:, 0]
    each = torch.split(F.normalize(found.float(), dim=-1), [len(own) for own in phrases])
    return torch.stack([own.mean(0) for own in each])


def check_space(alignment: Alignment, space: Space) -> None:
    """:raises ConfigError: for the local space of a run that has none."""
    if space == "local" and alignment.image.local is None:
        raise ConfigError(
            "This run has no local space of regions and sentences", expected="a run of lovt or local_sigmoid"
        )
