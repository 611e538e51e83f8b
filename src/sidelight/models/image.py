"""The image encoder: a timm network with its normalisation inside, saved as one file that says what it needs to be
rebuilt.

Example::

    encoder = create_encoder("resnet18", channels=1, image_size=112)
    save_tower(encoder, "run/towers")
    load_encoder("run").embed(images)  # uint8 [N,H,W] -> float32 [N,512]
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import timm
import torch
from PIL import Image
from pydantic import Field
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import group_parameters
from torch import Tensor, nn

from sidelight.data.read.still import upright
from sidelight.errors import EncoderError, ReadError, nearest
from sidelight.models.given import HUB, from_hub, hugging_face, read_given
from sidelight.models.jigsaw import NineBranches
from sidelight.models.shipped import IMAGENET, IMAGENET_ENCODER
from sidelight.models.towers import VERSION, Description, read_tower, rebuilding, tower_file
from sidelight.models.weights import adapt_channels, fit_weights, hash_tensors

LARGEST = 4096
"""Side in pixels of an input that a file may ask for: positions of a transformer take memory by its square."""
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
OWN: dict[str, Callable[[int], NineBranches]] = {
    "nine_branches": NineBranches,
    "nine_branches_tiny": partial(NineBranches, width=4),
}
"""Architectures that timm does not have."""
USUAL = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


Picture = Tensor | np.ndarray[Any, Any] | Image.Image
Images = Picture | Sequence[Picture]
Views = Literal["one", "flipped", "turned"]
VIEWS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "flipped": lambda images: [images, images.flip(3)],
    "turned": lambda images: [side.rot90(k, (2, 3)) for side in (images, images.flip(3)) for k in range(4)],
}
"""Images [N,C,S,S] to the views of each."""


class Encoder(nn.Module):
    """Images to vectors; normalises inside, so that whoever holds the file holds the pre-processing too.

    Attributes: ``name`` (timm's), ``channels`` (1 or 3), ``image_size`` (side S in pixels), ``dim`` (D, length of a
    vector), buffers ``mean`` and ``std`` [1,C,1,1] in units of [0, 1]; ``layers`` and ``views``, see :meth:`reading`;
    ``trained``, whether its weights come from somewhere.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        channels: int,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        layers: int = 1,
        views: Views = "one",
        trained: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.name, self.channels, self.image_size = name, channels, image_size
        self.layers, self.views, self.trained = layers, views, trained
        self.dim = int(network.num_features)  # type: ignore[arg-type]
        self.frozen: tuple[str, ...] = ()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, channels, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Float images [N,C,S,S] in [0, 1] to features [N,D]; N may be 0."""
        if images.shape[0] == 0:
            return images.new_zeros(0, self.dim)
        if self.training or self.views == "one":
            return self._features(images)
        return torch.stack([self._features(shown) for shown in VIEWS[self.views](images)]).mean(dim=0)

    def _features(self, images: Tensor) -> Tensor:
        network: Any = self.network
        shown = (images - self.mean) / self.std
        if self.layers == 1:
            features: Tensor = network(shown)
            return features
        last, maps = network.forward_intermediates(shown)
        earlier = [one.mean(dim=(2, 3)) for one in maps[-self.layers : -1]]
        return torch.cat([network.forward_head(last), *earlier], dim=1)

    def reading(self, layers: int = 1, views: Views = "one") -> "Encoder":
        """The same network, read in another way.

        :param layers: 2: before the last stage (of a transformer: the last block) also the one before it, averaged over
            positions, and so on; ``dim`` grows by its width.
        :param views: outside training ``flipped`` averages the vectors of an image and its mirror image, ``turned`` those of
            all eight ways to mirror and turn it by quarters.
        :raises EncoderError: where the network has not so many stages, or does not give them.
        """
        other = Encoder(
            self.network,
            name=self.name,
            channels=self.channels,
            image_size=self.image_size,
            mean=self.mean.flatten().tolist(),
            std=self.std.flatten().tolist(),
            layers=layers,
            views=views,
            trained=self.trained,
        ).to(self.mean.device)
        if layers > 1:
            network: Any = self.network
            side = self.image_size
            with _evaluating(other), torch.no_grad():
                maps = self.feature_maps(self.mean.new_zeros(1, self.channels, side, side))
            if len(maps) < layers or not hasattr(network, "forward_head"):
                raise EncoderError(f"{self.name} gives {len(maps)} layers", do=f"Ask for fewer than {layers}")
            other.dim += sum(int(one.shape[1]) for one in maps[-layers:-1])
        return other.train(self.training)

    def at_size(self, image_size: int) -> "Encoder":
        """The same weights for images of ``image_size`` pixels; positions of a transformer are resampled.

        :raises EncoderError: where the network takes no images of this size.
        """
        other = create_encoder(
            self.name,
            channels=self.channels,
            image_size=image_size,
            mean=self.mean.flatten().tolist(),
            std=self.std.flatten().tolist(),
        )
        own = fit_weights(
            self.network.state_dict(),
            other.network.state_dict(),
            source=self.name,
            name=self.name,
            adapt=_adaptations(other.network, self.channels),
        )
        other.network.load_state_dict(own, strict=False)
        other.trained = self.trained
        return other.reading(self.layers, self.views).train(self.training)

    def train(self, mode: bool = True) -> "Encoder":
        """As any module, but for the frozen parts: they stay in eval mode, so that their statistics do not move, either."""
        super().train(mode)
        for name in self.frozen:
            self.network.get_submodule(name).eval()
        return self

    def freeze_before(self, name: str) -> None:
        """What images pass before the part ``name`` of the network is not trained any more.

        :param name: as timm names it, such as ``layer3`` or ``blocks.3``.
        :raises EncoderError: where there is no such part.
        """
        found: list[str] = []
        module, path = self.network, ""
        for step in name.split("."):
            children = [child for child, _ in module.named_children()]
            if step not in children:
                raise EncoderError(
                    f"The encoder {self.name} has no part {name!r}",
                    do=nearest(path + step, [path + c for c in children]),
                )
            for parameter in module.parameters(recurse=False):  # such as positions, which are added first
                parameter.requires_grad_(False)
            found += [path + child for child in children[: children.index(step)]]
            module, path = module.get_submodule(step), f"{path}{step}."
        for part in found:
            self.network.get_submodule(part).requires_grad_(False)
        self.frozen = tuple(found)
        self.train(self.training)

    def depths(self) -> dict[int, int]:
        """How many layers, as timm counts them, lie between each parameter (by ``id``) and the end of the network."""
        if not hasattr(self.network, "group_matcher"):
            raise EncoderError(f"The layers of {self.name} are not known in order", do="Leave layer_decay at 1")
        network: Any = self.network
        layer_of = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
        last = max(layer_of.values())
        return {id(one): last - layer_of[name] for name, one in self.network.named_parameters()}

    def preprocess(self, images: "Images") -> Tensor:
        """Any images to what :meth:`forward` takes: float32 [N,C,S,S] in [0, 1], resized bilinearly with antialiasing.

        :param images: [N,H,W], [N,H,W,3] or [N,C,H,W] with C 1 or 3; uint8, uint16 (int32 is read as 16 bit), or float
            in [0, 1]. Or a list of such pictures without N, or of PIL images, of any sizes.
        :raises EncoderError: for another shape or type.
        """
        if isinstance(images, Image.Image):
            images = [images]
        if isinstance(images, Sequence):
            each = [self.preprocess(_picture(one, self.channels)[None]) for one in images]
            return torch.cat(each) if each else torch.zeros(0, self.channels, self.image_size, self.image_size)
        pixels = _scaled(_channels_first(torch.as_tensor(images)))
        pixels = self.match_channels(pixels)
        size = (self.image_size, self.image_size)
        if len(pixels) == 0:
            return pixels.new_zeros(0, self.channels, *size)
        if pixels.shape[2:] != size:
            pixels = nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True).clamp(0, 1)
        return pixels

    def match_channels(self, images: Tensor) -> Tensor:
        """Float images [N,1,H,W] or [N,3,H,W] with as many channels as the network takes: grey repeated, colour as luma."""
        if images.shape[1] == 3 and self.channels == 1:
            images = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        return images.expand(-1, self.channels, -1, -1)

    @torch.no_grad()
    def embed(self, images: "Images", batch_size: int = 256) -> Tensor:
        """Features of any images (see :meth:`preprocess`) in eval mode, float32 [N,D] on the CPU; restores the mode."""
        images = [images] if isinstance(images, Image.Image) else images
        parts = [torch.zeros(0, self.dim)]
        with _evaluating(self):
            for start in range(0, len(images), batch_size):
                pixels = self.preprocess(images[start : start + batch_size])
                parts.append(self(pixels.to(self.mean.device, self.mean.dtype)).float().cpu())
        return torch.cat(parts)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Maps [N,C_k,H_k,W_k] after each stage or transformer block, finest first; ``images`` as for forward."""
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            (images - self.mean) / self.std, intermediates_only=True
        )
        return maps

    def describe(self) -> dict[str, Any]:
        """What rebuilding needs beside the weights, as JSON."""
        return {
            "version": VERSION,
            "name": self.name,
            "channels": self.channels,
            "image_size": self.image_size,
            "dim": self.dim,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            **({"layers": self.layers} if self.layers > 1 else {}),
            **({"views": self.views} if self.views != "one" else {}),
        }


