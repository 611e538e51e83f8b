r"""SSLM: nine patches of one MR slice, moved about; the network learns anatomy by telling how they were moved.

Manna, Bhattacharya, Pal: Self-Supervised Representation Learning for Knee Injury Diagnosis from Magnetic Resonance Data (IEEE
TAI; arXiv 2104.10481, first called SSLM, later SKID).

A slice is cut into 3 x 3 cells, each gives a jittered and distorted patch (:mod:`sidelight.views.jigsaw`), and the patches are
arranged by pi_c, one of n permutations. With f the encoder and g a head that reads nine vectors in their order,

    L = -log softmax(g(f(x_pi(1)), ..., f(x_pi(9))))_c.                                                              (1)

A series is a clip, so that the contrast of Meta-USCL between two mixed frames can stand in its place or beside it:

    objective = "jigsaw": L;  "pairs": L_pairs;  "both": L + pair_weight L_pairs.                                     (2)

What follows the pretext task, up to 16 slices in order to several labels and the fusion of planes, is the evaluation protocol
``series`` (:mod:`sidelight.evaluation.protocols.series.series`).

Deviations of ``default`` from the paper
    One encoder is shared by the nine patches, and the position is told by the head; so it reads whole slices too, where the
    published network feeds a slice to all its nine branches. 100 permutations of greatest Hamming distance. A batch holds slices
    of many exams. One encoder for all planes, unless ``where = {view = "sagittal"}`` picks one. Distortions come from ranges,
    contrast among them. Slices of a series take turns instead of being drawn. AdamW and a cosine.
Scale
    The published network has stride 16, the usual ones 32: of a patch of up to 32 pixels their last map is one pixel, on which
    eight of nine weights of a 3x3 kernel meet nothing but padding, are never trained, and are used when whole slices are read.
    Such patches are refused; ``image_size`` is 224, so that patches have 55 pixels. ``patch_size`` enlarges smaller ones, but
    whole slices are read at ``image_size``, where structures are then smaller than any the encoder has learnt.
``paper`` keeps, by name
    The nine-branch network (``encoder = "nine_branches"``), 1,000 random permutations with the identity first, patches of 64 at
    0-9 pixels from the corners of cells of 85, the sets of rotations, shifts, scales and brightness, one field of noise for each
    position and batch, RMSprop at 1e-4 x 0.95 per epoch, the L2 penalty on the stem, 16 puzzles of each exam in an epoch, the
    checkpoint that is best on validation. Half of the patches change their brightness; noise is in all: a reading of the source,
    whose field of noise is a batch's.
    Not kept: 16 slices of one exam as a batch (its statistics would be those of one knee; the published PyTorch code moreover
    shows 16 of 1,130 exams only); early stopping; the best by accuracy (by the loss here); the validation exams that are the
    test exams.
Limits
    The encoder must take images of patch size, which vision transformers of a fixed size do not. (1) is at chance, log n, where
    a series shows nothing that has a place. A puzzle has no negatives: ``repel`` speaks of the pairs of (2) alone.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError
from sidelight.losses import nt_xent
from sidelight.methods.base import Gather, identity
from sidelight.methods.clips import ClipContrastSettings, ClipMethod
from sidelight.methods.contrast import contrast_groups
from sidelight.methods.settings import PretrainSettings
from sidelight.models.heads import mlp
from sidelight.models.jigsaw import SIDE, NineBranches, PatchHead, dense_head, kernels_on
from sidelight.views.clips import ClipPairs, RawPairs
from sidelight.views.feed import Feed, Integers, ViewSource
from sidelight.views.jigsaw import (
    Distort,
    PuzzleRecipe,
    Puzzles,
    PuzzleSource,
    RawPuzzles,
    hamming_permutations,
    random_permutations,
)


class SSLMSettings(ClipContrastSettings):
    """Settings of :class:`SSLM`."""

    objective: Literal["jigsaw", "pairs", "both"] = Field("jigsaw", description="puzzles, pairs of frames, or both")
    pair_weight: float = Field(1.0, gt=0, description="of the contrast beside the puzzles")
    permutations: int = Field(100, ge=2, le=math.factorial(9), description="arrangements to tell apart")
    permutation_set: Literal["hamming", "random"] = Field("hamming", description="random is as published")
    patch: int | None = Field(None, ge=8, description="side of a patch in pixels; none is three quarters of its cell")
    patch_size: int | None = Field(
        None, ge=8, description="smaller patches are enlarged to this side for the encoder; none is as they are cut"
    )
    jitter: int | None = Field(None, ge=0, description="largest offset of a patch in its cell; none is all there is")
    distort: Distort = Distort()
    stem_decay: float = Field(0.0, ge=0, description="L2 penalty on the nine-branch network's stem")

    @property
    def recipe(self) -> PuzzleRecipe:
        """How puzzles are cut and distorted; :raises ConfigError: where a patch leaves its cell."""
        cell = self.image_size // SIDE
        patch = max(8, cell * 3 // 4) if self.patch is None else self.patch
        jitter = max(0, cell - patch) if self.jitter is None else self.jitter
        return PuzzleRecipe(self.image_size, patch, jitter, self.distort, self.patch_size)


@dataclass(frozen=True, eq=False)
class RawSeries:
    """A batch on the host; one of the two may be missing."""

    puzzles: RawPuzzles | None
    pairs: RawPairs | None


@dataclass(frozen=True, eq=False)
class SeriesBatch:
    """A batch on the device: N puzzles, N pairs, or both, of the same series."""

    puzzles: Puzzles | None
    pairs: ClipPairs | None

    @property
    def left(self) -> Tensor:
        """float32 [N, C, S, S]: whole slices, or the left views."""
        if self.puzzles is not None:
            return self.puzzles.left
        assert self.pairs is not None
        return self.pairs.left

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True)
class SeriesSource:
    """Puzzles, pairs, or both, of the same series."""

    puzzles: PuzzleSource | None
    pairs: ViewSource | None

    def raw(self, epoch: int, rows: Integers, draws: Integers) -> RawSeries:
        """Slices with their permutations, frames with their mixing weights, on the host."""
        puzzles = None if self.puzzles is None else self.puzzles.raw(epoch, rows, draws)
        return RawSeries(puzzles, None if self.pairs is None else self.pairs.raw(epoch, rows, draws))

    def finish(self, raw: RawSeries, device: torch.device) -> SeriesBatch:
        """The batch on ``device``."""
        puzzles = None if self.puzzles is None or raw.puzzles is None else self.puzzles.finish(raw.puzzles, device)
        return SeriesBatch(puzzles, None if self.pairs is None else self.pairs.finish(raw.pairs, device))


class SSLM(ClipMethod):
    """Nine moved patches of one slice, and perhaps two frames of one series: spatial context."""

    permutations: Tensor

    Settings: ClassVar[type[PretrainSettings]] = SSLMSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"image_size": 224},
        "paper": {
            "encoder": "nine_branches",
            "image_size": 256,
            "channels": 3,
            "epochs": 50,
            "batch_size": 16,
            "optimizer": "rmsprop",
            "lr": 1e-4,
            "weight_decay": 0.0,
            "schedule": "decay",
            "warmup": 0.0,
            "pairs_per_clip": 16,
            "keep": "best",
            "permutations": 1000,
            "permutation_set": "random",
            "patch": 64,
            "jitter": 9,
            "stem_decay": 1e-4,
            "distort": {
                "rotation": 15.0,
                "shift": 6 / 64,
                "zoom": 0.1,
                "brightness": 0.15,
                "contrast": 0.0,
                "noise": 0.05,  # standard deviation 0.1 on [-1, 1]
                "steps": True,
                "shared_noise": True,
                "often": 0.5,
            },
        },
    }
    TELLING = ("objective", "permutations")
    NOT_FROM_PAPER = ("valid_fraction", "seed", "max_frames", "working_size")

    def build_heads(self) -> None:
        """The set of permutations, the head that tells them apart and the projector of the contrast, as they are needed."""
        s = self.settings
        if s.objective != "pairs":
            self._check_patches()
            chosen = (
                hamming_permutations(s.permutations)
                if s.permutation_set == "hamming"
                else random_permutations(s.permutations, s.seed)
            )
            self.register_buffer("permutations", torch.from_numpy(chosen.copy()))
            nine = isinstance(self.encoder.network, NineBranches)
            self.head = (dense_head if nine else PatchHead)(self.encoder.dim, s.permutations)
        if s.objective != "jigsaw":
            self.projector = mlp(self.encoder.dim, self.encoder.dim, s.projection)

    def _check_patches(self) -> None:
        """:raises ConfigError: where the encoder takes no images as small as a patch, or some of its weights meet none of it."""
        name, network, side = self.encoder.name, self.encoder.network, self.settings.recipe.side
        step = NineBranches.STRIDE if isinstance(network, NineBranches) else 8
        met = partial(kernels_on, network, self.encoder.channels)
        if isinstance(network, NineBranches) and side % step:
            raise ConfigError(f"{name} with patches of {side} pixels", expected=f"a multiple of {step}")
        try:
            found = met(side)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"{name} cannot read patches of {side} x {side} pixels ({error})",
                do="Use a convolutional network such as resnet18, or a larger image_size",
            ) from None
        if found.unmet:
            enough = next(more for more in range(side // step * step + step, 1025, step) if not met(more).unmet)
            raise ConfigError(
                f"Patches of {side} pixels: the last map that {name} makes of them is {found.side} x {found.side}, so that "
                f"{found.unmet:.0%} of its kernels' weights meet nothing but padding and are never trained",
                expected=f"patches of about {enough} pixels",
                do=f"Raise image_size, of which a patch is a quarter, to about {4 * enough}; or set patch_size to {enough}, to "
                "which patches are enlarged",
            )

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """Puzzles, pairs or both of each series for the loop.

        :raises ConfigError: where an epoch could pass over a series.
        """
        s, clips = self.settings, super().feed(pixels, rows, secret)
        kept = len(clips.train_rows) * s.pairs_per_clip // s.batch_size * s.batch_size
        if 0 < kept < len(clips.train_rows):
            raise ConfigError(
                f"{len(clips.train_rows)} series in batches of {s.batch_size}: an epoch would pass over some of them",
                do="Raise pairs_per_clip, or lower batch_size",
            )
        known = None if s.objective == "pairs" else self.permutations.cpu().numpy()
        sources = {
            role: SeriesSource(
                None if known is None else PuzzleSource(
                    pixels, known, s.recipe, s.seed, s.pairs_per_clip, augmented=role == "train", broken=s.shuffle_pairs
                ),
                pairs if self.contrasts else None,
            )
            for role, pairs in clips.sources.items()
        }  # fmt: skip
        return replace(clips, sources=sources)

    @property
    def contrasts(self) -> bool:
        """Puzzles have no negatives."""
        return bool(self.settings.objective != "jigsaw")

    @property
    def least_groups(self) -> int:
        """Puzzles need no partners."""
        return super().least_groups if self.contrasts else 1

    def solve(self, patches: Tensor) -> Tensor:
        """Logits [N, n] of permutations of patches [N, 9, C, P, P] in [0, 1]."""
        if patches.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Torch's bf16 convolutions on the CPU sometimes give gradients that are not finite on maps of one or two pixels.
            with torch.autocast("cpu", enabled=False):
                return self.solve(patches)
        encoder = self.encoder
        network: nn.Module = encoder.network
        if isinstance(network, NineBranches):
            vectors = network.puzzle((patches - encoder.mean) / encoder.std)
        else:
            vectors = encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        logits: Tensor = self.head(vectors)
        return logits

    def loss(self, batch: SeriesBatch, *, gather: Gather = identity) -> Tensor:
        """(2)."""
        s = self.settings
        total = torch.zeros((), device=self.encoder.mean.device)
        if batch.puzzles is not None:
            total = total + functional.cross_entropy(self.solve(batch.puzzles.patches).float(), batch.puzzles.label)
        if batch.pairs is not None:
            total = total + (s.pair_weight if s.objective == "both" else 1.0) * self._contrast(batch.pairs, gather)
        if s.stem_decay and isinstance(self.encoder.network, NineBranches):
            total = total + s.stem_decay * self.encoder.network.stem_penalty()
        return total

    def _contrast(self, pairs: ClipPairs, gather: Gather) -> Tensor:
        left, right = self.projector(self.encoder(torch.cat([pairs.left, pairs.right]))).chunk(2)
        groups = contrast_groups(self.settings.repel, item=pairs.item, patient=pairs.group)
        return nt_xent(
            gather(left),
            gather(right),
            temperature=self.settings.temperature,
            groups=None if groups is None else gather(groups),
        )

    def measure(self, batch: SeriesBatch) -> dict[str, float]:
        """Share of the validation's puzzles that are solved."""
        return {} if batch.puzzles is None else {"puzzle_accuracy": self.accuracy(batch.puzzles)}

    @torch.no_grad()
    def accuracy(self, puzzles: Puzzles) -> float:
        """Share of puzzles that are solved, in eval mode; 1 / n by chance."""
        mode = self.training
        found = self.eval().solve(puzzles.patches).argmax(dim=1)
        self.train(mode)
        return float((found == puzzles.label).float().mean())
