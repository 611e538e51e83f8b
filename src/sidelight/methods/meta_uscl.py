r"""Meta-USCL: mixed frames of one ultrasound clip attract, and a small network learns how much each pair counts.

Chen et al.: Generating and Weighting Semantically Consistent Sample Pairs for Ultrasound Contrastive Learning
(Meta-USCL, IEEE TMI), which builds on USCL (MICCAI 2021); the fixed weights by distance are from IVPP (Frontiers in
Imaging, 2024).

A *positive pair interpolator* makes two views of one clip by mixing frames (``pairs``; :mod:`sidelight.views.clips`).
Encoder f gives h = f(x), projector g (Linear-ReLU-Linear, no batch normalisation) gives z = g(h). With tau = 0.5 and
l_i the mean of both anchors' NT-Xent losses of pair i, theta minimises the weighted contrast

    L(theta, alpha) = sum_i w_i l_i / sum_j w_j,            w_i = W_alpha(h_i^left, h_i^right),                 (1)

where W, the contrastive meta weight net, is Linear(2D, 10)-ReLU-Linear(10, 1)-sigmoid. Before each step, alpha is moved
by Adam so that the encoder's next step would lower the unweighted loss of clean *meta pairs*, two augmentations of
one frame:

    alpha* = argmin_alpha L_meta(theta*(alpha)),            theta*(alpha) = argmin_theta L(theta, alpha),       (2)
    theta^ = the optimiser's step from theta along grad_theta L(theta, alpha),
    alpha <- Adam(grad_alpha L_meta(theta^)).                                                                   (3)

``weights`` chooses ``meta`` (1-3), ``distance``, w = (max_gap - gap + 1) / (max_gap + 1), or ``uniform``.
``meta_step`` chooses how (3) is differentiated: ``jvp`` exactly, by one forward-mode pass; ``exact`` by differentiating
twice, its oracle; ``head`` by looking ahead with the projector alone on features that are computed once, which is cheap
and ignores the encoder's part.

Deviations of ``default`` from the paper
    Training, validation and meta clips are disjoint by patient or recording group; meta pairs use any frame of their
    clip. W's inputs are detached in (3), as Meta-Weight-Net does and as the paper's own last step does. W reads
    (abs(h_l - h_r), h_l * h_r), since on the concatenation it sees kinds of images but hardly whether a pair matches.
    Images keep the data's channels. Several pairs of a clip make an epoch. Views of one clip never repel each other.
    Learning rates are ours, and gradients are clipped: without that, SGD on few clips learns next to nothing with some seeds.
    The look-ahead (3) is clipped as the step is: G comes in as G min(1, ``clip_norm`` / ||G||), the factor a constant. With
    ``meta_step`` "head" the length is that of the last step's whole gradient, the encoder's part included.
``paper`` keeps, by name
    The meta set is a random fifth of all clips, training clips among them, and clips, not patients, are split
    (``meta_set = "published"``); meta pairs show frame 0 only (``meta_frame = "first"``); gradients also flow through
    W's inputs in the look-ahead (``attached``); mixtures are cut to whole grey values; three equal channels are
    normalised by .18 / .24; the kept checkpoint has the lowest validation loss, on clips that may be meta clips too;
    views of one clip repel like any other. Not kept: training does not skip steps that fail. The look-ahead takes the
    optimiser's scheduled learning rate, as the published code does whatever its own option for it says.
``both``
    The two views go through f in separate passes, so that each has its own batch statistics.
Limits
    In float32 and one process the forward pass of the look-ahead serves the main step too; otherwise it is done again.
    (3) needs AdamW or plain SGD, no gradient accumulation, and a network without dropout. It runs in float32 whatever the
    precision of the main step, and over several processes it is computed by each on the gathered batch.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from sidelight.data.split import deal
from sidelight.errors import ConfigError, TrainingError
from sidelight.losses import nt_xent
from sidelight.methods.base import Gather, identity
from sidelight.methods.clips import ClipContrastSettings, ClipMethod
from sidelight.methods.contrast import contrast_groups
from sidelight.methods.look_ahead import LookAhead, Tensors, check_look_ahead
from sidelight.methods.pair_weights import (
    BiLevel,
    CMWNet,
    MetaGradient,
    WeightLearner,
    distance_weights,
    meta_gradient_exact,
    meta_gradient_jvp,
)
from sidelight.methods.settings import PretrainSettings
from sidelight.models.heads import mlp
from sidelight.views.clips import ClipPairs, FirstFrame, PairRecipe
from sidelight.views.feed import Integers


class MetaUSCLSettings(ClipContrastSettings):
    """Settings of :class:`MetaUSCL`."""

    optimizer: Literal["adamw", "sgd"] = "sgd"
    lr: float = Field(0.1, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: float | None = Field(1.0, gt=0, description="gradient norm limit")
    weights: Literal["uniform", "distance", "meta"] = Field("meta", description="how much each pair counts")
    meta_step: Literal["jvp", "exact", "head"] = Field("jvp", description="how the look-ahead is differentiated")
    attached: bool = Field(False, description="look ahead through the weight net's inputs too; exact only")
    weight_inputs: Literal["concat", "symmetric"] = Field(
        "symmetric",
        description="what the weight net sees of a pair; symmetric does not depend on the order of its frames",
    )
    lr_meta: float = Field(1e-3, gt=0, description="learning rate of the weight net's Adam")
    meta_fraction: float = Field(0.1, gt=0, lt=1, description="share of clips that give the meta pairs")
    meta_batch_size: int | None = Field(
        None, ge=2, description="meta pairs of a step; none is batch_size, which is the most"
    )
    meta_set: Literal["disjoint", "published"] = Field(
        "disjoint", description="published: any clips, training ones too, and clips are split, not patients"
    )
    meta_frame: Literal["random", "first"] = Field("random", description="which frame a meta pair shows")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.weights == "meta":
            check_look_ahead(self.optimizer, self.accumulate)
        if self.attached and self.meta_step != "exact":
            raise ConfigError(
                f"attached weights need the second derivative, not meta_step={self.meta_step}", do="Set meta_step=exact"
            )
        return self


class MetaUSCL(ClipMethod):
    """Mixed frames of one clip against those of other clips, each pair with a weight that is learned."""

    Settings: ClassVar[type[PretrainSettings]] = MetaUSCLSettings
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = {"lr": 0.01}
    RATES: ClassVar[dict[str, tuple[float, float]]] = {"adamw": (1e-3, 5e-4)}
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            "image_size": 224,
            "channels": 3,
            "mean": 0.18,
            "std": 0.24,
            "epochs": 300,
            "batch_size": 32,
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "clip_norm": None,
            "schedule": "ramp_cosine",
            "precision": "float32",
            "repel": "all",
            "valid_fraction": 0.2,
            "keep": "best",
            "pairs": "standard",
            "max_gap": 999.0,
            "truncate": True,
            "pairs_per_clip": 1,
            "temperature": 0.5,
            "meta_step": "exact",
            "attached": True,
            "weight_inputs": "concat",
            "lr_meta": 6e-5,
            "meta_fraction": 0.2,
            "meta_set": "published",
            "meta_frame": "first",
            "augment": {
                "scale": (0.7, 1.0),
                "brightness": 0.64,
                "contrast": 0.64,
                "saturation": 0.64,
                "hue": 0.16,
                "blur": 0.0,
                "noise": 0.0,
            },
        },
    }
    TELLING = ("temperature", "repel", "weights", "pairs")
    NOT_FROM_PAPER = ("max_frames", "working_size", "max_bad_fraction")

    def build_heads(self) -> None:
        """Projector g, weight net W with its own Adam, and the empty copy of f and g that the look-ahead uses."""
        dim = self.encoder.dim
        self.projector = mlp(dim, dim, self.settings.projection)
        if self.settings.weights == "meta":
            self.weight_net = CMWNet(dim, self.settings.weight_inputs)
            self.learner = WeightLearner(self.weight_net, self.settings.lr_meta)
            # Structure without storage, in a tuple so that it is no submodule. Batch normalisation that synchronises
            # processes has no forward mode; the loop may put it into the method itself, but the meta part sees the
            # gathered batch anyway.
            self._structure = (copy.deepcopy(_Branch(self.encoder, self.projector)).to("meta").train(),)
        self._shared: _Shared | None = None
        self._may_share = True

    def parameters_to_train(self) -> list[nn.Parameter]:
        """Those of f and g; W has its own optimiser."""
        return [*self.encoder.parameters(), *self.projector.parameters()]

    def weigh(self, left: Tensor, right: Tensor, gap: Tensor, max_gap: Tensor) -> Tensor | None:
        """w_i of pairs by features [N,D] or distances [N]; None for uniform weights."""
        if self.settings.weights == "meta":
            weights: Tensor = self.weight_net(left, right)
            return weights
        return distance_weights(gap, max_gap) if self.settings.weights == "distance" else None

    def loss(self, batch: ClipPairs, *, gather: Gather = identity) -> Tensor:
        """The weighted contrast (1) over the pairs of all processes; no gradient reaches W."""
        left, right = self._features(batch)
        with torch.no_grad():
            weights = self.weigh(left, right, batch.gap, batch.max_gap)
        weights = None if weights is None else gather(weights)
        return self._contrast(self.projector(left), self.projector(right), batch, weights, gather)

    def valid_loss(self, batch: ClipPairs) -> Tensor:
        """The unweighted contrast."""
        left, right = (self.projector(self.encoder(view)) for view in (batch.left, batch.right))
        return self._contrast(left, right, batch, None, identity)

    def before_batch(
        self, batch: ClipPairs, extra: ClipPairs | None, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> dict[str, float]:
        """The meta step (3): changes alpha and W's Adam, nothing else.

        :param extra: the meta pairs.
        :raises TrainingError: when there are none.
        """
        if self.settings.weights != "meta":
            return {}
        if extra is None:
            raise TrainingError(
                "weights=meta has no meta clips", do="Raise meta_fraction, or set weights=uniform or distance"
            )
        whole, extra = batch.map(gather), extra.map(gather)
        extra = extra.map(lambda tensor: tensor[: self.settings.meta_batch_size])
        share = self._may_share and whole.left is batch.left
        with torch.autocast(whole.left.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            found = self.meta_gradient(batch if share else whole, extra, optimizer, share=share)
        return self.learner.step(found)

    def after_backward(self, step: int, total: int) -> None:
        """Note the length of the gradient for the next look-ahead, if that sees a part of it."""
        s = self.settings
        if s.weights == "meta" and s.meta_step == "head" and s.clip_norm is not None:
            self.learner.remember(self.parameters_to_train())

    def meta_gradient(
        self, batch: ClipPairs, extra: ClipPairs, optimizer: torch.optim.Optimizer, *, share: bool = False
    ) -> MetaGradient:
        """grad_alpha L_meta(theta^) in the way that ``meta_step`` says.

        :param share: keep the features of ``batch``, with their graph, for the :meth:`loss` that follows.
        """
        head, views = self.settings.meta_step == "head", [batch.left, batch.right, extra.left, extra.right]
        named: Tensors = {name: p for name, p in self.named_parameters() if name.startswith(("encoder.", "projector."))}
        trained = (name for name, p in named.items() if p.requires_grad)
        theta: Tensors = {name: named[name] for name in trained if not (head and name.startswith("encoder."))}
        self._shared = None

        def run(two: list[Tensor], parameters: Tensors, given: bool = head) -> list[tuple[Tensor, Tensor]]:
            buffers = self._copied_buffers()
            seen = [functional_call(self._structure[0], named | parameters | buffers, (view, given)) for view in two]
            if share and self._shared is None and not given:
                self._shared = _Shared(batch, seen[0][0], seen[1][0], buffers)
            return seen

        if head:
            with torch.set_grad_enabled(share):
                features = [h for h, _ in run(views[:2], {}, False)]
            with torch.no_grad():
                views = [h.detach() for h in features] + [h for h, _ in run(views[2:], {}, False)]

        def pairs(parameters: Tensors) -> tuple[Tensor, Tensor, Tensor]:
            (h_left, z_left), (h_right, z_right) = run(views[:2], parameters)
            return self._contrast(z_left, z_right, batch, None, identity, "none"), h_left, h_right

        def meta(parameters: Tensors) -> Tensor:
            (_, left), (_, right) = run(views[2:], parameters)
            return self._contrast(left, right, extra, None, identity)

        length = self.learner.length if head else 0.0  # else theta is all that is trained
        ahead = LookAhead.of(theta, optimizer, clip_norm=self.settings.clip_norm, length=length)
        problem = BiLevel(theta, pairs, self.weight_net, meta, tuple(self.weight_net.parameters()), ahead)
        if self.settings.meta_step == "exact":
            return meta_gradient_exact(problem, attached=self.settings.attached)
        return meta_gradient_jvp(problem, keep=share and not head)

    def _features(self, batch: ClipPairs) -> tuple[Tensor, Tensor]:
        """h of both views: those that the meta step has computed for this batch, at the same theta, or computed now.

        Only now are the batch statistics written into the method's own buffers.
        """
        shared, self._shared = self._shared, None
        if torch.is_autocast_enabled(batch.left.device.type):
            self._may_share, shared = False, None
        if shared is None or shared.batch is not batch:
            return self.encoder(batch.left), self.encoder(batch.right)
        for name, buffer in self.named_buffers():
            buffer.copy_(shared.buffers[name])
        return shared.left, shared.right

    def _copied_buffers(self) -> Tensors:
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def _contrast(
        self,
        left: Tensor,
        right: Tensor,
        batch: ClipPairs,
        weights: Tensor | None,
        gather: Gather,
        reduction: str = "mean",
    ) -> Tensor:
        groups = contrast_groups(self.settings.repel, item=batch.item, patient=batch.group)
        return nt_xent(
            gather(left),
            gather(right),
            temperature=self.settings.temperature,
            weights=weights,
            groups=None if groups is None else gather(groups),
            reduction=reduction,  # type: ignore[arg-type]
        )

    def recipe(self, role: str) -> PairRecipe:
        """Pairs as the settings say; meta pairs are one frame twice."""
        if role != "extra":
            return super().recipe(role)
        return FirstFrame() if self.settings.meta_frame == "first" else PairRecipe(pairs="single")

    def roles(self, rows: Integers, groups: NDArray[Any]) -> dict[str, Integers]:
        """Training, validation and meta clips; the last only where weights are learned."""
        s = self.settings
        if s.weights != "meta":
            return super().roles(rows, groups)
        if s.meta_set == "disjoint":
            shares = {"valid": s.valid_fraction, "extra": s.meta_fraction}
            return deal(rows, groups, shares, seed=s.seed, least=self.least_groups)
        count = max(round(s.meta_fraction * len(rows)), 2)
        extra = np.sort(np.random.default_rng([s.seed, len(rows)]).permutation(rows)[:count])
        return {**deal(rows, rows, {"valid": s.valid_fraction}, seed=s.seed, least=self.least_groups), "extra": extra}

    def state_tensors(self) -> dict[str, Tensor]:
        """W's Adam: ``adam.<index>.<slot>``, and the length of the last gradient."""
        if self.settings.weights != "meta":
            return {}
        return self.learner.tensors()

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put W's Adam back, bit for bit; nothing of it, if it had not stepped."""
        if self.settings.weights == "meta":
            self.learner.load(tensors)


@dataclass(frozen=True, eq=False)
class _Shared:
    """What the meta step has computed that the main step needs: features with their graph, and the buffers after them."""

    batch: ClipPairs
    left: Tensor
    right: Tensor
    buffers: Tensors


class _Branch(nn.Module):
    """f and g under the names that they have in the method."""

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector

    def forward(self, view: Tensor, from_features: bool) -> tuple[Tensor, Tensor]:
        features = view if from_features else self.encoder(view)
        return features, self.projector(features)
