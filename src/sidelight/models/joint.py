"""The space that images and reports share, and what can be asked of it: vectors, zero-shot scores, where a phrase points.

Example::

    joint = load_joint("run")
    joint.score(images, {"effusion": ("There is a pleural effusion.", "No pleural effusion.")})  # [N, 1] in (0, 1)
    joint.similarity_map(images, "Opacity in the left lower zone.")  # [N, H, W], cosines
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidelight.config import Stored
from sidelight.errors import ConfigError
from sidelight.models.alignment import Attended, AttentionPool, Centre, CrossAttention, MaxPool, MeanPool, Projection
from sidelight.models.image import Encoder, load_encoder
from sidelight.models.text import ReportDescription, ReportEncoder, Tokens, rebuild_report_encoder
from sidelight.models.towers import VERSION, Description, Width, read_tower, rebuilding

Pool = Literal["attention", "mean", "max"]
POOLS = {"attention": AttentionPool, "mean": MeanPool, "max": MaxPool}


class Projected(NamedTuple):
    """One modality in the shared space: ``local`` [B, N, D] (None without local losses), ``whole`` [B, D], ``weights`` [B, N].

    ``pooled`` [B, dim] is what ``whole`` was projected from.
    """

    local: Tensor | None
    whole: Tensor
    weights: Tensor
    pooled: Tensor


class Side(nn.Module):
    """What stands on one encoder: a pooling, and a projection each for the positions and for the whole."""

    def __init__(
        self, dim: int, hidden: int, out: int, *, pool: Pool, local: bool, norm: bool = True, masked: bool = True
    ) -> None:
        super().__init__()
        self.pool = AttentionPool(dim, masked=masked) if pool == "attention" else POOLS[pool]()
        self.whole = Projection(dim, hidden, out, norm=norm, masked=masked)
        self.local = Projection(dim, hidden, out, norm=norm, masked=masked) if local else None

    def forward(self, positions: Tensor, mask: Tensor) -> Projected:
        """``positions`` [B, N, dim], ``mask`` bool [B, N]."""
        pooled, weights = self.pool(positions, mask)
        local = None if self.local is None else self.local(positions, mask)
        return Projected(local, self.whole(pooled), weights, pooled)

    @torch.no_grad()
    def alone(self, positions: Tensor, pooled: Tensor) -> Tensor:
        """Each of ``positions`` [B, N, dim] pooled and projected as if it were a whole, beside ``pooled``: unit [B, N, D]."""
        rows = positions.flatten(0, 1)[:, None]
        own, _ = self.pool(rows, torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device))
        return F.normalize(self.whole.beside(own, pooled).float(), dim=-1).view(*positions.shape[:2], -1)


class _Shape(Stored):
    image_dim: Width
    report_dim: Width
    hidden: Width
    dim: Width
    regions: Width | None = None


class _Described(Description):
    shape: _Shape


class Alignment(nn.Module):
    """Both sides and the cross-attention between them; the tower ``alignment`` of a run."""

    def __init__(self, **shape: Any) -> None:
        """:param shape: image_dim, report_dim, hidden, dim, image_pool, report_pool, local, norm, masked, temperature (of the
        global loss, at the start) and learn_temperature; with ``local`` also attend ("shared", "own", or "none" for projections
        without cross-attention) and regions (how many).
        Runs of before have no learn_temperature, and a temperature where it is "shared" alone.
        """
        super().__init__()
        self.shape = shape
        common = {name: shape[name] for name in ("local", "norm", "masked")}
        self.image = Side(shape["image_dim"], shape["hidden"], shape["dim"], pool=shape["image_pool"], **common)
        self.report = Side(shape["report_dim"], shape["hidden"], shape["dim"], pool=shape["report_pool"], **common)
        shared = shape["local"] and shape["attend"] == "shared"
        self.centre = Centre(shape["regions"], shape["dim"]) if shared else None
        attends = shape["local"] and shape["attend"] != "none"
        self.attention = CrossAttention(shape["dim"], masked=shape["masked"]) if attends else None
        start = torch.tensor(float(shape.get("temperature", 0.1)))
        self.log_temperature = nn.Parameter(start.log()) if shape.get("learn_temperature") else None

    @property
    def temperature(self) -> float | Tensor:
        """Of the global loss: a 0-d tensor where it is learnt."""
        given = float(self.shape.get("temperature", 0.1))
        return given if self.log_temperature is None else self.log_temperature.exp()

    def forward(self, regions: Tensor, sentences: Tensor, mask: Tensor) -> tuple[Projected, Projected, Attended | None]:
        """Regions [B, K, image_dim] and sentences [B, M, report_dim], ``mask`` bool [B, M]."""
        every = torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)
        image, report = self.image(regions, every), self.report(sentences, mask)
        if self.attention is None:
            return image, report, None
        near = None if self.centre is None else self.near(regions, image.pooled, sentences, report.pooled)
        return image, report, self.attention(image.local, report.local, mask, near)

    def near(self, regions: Tensor, image: Tensor, sentences: Tensor, report: Tensor) -> Tensor:
        """How much nearer each region lies to each sentence than the mean image's does, over the temperature: [B, K, M].

        The local losses send no gradient through it: what is like what is learnt between wholes, across studies.
        """
        assert self.centre is not None
        beyond = self.centre(self.image.alone(regions, image))
        logits: Tensor = beyond @ self.report.alone(sentences, report).mT / torch.as_tensor(self.temperature).detach()
        return logits

    def describe(self) -> dict[str, Any]:
        """As a tower: the shape that rebuilds it."""
        return {"version": VERSION, "kind": "alignment", "shape": self.shape}


class Aligned(NamedTuple):
    """A batch in the shared space; ``attended`` is None without cross-attention, ``grid`` is (H, W) of the regions."""

    image: Projected
    report: Projected
    attended: Attended | None
    mask: Tensor
    grid: tuple[int, int]


def align(encoder: Encoder, reports: ReportEncoder, alignment: Alignment, images: Tensor, tokens: Tokens) -> Aligned:
    """Images [B, C, S, S] in [0, 1] and their reports through every part."""
    regions, grid = region_vectors(encoder, images)
    mask = tokens.mask
    image, report, attended = alignment(regions, reports(tokens), mask)
    return Aligned(image, report, attended, mask, grid)


def region_vectors(encoder: Encoder, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The last feature map as regions [B, H W, D] in row-major order, and (H, W); of a ViT the patch tokens."""
    last = encoder.feature_maps(images)[-1]
    return last.flatten(2).mT, (int(last.shape[2]), int(last.shape[3]))


