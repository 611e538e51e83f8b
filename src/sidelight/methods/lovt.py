r"""LoVT: an image beside its report, and inside each pair regions beside sentences.

Mueller, Kaissis, Zou, Rueckert: Joint Learning of Localized Representations from Medical Images and Reports (ECCV 2022).

The image encoder gives regions y^I, the report encoder sentence vectors y^R. Attention pooling makes a vector of each whole
and, on the way, a weight w of each region and sentence. Projections lead to z^I, z^R and, of the wholes, to Z^I, Z^R. A
cross-attention with shared matrices writes each region as a mix of sentences, z^{R->I}, and each sentence as a mix of regions,
z^{I->R}. With the losses of :mod:`sidelight.losses.alignment`,

    L = gamma L_global(Z^I, Z^R) + mu/2 (L^{l2att} + L^{att2l})(z^I, z^{R->I}) + nu/2 (L^{l2att} + L^{att2l})(z^R, z^{I->R}):

wholes are told from those of other studies, regions (with soft spatial targets) and sentences from others of the same study. Only
the image encoder is used downstream; the others stay in the run for retrieval, zero-shot scores and heat maps.

The paper's ablations are settings: ``global_weight=0``, ``image_weight=0``, ``report_weight=0``, ``local_weights=uniform``,
``image_pool=mean report_pool=max``, ``decay=0``, ``sentences=one``; CLIP and ConVIRT are methods of their own beside it.

Deviations from the paper
    Profile ``paper`` keeps its batch of 32 x 16, in which contrast and batch statistics see 32, its cosine wave, its padding and
    its validation by one view. It takes the best of 100 epochs by the validation loss, without early stopping; bf16 where the
    device has it, in place of scaled fp16; images are squashed to a square, not padded; rotation comes after the colours, and
    blur is a tent filter with a deviation uniform from 0 to 3 px; AdamW leaves biases and norms without decay.
    Profile ``default`` divides means by the number of valid sentences and keeps padding out of batch statistics, does not mirror
    images (reports name sides), lets studies of one patient not repel each other, and is narrower. Its sentences attend to
    regions in the space of the wholes: u_k is a region pooled and projected as if it were an image, v_m a sentence as if it were
    a report, both of length 1, U_k the mean of u_k over images; the logits are (u_k - U_k) . v_m / tau, without gradient. Regions
    attend to sentences by that plus the published key (``attend=shared``; ``own`` is the published key alone, both ways).
Limits
    The soft target is nearly flat (at 7 x 7 its loss lies between 3.525 and 3.892, and perfect one-to-one alignment costs 4.200):
    the regions' loss asks for smoothness, the sentences' for meaning. The published attention is routing: any fixed code of
    sentences by places meets the local losses, so that nothing makes a sentence look where its finding is
    (``benchmarks/chest_phantom.py`` measures both). Either attention says where values are taken from, which is no proof of
    evidence. Over several processes the wholes are contrasted over all; local negatives of the batch, mean images, and batch
    statistics on the CPU, are its own.
"""

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidelight.errors import ConfigError
from sidelight.losses import local_alignment, spatial_targets
from sidelight.methods.contrast import check_learnt_temperature
from sidelight.methods.reports import AUTHORS, ReportMethod, ReportSettings
from sidelight.methods.settings import PretrainSettings
from sidelight.models.joint import Aligned

TERMS = ("image_l2att", "image_att2l", "report_l2att", "report_att2l")


class LoVTSettings(ReportSettings):
    """Settings of :class:`LoVT`."""

    image_weight: float = Field(0.75, ge=0, description="mu, of the mean of both directions")
    report_weight: float = Field(0.75, ge=0, description="nu, of the mean of both directions")
    local_temperature: float = Field(0.3, gt=0, description="of the contrast of regions and sentences")
    local_weights: Literal["attention", "uniform"] = Field(
        "attention", description="how much each region and sentence counts"
    )
    attend: Literal["shared", "own"] = Field(
        "shared",
        description="by what sentences attend to regions: nearness in the shared space beyond the mean image's, or a key of "
        "their own, as published (and without a global loss)",
    )
    negatives: Literal["sample", "batch"] = Field(
        "sample", description="of regions and sentences: those of the same study, or all"
    )
    threshold: float = Field(0.5, ge=0, description="of the distance up to which regions are one place, T")
    decay: float = Field(1.0, ge=0, description="of the soft spatial target, 1 / beta")

    @model_validator(mode="after")
    def _sees_all_negatives(self) -> Self:
        if self.negatives == "batch" and self.encode_at_once is not None and self.encode_at_once < self.batch_size:
            raise ConfigError(
                "negatives = 'batch' with encode_at_once: regions and sentences would meet those of their own piece alone",
                do="Set negatives=sample, or leave encode_at_once",
            )
        return self


class LoVT(ReportMethod):
    """Radiographs and their reports: wholes across studies, regions and sentences inside each."""

    Settings: ClassVar[type[PretrainSettings]] = LoVTSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}, "paper": {**AUTHORS, "attend": "own"}}

    def build_heads(self) -> None:
        """Also the local temperature, where it is learnt."""
        super().build_heads()
        self.log_local_temperature: nn.Parameter | None = None
        if self.settings.learn_temperature:
            check_learnt_temperature(self.settings.local_temperature, self.settings.max_scale)
            self.log_local_temperature = nn.Parameter(torch.tensor(self.settings.local_temperature).log())

    def learnt_temperatures(self) -> dict[str, nn.Parameter]:
        """Also the local one."""
        local = self.log_local_temperature
        return super().learnt_temperatures() | ({} if local is None else {"local_temperature": local})

    def local_shape(self, regions: int) -> dict[str, Any]:
        """Projections and attention of ``regions`` regions."""
        s = self.settings
        attend = s.attend if s.global_weight else "own"  # nothing else makes a shared space
        return {"local": True, "attend": attend, "regions": regions}

    def local_loss(self, found: Aligned, group: Tensor) -> Tensor:
        """The weighted sum of the four local losses."""
        s = self.settings
        terms = self.local_terms(found, group)
        image, report = terms["image_l2att"] + terms["image_att2l"], terms["report_l2att"] + terms["report_att2l"]
        total: Tensor = s.image_weight / 2 * image + s.report_weight / 2 * report
        return total

    def local_terms(self, found: Aligned, group: Tensor) -> dict[str, Tensor]:
        """The four local losses of a batch in the shared space, two directions each; ``group`` int64 [N], its patients."""
        s = self.settings
        assert found.attended is not None and found.image.local is not None and found.report.local is not None
        uniform, learnt = s.local_weights == "uniform", self.log_local_temperature
        common: dict[str, Any] = {
            "temperature": s.local_temperature if learnt is None else learnt.exp(),
            "negatives": s.negatives,
            "groups": group if s.repel == "other_patient" else None,
        }
        regions = local_alignment(
            found.image.local,
            found.attended.regions,
            weights=None if uniform else found.image.weights,
            targets=spatial_targets(*found.grid, threshold=s.threshold, decay=s.decay).to(group.device),
            **common,
        )
        sentences = local_alignment(
            found.report.local,
            found.attended.sentences,
            weights=None if uniform else found.report.weights,
            mask=found.mask,
            **common,
        )
        return dict(zip(TERMS, (*regions, *sentences), strict=True))