class ImageDescription(Description):
    """What :meth:`Encoder.describe` gives."""

    name: str
    channels: Literal[1, 3]
    image_size: int = Field(ge=1, le=LARGEST)
    mean: list[float] = Field(min_length=1, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=3)
    layers: int = Field(1, ge=1)
    views: Views = "one"


def create_encoder(
    name: str,
    *,
    channels: int,
    image_size: int | None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    initial: str | Path | None = None,
) -> Encoder:
    """An encoder of timm's architecture ``name``; random from torch's global generator unless weights are given.

    :param name: an architecture (``resnet18``), or ``hf-hub:owner/model``, which downloads that model with its weights.
    :param channels: 1 or 3. First-convolution weights made for the other number are adapted: a grey image keeps its
        response.
    :param image_size: side of the square input in pixels; None: what the architecture was trained at.
    :param mean, std: normalisation in units of [0, 1], one number or one per channel. None: those that came with the
        weights, else the architecture's (averaged for one channel).
    :param initial: weights to start from: a weights file, a tower, run or Hugging Face folder, ``hf-hub:owner/model``, or
        ``imagenet`` (an installed package's). Only an ``hf-hub:`` name opens a network connection.
    :raises EncoderError: unknown name, or weights that do not fit (see :func:`sidelight.models.weights.fit_weights`).
    """
    if channels not in (1, 3):
        raise EncoderError(f"channels = {channels}", expected="1 or 3")
    network = _network(name, channels, image_size)
    own = getattr(network, "pretrained_cfg", None) or {}
    if initial is not None:
        given = read_given(str(initial), name, network.state_dict())
        own = {**own, **given.normalisation}
        adapted = fit_weights(
            given.tensors, network.state_dict(), source=str(initial), name=name, adapt=_adaptations(network, channels)
        )
        network.load_state_dict(adapted, strict=False)
    return Encoder(
        network,
        name=own["architecture"] if name.startswith(HUB) else name,
        channels=channels,
        image_size=image_size or int(own["input_size"][-1]),
        mean=_per_channel(own.get("mean", USUAL[0]) if mean is None else mean, channels),
        std=_per_channel(own.get("std", USUAL[1]) if std is None else std, channels),
        trained=initial is not None or name.startswith(HUB),
    )