class Joint:
    """A finished run that reads images and text, in eval mode and without gradients; batches are the caller's."""

    def __init__(
        self, encoder: Encoder, reports: ReportEncoder, alignment: Alignment, temperature: float | None = None
    ) -> None:
        """:param temperature: of zero-shot scores; None is the run's own."""
        self.encoder, self.reports, self.alignment = encoder.eval(), reports.eval(), alignment.eval()
        own = torch.as_tensor(alignment.temperature).detach()
        self.temperature = float(own) if temperature is None else temperature

    @torch.no_grad()
    def embed_images(self, images: Any, batch_size: int = 128) -> Tensor:
        """Any images (see ``Encoder.preprocess``) to unit vectors float32 [N, D]."""
        parts = []
        for start in range(0, len(images), batch_size):
            regions, _ = region_vectors(self.encoder, self.encoder.preprocess(images[start : start + batch_size]))
            every = torch.ones(regions.shape[:2], dtype=torch.bool)
            parts.append(F.normalize(self.alignment.image(regions, every).whole, dim=-1))
        return torch.cat(parts)

    @torch.no_grad()
    def embed_reports(self, reports: Sequence[Sequence[str]], batch_size: int = 128) -> Tensor:
        """Reports, each a list of sentences, to unit vectors float32 [N, D]."""
        parts = []
        for start in range(0, len(reports), batch_size):
            tokens = self.reports.tokens(reports[start : start + batch_size])
            whole = self.alignment.report(self.reports(tokens), tokens.mask).whole
            parts.append(F.normalize(whole, dim=-1))
        return torch.cat(parts)

    def score(self, images: Any, prompts: Mapping[str, tuple[str | Sequence[str], str | Sequence[str]]]) -> Tensor:
        """Zero-shot scores [N, classes] in (0, 1): how much nearer an image is to a class's first prompts than to its second.

        :param prompts: class to (present, absent), each a sentence or several, whose vectors are averaged.
        """
        vectors = self.embed_images(images)
        columns = []
        for present, absent in prompts.values():
            sides = [[one] if isinstance(one, str) else list(one) for one in (present, absent)]
            yes, no = (F.normalize(self.embed_reports([[text] for text in side]).mean(0), dim=0) for side in sides)
            columns.append(torch.sigmoid(vectors @ (yes - no) / self.temperature))
        return torch.stack(columns, 1)

    @torch.no_grad()
    def align(self, images: Any, reports: Sequence[Sequence[str]]) -> Aligned:
        """Images beside their reports: vectors, weights and both attentions."""
        tokens = self.reports.tokens(reports)
        return align(self.encoder, self.reports, self.alignment, self.encoder.preprocess(images), tokens)

    def heat_map(self, images: Any, phrase: str) -> Tensor:
        """Where a phrase reads each image: its attention over the regions, [N, H, W] that sums to 1.

        :raises ConfigError: of a run without local losses, which has no such attention.
        """
        found = self.align(images, [[phrase]] * len(images))
        if found.attended is None:
            raise ConfigError("This run has no attention between sentences and regions", do="Pre-train with lovt")
        return found.attended.to_regions[:, 0].reshape(-1, *found.grid)

    @torch.no_grad()
    def embed_regions(self, images: Any, batch_size: int = 128) -> Tensor:
        """Each region, pooled and projected as if it were a whole image: unit vectors float32 [N, H, W, D].

        Source: dense CLIP features (Zhou et al., ECCV 2022); for every method on reports, with local losses or without.
        """
        parts = []
        for start in range(0, len(images), batch_size):
            regions, grid = region_vectors(self.encoder, self.encoder.preprocess(images[start : start + batch_size]))
            every = torch.ones(regions.shape[:2], dtype=torch.bool)
            alone = self.alignment.image.alone(regions, self.alignment.image.pool(regions, every)[0])
            parts.append(alone.reshape(len(alone), *grid, -1))
        return torch.cat(parts)

    def similarity_map(self, images: Any, phrase: str) -> Tensor:
        """How near each region lies to a phrase: cosines [N, H, W]."""
        return self.embed_regions(images) @ self.embed_reports([[phrase]])[0]


def has_text(folder: str | Path) -> bool:
    """Whether :func:`load_joint` finds a report encoder and what aligns it with images in a run."""
    return all((Path(folder) / "towers" / f"{role}.safetensors").is_file() for role in ("report", "alignment"))


def load_joint(run: str | Path, *, temperature: float | None = None) -> Joint:
    """The image, report and alignment towers of a finished run.

    :param temperature: of zero-shot scores; None is that of the run's global loss, as it was learnt or given (0.1 where its
        towers hold none, as those of ``clip`` and ``convirt`` once did).
    :raises EncoderError: where a tower is missing.
    """
    said, tensors = read_tower(run, "report", kind="report", form=ReportDescription)
    with rebuilding(run, "report"):
        reports = rebuild_report_encoder(said)
        reports.load_state_dict(tensors)
    return Joint(load_encoder(run), reports, load_alignment(run), temperature)


def load_alignment(folder: str | Path) -> Alignment:
    """The alignment tower of a run or a model; :raises EncoderError: where there is none."""
    said, tensors = read_tower(folder, "alignment", kind="alignment", form=_Described)
    with rebuilding(folder, "alignment"):
        alignment = Alignment(**said["shape"])
        alignment.load_state_dict(tensors)
    return alignment
