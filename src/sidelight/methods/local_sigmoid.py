r"""Regions and sentences by a sigmoid: of every image and every sentence of a batch it is asked whether they belong together.

A rival of LoVT's local losses, which contrast regions and sentences inside one study. Here a sentence of report j pools the
regions of any image i that are like it, by attention, and the cosine c_ij of both is the answer
(:func:`sidelight.losses.local_sigmoid.attended_cosines`). Each pair is a question of its own (Zhai, Mustafa, Kolesnikov, Beyer:
Sigmoid Loss for Language Image Pre-Training, ICCV 2023), with a learnt temperature 1/t and bias b:

    L = gamma L_global + mu (-1/T sum_ij log sigmoid( z_ij (t c_ij + b) )),    z = 1 of a sentence's own image, else -1.

Beside it images and reports are contrasted as a whole, as by LoVT, CLIP and ConVIRT. Not asked about are images whose own report
says the very same sentence, as "No effusion." is true of many, and those that ``repel`` spares.

Not from a paper: regions in place of whole images, the attention and its temperature, and every number but those that t and b
begin with (10 and -10).

Limits
    Sentences that say the same in other words are still negatives of each other's images. All pairs of a batch are asked about,
    over all processes: memory grows with images x sentences x regions. There is no attention from regions to sentences.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from sidelight.losses.local_sigmoid import attended_cosines, pair_sigmoid
from sidelight.methods.base import Gather
from sidelight.methods.contrast import check_learnt_temperature, contrast_groups
from sidelight.methods.reports import ReportMethod, ReportSettings, lengthened
from sidelight.methods.settings import PretrainSettings
from sidelight.models.joint import Aligned
from sidelight.models.text import Tokens
from sidelight.views.reports import StudyBatch


class LocalSigmoidSettings(ReportSettings):
    """Settings of :class:`LocalSigmoid`."""

    local_weight: float = Field(1.0, ge=0, description="of the loss of regions and sentences, mu")
    local_temperature: float = Field(0.1, gt=0, description="what 1 / t begins with; it is learnt")
    local_bias: float = Field(-10.0, description="what b begins with; it is learnt")
    attend_temperature: float = Field(0.1, gt=0, description="of a sentence's attention to regions")


class LocalSigmoid(ReportMethod):
    """Radiographs and their reports: each sentence belongs to its image and to no other, by the regions it attends to."""

    Settings: ClassVar[type[PretrainSettings]] = LocalSigmoidSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}}
    TELLING = ("temperature", "repel", "attend_temperature")

    def build_heads(self) -> None:
        """Also temperature and bias."""
        super().build_heads()
        check_learnt_temperature(self.settings.local_temperature, self.settings.max_scale)
        self.log_local_temperature = nn.Parameter(torch.tensor(self.settings.local_temperature).log())
        self.local_bias = nn.Parameter(torch.tensor(self.settings.local_bias))

    def learnt_temperatures(self) -> dict[str, nn.Parameter]:
        """Also the local one."""
        return super().learnt_temperatures() | {"local_temperature": self.log_local_temperature}

    def before_step(self, step: int, total: int) -> dict[str, float]:
        """For the log also the bias."""
        return super().before_step(step, total) | {"local_bias": self.local_bias.item()}

    def local_shape(self, regions: int) -> dict[str, Any]:
        """Projections of ``regions`` regions, without cross-attention."""
        return {"local": True, "attend": "none", "regions": regions}

    def kept(self, found: Aligned, group: Tensor) -> tuple[Tensor, ...]:
        """Regions [n, K, D] and sentences [n, M, D]."""
        assert found.image.local is not None and found.report.local is not None
        return found.image.local, found.report.local

    def batch_loss(self, batch: StudyBatch, kept: list[Tensor], gather: Gather) -> Tensor:
        """The sigmoid loss over all images and sentences of all processes."""
        s = self.settings
        regions, sentences = gather(kept[0]), gathered(kept[1], gather)
        tokens = Tokens(gathered(batch.tokens.ids, gather), gathered(batch.tokens.sentence, gather, -2))
        mask, texts = tokens.mask, tokens.texts
        owners = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)[mask]
        known = ~(texts[:, :, None] == texts[mask]).any(1)  # [N, T]: the image's own report does not say the same
        groups = contrast_groups(s.repel, item=gather(batch.study), patient=gather(batch.group))
        if groups is not None:
            known = known & (groups[:, None] != groups[owners])
        found = pair_sigmoid(
            attended_cosines(regions, sentences[mask], temperature=s.attend_temperature),
            owners,
            scale=(-self.log_local_temperature).exp(),
            bias=self.local_bias,
            known=known,
        )
        weighed: Tensor = s.local_weight * found
        return weighed


def gathered(rows: Tensor, gather: Gather, value: int = 0) -> Tensor:
    """Rows [n, M, ...] of this process to those of all, [N, longest M, ...], with ``value`` behind shorter ones."""
    longest = int(gather(torch.tensor([rows.shape[1]], device=rows.device)).max())
    return gather(lengthened(rows, longest, value))