def check_source(path_or_name: str | Path, *, random: bool = False, architecture: str | None = None) -> None:
    """What :func:`load_encoder` raises where nothing is there, in no time: before data are looked at.

    :raises EncoderError: nothing there, an unknown name, a bare timm name without ``random=True``, a run without towers.
    """
    path, name = Path(path_or_name), str(path_or_name)
    if name.startswith(HUB) or (name == IMAGENET and not path.exists()):
        return
    if path.is_dir():
        if architecture is None and not (path / "towers").is_dir() and hugging_face(path) is None:
            tower_file(path, "image")
        return
    if not path.exists():
        _check_name(path, name, random)


def _check_name(path: Path, name: str, random: bool) -> None:
    """:raises EncoderError: for a name that is no file's, unless it is an architecture's and weights are drawn."""
    if path.suffix in (".safetensors", ".pt", ".pth") or "/" in name or os.sep in name:
        raise EncoderError(f"There is no run or tower at {name}", do="Check the path")
    _known(name)
    if not random:
        raise EncoderError(
            f"{name!r} names an architecture without weights",
            do="Give a run, a weights file, imagenet or an hf-hub: name, or ask for random weights with --random "
            "(random=True)",
        )


def load_encoder(
    path_or_name: str | Path,
    role: str = "image",
    *,
    random: bool = False,
    architecture: str | None = None,
    channels: int = 3,
    image_size: int | None = None,
    seed: int = 0,
) -> Encoder:
    """The encoder of a run, or of given weights, in eval mode.

    :param path_or_name: a run folder, a tower's safetensors file, ``imagenet``, ``hf-hub:owner/model`` (the only form that
        opens a network connection), a Hugging Face folder, with ``architecture`` any file of weights, or with
        ``random=True`` a timm name.
    :param role: which tower of a run.
    :param architecture: timm's name of what plain weights belong to.
    :param channels, image_size: of a named model; a run knows its own. ``image_size`` None: as the architecture was
        trained.
    :param seed: of random weights; torch's global generator is left alone.
    :raises EncoderError: nothing there, not a tower, an unknown name, or a bare timm name without ``random=True``.
    """
    path, name = Path(path_or_name), str(path_or_name)
    shape: dict[str, Any] = {"channels": channels, "image_size": image_size}
    if name.startswith(HUB):
        return create_encoder(name, **shape).eval()
    if path.exists():
        found = architecture or (hugging_face(path) or {}).get("architecture")
        if found and not architecture:
            _known_to_file(found, path)
        return (create_encoder(found, initial=path, **shape) if found else _read_tower(path, role)).eval()
    if name == IMAGENET:
        return create_encoder(architecture or IMAGENET_ENCODER, initial=IMAGENET, **shape).eval()
    _check_name(path, name, random)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_encoder(name, **shape).eval()


