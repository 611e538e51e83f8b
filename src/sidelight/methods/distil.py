r"""Distillation: a smaller or another encoder learns to see images as a frozen teacher does, without labels.

Both see the same augmented view x (Beyer et al., Knowledge distillation: a good teacher is patient and consistent, CVPR
2022). The teacher's features t are standardised over the images seen so far, so that every dimension counts alike, and the
student s, with a linear map h that is thrown away, comes near them:

    L = mean over d of (h(s(x))_d - (t(x)_d - mu_d) / sd_d)^2.

1 is what the mean alone reaches, 0 a perfect copy. ``--from RUN`` names a finished run as teacher, and then its patients count
as seen; ``teacher = "imagenet"`` or a file of weights another one.

Not from a paper: features in place of class probabilities, and every number below.
"""

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidelight.errors import ConfigError
from sidelight.methods.base import Gather, identity
from sidelight.methods.clips import ClipMethod, ClipSettings
from sidelight.methods.settings import PretrainSettings
from sidelight.models.image import load_encoder
from sidelight.models.shipped import IMAGENET
from sidelight.models.weights import hash_tensors
from sidelight.views.clips import ClipPairs, PairKind


class DistilSettings(ClipSettings):
    """Settings of :class:`Distil`."""

    pairs: PairKind = Field("single", description="both views of a pair are learnt from, each by itself")
    teacher: str | None = Field(
        None, description="imagenet, a file of weights or an hf-hub: name; none is the run that --from names"
    )
    teacher_encoder: str | None = Field(None, description="timm name of what a teacher's plain weights belong to")
    teacher_size: int | None = Field(
        None, ge=16, description="side of the teacher's view; none is its own, or image_size"
    )
    lr: float = Field(1e-3, gt=0)

    @model_validator(mode="after")
    def _no_contrast(self) -> Self:
        if self.shuffle_pairs:
            raise ConfigError(
                "distil has no pairs to break: teacher and student see one view", do="Leave shuffle_pairs"
            )
        return self


class Distil(ClipMethod):
    """Images alone, and a frozen teacher that has seen more: the student copies what it sees in them."""

    Settings: ClassVar[type[PretrainSettings]] = DistilSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}}
    STARTS_FROM = (
        *("simclr", "byol", "pixelpro", "meta_uscl", "sslm", "lovt", "clip", "convirt"),
        *("weak_labels", "local_sigmoid", "sm3", "sm3_labels", "slimp", "distil"),
    )
    INHERITS = ()
    FORMER: ClassVar[dict[str, Any]] = {"projection": 128}
    TELLING = ("teacher", "teacher_size")

    def build_heads(self) -> None:
        """The teacher, what standardises its features, and the map from the student's to them."""
        s, start = self.settings, self.source.start if self.source else None
        if (s.teacher is None) == (start is None):
            raise ConfigError(
                "distil needs one teacher" + ("" if s.teacher is None else " and was given two"),
                do="Name a finished run with --from RUN, or set teacher=imagenet",
            )
        shape = {"channels": self.encoder.channels, "image_size": s.teacher_size or s.image_size}
        given: Any = s.teacher if start is None else start.folder
        teacher = load_encoder(given, architecture=s.teacher_encoder, **shape)
        if s.teacher_size not in (None, teacher.image_size):  # a run, or a tower, brings a size of its own
            teacher = teacher.at_size(s.teacher_size)
        self.teacher = teacher.requires_grad_(False)
        self.scale = nn.BatchNorm1d(self.teacher.dim, affine=False, momentum=None)
        self.map = nn.Linear(self.encoder.dim, self.teacher.dim)

    def origins(self) -> dict[str, str]:
        """Of a teacher out of a file, too."""
        if self.settings.teacher in (None, IMAGENET):
            return super().origins()
        return super().origins() | {"teacher": f"weights {hash_tensors(self.teacher.state_dict())[:16]}"}

    def loss(self, batch: ClipPairs, *, gather: Gather = identity) -> Tensor:
        """The mean squared distance from the standardised features, over both views."""
        views = torch.cat([batch.left, batch.right])
        with torch.no_grad():
            shown = self.teacher.preprocess(views.float())
            wanted = self._standardised(self.teacher(shown).float(), gather)
        distance: Tensor = (self.map(self.encoder(views)).float() - wanted).square().mean()
        return distance

    def _standardised(self, seen: Tensor, gather: Gather) -> Tensor:
        """The teacher's features [N, D] by mean and deviation of the images seen so far, in training these among them.

        By those of the batch alone the same image would be another target beside other images, and a perfect copy not have
        loss 0.
        """
        scale = self.scale
        assert scale.running_mean is not None and scale.running_var is not None
        assert scale.num_batches_tracked is not None
        if self.training:
            scale.num_batches_tracked += 1
            share = 1 / scale.num_batches_tracked  # of this batch, as large as those before it
            variance, mean = torch.var_mean(gather(seen), 0, correction=0)
            shift = mean - scale.running_mean
            scale.running_mean += share * shift
            scale.running_var.lerp_(variance + (1 - share) * shift**2, share)
        return nn.functional.batch_norm(seen, scale.running_mean, scale.running_var, eps=scale.eps)

    def train(self, mode: bool = True) -> "Distil":
        """The teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self