def weights_hash(encoder: nn.Module) -> str:
    """SHA-256 (64 hex digits) of the encoder's tensors and of how it is read: two encoders with one hash compute the same."""
    plain = hash_tensors(encoder.state_dict())
    parts = [(one.layers, one.views) for one in encoder.modules() if isinstance(one, Encoder)]
    if all(part == (1, "one") for part in parts):
        return plain
    return hashlib.sha256(f"{plain} {parts}".encode()).hexdigest()


def _network(name: str, channels: int, image_size: int | None) -> Any:
    if name in OWN:
        return OWN[name](channels)
    hub = name.startswith(HUB)
    if not hub:
        _known(name)
    make = partial(from_hub if hub else timm.create_model, name, num_classes=0, in_chans=channels)
    try:
        try:
            network = make() if image_size is None else make(img_size=image_size)
        except TypeError as error:
            if "img_size" not in str(error):  # convolutional networks take any size and know no such option
                raise
            network = make()
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        size = "" if image_size is None else f" at {image_size} px"
        raise EncoderError(
            f"{name}{size} cannot be made: {(str(error).splitlines() or [type(error).__name__])[0]}",
            do="Choose an image_size that it takes, such as the one that it was trained at"
            if size
            else "Choose another one",
        ) from error
    return network if hub else _with_all_branches(network)


def _with_all_branches(network: nn.Module) -> nn.Module:
    """A fresh network in which no branch is switched off.

    timm starts the last norm of each residual branch at 0, so that at first the branches add nothing, and their convolutions
    learn nothing. Of a ResNet-18 that is not trained 98 % of the weights then take no part.
    """
    for part in network.modules():
        weight = getattr(part, "weight", None) if isinstance(getattr(part, "eps", None), float) else None
        if isinstance(weight, nn.Parameter) and weight.ndim == 1 and not weight.any():
            nn.init.ones_(weight)
    return network


def _known(name: str) -> None:
    if name not in OWN and not timm.is_model(name.partition(".")[0]):
        raise EncoderError(
            f"There is no run or file {name!r}, and no architecture of this name",
            expected="a run folder, a file of weights, imagenet or, where one is asked for, a timm name such as resnet18",
            do=nearest(name, [*OWN, *timm.list_models()], most=5),
        )


def _known_to_file(name: str, path: Path) -> None:
    """:raises EncoderError: for a name in a file that would be looked up on the hub: only what a user types is."""
    if name not in OWN and not timm.is_model(name.partition(".")[0]):
        raise EncoderError(
            f"{path} names the network {name!r}, which is none of timm's or of sidelight's",
            do="Take the file from its source again; a model of the hub is fetched only where its name is typed",
        )


def _adaptations(network: Any, channels: int) -> dict[str, Any]:
    first = (getattr(network, "pretrained_cfg", None) or {}).get("first_conv") or ()
    names = (first,) if isinstance(first, str) else tuple(first)
    adapt: dict[str, Any] = {f"{name}.weight": partial(adapt_channels, channels=channels) for name in names}
    if getattr(network, "pos_embed", None) is not None and hasattr(network, "patch_embed"):
        grid, prefix = list(network.patch_embed.grid_size), getattr(network, "num_prefix_tokens", 1)
        adapt["pos_embed"] = partial(resample_abs_pos_embed, new_size=grid, num_prefix_tokens=prefix)
    return adapt


def _read_tower(path: Path, role: str) -> Encoder:
    header, tensors = read_tower(path, role, form=ImageDescription)
    _known_to_file(header["name"], path)
    with rebuilding(path, role):
        encoder = create_encoder(
            header["name"],
            channels=header["channels"],
            image_size=header["image_size"],
            mean=header["mean"],
            std=header["std"],
        )
        encoder.load_state_dict(tensors)
        encoder.trained = True
        return encoder.reading(header["layers"], header["views"])


def _picture(one: "Picture", channels: int) -> Tensor | np.ndarray[Any, Any]:
    """One of a list of pictures: an array; of a PIL image upright, [H,W] or [H,W,3]."""
    if isinstance(one, Image.Image):
        try:
            return upright(one, channels)
        except ReadError as error:
            raise EncoderError(error.given, do=error.do) from None
        except (OSError, ValueError, SyntaxError) as error:
            raise EncoderError(f"An image cannot be read: {error}", do="Leave it out") from None
    if isinstance(one, Tensor | np.ndarray):
        return one
    raise EncoderError(f"A picture of the type {type(one).__name__}", expected="an array, a tensor or a PIL image")


def _channels_first(images: Tensor) -> Tensor:
    if images.ndim == 3:
        return images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[3] == 3:
        return images.permute(0, 3, 1, 2)
    raise EncoderError(
        f"Images of shape {tuple(images.shape)}", expected="[N,H,W], [N,H,W,3] or [N,C,H,W] with C 1 or 3"
    )


def _scaled(images: Tensor) -> Tensor:
    if images.is_floating_point():
        return images.float()
    largest = {torch.uint8: 255, torch.uint16: 65535, torch.int32: 65535}.get(images.dtype)
    if largest is None:
        raise EncoderError(f"Images of type {images.dtype}", expected="uint8, uint16 or float in [0, 1]")
    return images.float() / largest


def _per_channel(value: float | Sequence[float], channels: int) -> list[float]:
    values = [float(value)] if isinstance(value, int | float) else [float(part) for part in value]
    if len(values) == channels:
        return values
    if len(values) == 1 or channels == 1:
        return [sum(values) / len(values)] * channels
    raise EncoderError(f"{len(values)} values of normalisation for {channels} channels", expected=f"1 or {channels}")


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
