"""Batched augmentation: a few tensor operations for the whole batch, the same on CPU and GPU.

Crop, resize, flip and blur are one pass: a separable resampling, ``rows @ image @ columns^T``, two batched matrix
products whose weights are an antialiasing tent filter. It costs what ``grid_sample`` costs but does not alias when it
shrinks. Then, in this fixed order: brightness, contrast, saturation, hue, greyscale, noise. One-channel images skip
the colours.

Against torchvision's RandomResizedCrop and ColorJitter (whose semantics and factor ranges are kept): crop boxes are not
rounded to whole pixels, the order of the colour operations is fixed, and blur is a tent of the same standard deviation
as the Gaussian.
"""

from functools import lru_cache
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from sidelight.config import Settings
from sidelight.errors import ConfigError

ATTEMPTS = 10  # boxes that RandomResizedCrop tries before it takes the central one
NUMBERS = 2 * ATTEMPTS + 12
"""Uniform numbers that one view needs; :attr:`Augment.numbers` where some views keep their colours or are not blurred."""

_NOISE_SHIFTS = 256
_LUMA = (0.2989, 0.587, 0.114)


class Augment(Settings):
    """How each view is changed. The defaults are our choice for greyscale ultrasound; :meth:`paper` is Meta-USCL's.

    Each view's blur and noise are uniform between 0 and their largest. :raises ConfigError: for a value outside its range.
    """

    scale: tuple[float, float] = Field((0.5, 1.0), description="range of the crop's area as a share of the image")
    ratio: tuple[float, float] = Field((0.8, 1.25), description="range of the crop's width / height")
    flip: float = Field(0.5, description="probability of a left-right flip")
    brightness: float = Field(0.4, description="b: a factor from max(0, 1 - b) to 1 + b")
    contrast: float = Field(0.4, description="c: a factor from max(0, 1 - c) to 1 + c")
    saturation: float = Field(0.0, description="s: a factor from max(0, 1 - s) to 1 + s, of colour images")
    hue: float = Field(0.0, description="largest turn of the hue, at most 0.5, of colour images")
    blur: float = Field(0.8, description="largest standard deviation of the blur in pixels of the view")
    noise: float = Field(0.04, description="largest standard deviation of added noise, on grey values from 0 to 1")
    grayscale: float = Field(0.0, description="probability that a colour view loses its colour")
    jittered: float = Field(1.0, description="probability that brightness, contrast, saturation and hue change")
    blurred: float = Field(1.0, description="probability of blur")

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "scale" and high > 1):
                limit = "0 < low <= high" + (" <= 1" if name == "scale" else "")
                raise ConfigError(f"{name} = ({low}, {high})", expected=limit)
        limits = {"flip": 1.0, "grayscale": 1.0, "hue": 0.5, "jittered": 1.0, "blurred": 1.0}
        for name in (
            "flip",
            "brightness",
            "contrast",
            "saturation",
            "hue",
            "blur",
            "noise",
            "grayscale",
            "jittered",
            "blurred",
        ):
            value, highest = getattr(self, name), limits.get(name, float("inf"))
            if not 0 <= value <= highest:
                raise ConfigError(f"{name} = {value}", expected=f"a number in [0, {highest}]")
        return self

    @property
    def numbers(self) -> int:
        """Uniform numbers that one view of this recipe needs."""
        return NUMBERS + 2 * (self.jittered < 1 or self.blurred < 1)

    @classmethod
    def paper(cls) -> "Augment":
        """Meta-USCL: crop 0.7-1, ratio 0.8-1.25, flip, ColorJitter(.64, .64, .64, .16); no blur, no noise."""
        jitter = {"brightness": 0.64, "contrast": 0.64, "saturation": 0.64, "hue": 0.16}
        return cls(scale=(0.7, 1.0), blur=0.0, noise=0.0, **jitter)

    @classmethod
    def none(cls) -> "Augment":
        """The resize alone."""
        whole = (1.0, 1.0)
        return cls(scale=whole, ratio=whole, flip=0.0, brightness=0.0, contrast=0.0, blur=0.0, noise=0.0)


def unit_range(images: Tensor) -> Tensor:
    """uint8 (/ 255), uint16 or wider integers (/ 65535) or floats in [0, 1] -> float32 in [0, 1], any shape."""
    if images.is_floating_point():
        return images.float()
    return images.float().mul_(1 / 255 if images.dtype == torch.uint8 else 1 / 65535)


def resize(images: Tensor, size: int) -> Tensor:
    """[N, C, H, W] uint8, uint16 or float in [0, 1] -> float32 [N, C, S, S] in [0, 1], antialiased."""
    count = len(images)
    zero = torch.zeros(count, device=images.device)
    box = torch.stack([zero, zero, zero + images.shape[-2], zero + images.shape[-1]], 1)
    return _resample(unit_range(images), box, size, flip=zero.bool(), blur=zero)


def augment(images: Tensor, recipe: Augment, uniforms: Tensor, *, size: int) -> Tensor:
    """Augment a batch to views of side S = ``size`` in pixels.

    :param images: [N, C, H, W], C = 1 or 3; uint8, uint16 (or int32 up to 65535) or float in [0, 1].
    :param uniforms: [N, recipe.numbers] in [0, 1): all the randomness there is.
    :returns: float32 [N, C, S, S] in [0, 1].
    """
    return augment_and_place(images, recipe, uniforms, size=size)[0]


def augment_and_place(images: Tensor, recipe: Augment, uniforms: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """The views of :func:`augment`, and where each lies in its image.

    :returns: also the corners, float32 [N, 4]: y and x of the view's upper left corner and y and x of its lower right one, in
        pixels of the image, whose own corners are (0, 0) and (H, W). Of a mirrored view the left corner has the larger x.
    """
    u = uniforms.to(images.device, torch.float32)
    tries, u = u[:, : 2 * ATTEMPTS].reshape(-1, ATTEMPTS, 2), u[:, 2 * ATTEMPTS :]
    box = _crop_box(tries, u[:, 0], u[:, 1], images.shape[-2], images.shape[-1], recipe)
    some = recipe.numbers > NUMBERS
    blur = u[:, 3] * recipe.blur * (u[:, 13] < recipe.blurred if some else 1)
    mirrored = u[:, 2] < recipe.flip
    views = _resample(unit_range(images), box, size, flip=mirrored, blur=blur)
    if some:
        jittered = _jitter(views.clone(), recipe, u[:, 4:9])
        views = torch.where((u[:, 12] < recipe.jittered)[:, None, None, None], jittered, views)
    else:
        views = _jitter(views, recipe, u[:, 4:9])
    views = _drop_colour(views, recipe, u[:, 8])
    if recipe.noise:
        shift = (u[:, 9:11] * _NOISE_SHIFTS).long()
        planes = _noise_bank(size, views.device)[shift[:, 0], shift[:, 1]]
        views = views + planes[:, None] * (u[:, 11] * recipe.noise)[:, None, None, None]
    return views.clamp_(0, 1), _corners(box, mirrored)


def _corners(box: Tensor, mirrored: Tensor) -> Tensor:
    """Boxes [N, 4] (top, left, height, width) as corners [N, 4], the x of mirrored ones exchanged."""
    top, left, height, width = box.unbind(1)
    right = left + width
    start, end = torch.where(mirrored, right, left), torch.where(mirrored, left, right)
    return torch.stack([top, start, top + height, end], 1)


def _crop_box(tries: Tensor, u_top: Tensor, u_left: Tensor, height: int, width: int, recipe: Augment) -> Tensor:
    """RandomResizedCrop: the first box that fits, else the central one; [N, 4]: top, left, height, width."""
    (low, high), ratio = recipe.scale, torch.tensor(recipe.ratio, device=tries.device)
    area = (low + (high - low) * tries[..., 0]) * height * width
    shape = torch.exp(ratio.log()[0] + (ratio.log()[1] - ratio.log()[0]) * tries[..., 1])
    w, h = (area * shape).sqrt(), (area / shape).sqrt()
    slack = 1e-4  # a full box must fit although its sides went through a square root
    fits = (w <= width + slack) & (h <= height + slack)
    first = fits.float().argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0].clamp(max=width), h.gather(1, first)[:, 0].clamp(max=height)
    whole = torch.tensor(width / height, device=tries.device).clamp(ratio[0], ratio[1])
    central_w, central_h = (whole * height).clamp(max=width), (width / whole).clamp(max=height)
    fallback = ~fits.any(1)
    w, h = torch.where(fallback, central_w, w), torch.where(fallback, central_h, h)
    u_top, u_left = u_top.masked_fill(fallback, 0.5), u_left.masked_fill(fallback, 0.5)
    return torch.stack([(height - h) * u_top, (width - w) * u_left, h, w], 1)


def _resample(images: Tensor, box: Tensor, size: int, *, flip: Tensor, blur: Tensor) -> Tensor:
    """float32 [N, C, H, W] and boxes [N, 4] -> [N, C, S, S]; ``blur`` [N] is a deviation in pixels of the result."""
    rows = _filter(box[:, 0], box[:, 2], size, images.shape[-2], blur)
    columns = _filter(box[:, 1], box[:, 3], size, images.shape[-1], blur)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images @ columns.mT[:, None]


def _filter(start: Tensor, length: Tensor, size: int, source: int, blur: Tensor) -> Tensor:
    """Weights [N, S, W] of source pixels in resampled ones: a tent, as wide as step and blur ask, with sum 1."""
    step = length / size
    centre = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step[:, None] - 0.5
    # A tent of half-width r has variance r^2 / 6, and variances of filters applied in turn add up.
    radius = (step.clamp(min=1) ** 2 + 6 * (blur * step) ** 2).sqrt()
    distance = centre.clamp(0, source - 1)[:, :, None] - torch.arange(source, device=start.device)
    weights = distance.abs_().mul_(-1 / radius[:, None, None]).add_(1).relu_()
    return weights.div_(weights.sum(-1, keepdim=True))


def _jitter(views: Tensor, recipe: Augment, u: Tensor) -> Tensor:
    """ColorJitter; ``u`` [N, 4 or more]: brightness, contrast, saturation, hue."""
    colour = views.shape[1] == 3
    if recipe.brightness:
        views = views.mul_(_factor(u[:, 0], recipe.brightness)).clamp_(0, 1)
    if recipe.contrast:
        factor = _factor(u[:, 1], recipe.contrast)
        mean = _grey(views).mean((1, 2, 3), keepdim=True)
        views = views.mul_(factor).add_((1 - factor) * mean).clamp_(0, 1)
    if recipe.saturation and colour:
        factor = _factor(u[:, 2], recipe.saturation)
        views = (views * factor + (1 - factor) * _grey(views)).clamp_(0, 1)
    if recipe.hue and colour:
        views = _turn_hue(views, (2 * u[:, 3] - 1) * recipe.hue)
    return views


def _drop_colour(views: Tensor, recipe: Augment, u: Tensor) -> Tensor:
    """RandomGrayscale; ``u`` [N]."""
    if not recipe.grayscale or views.shape[1] == 1:
        return views
    return torch.where((u < recipe.grayscale)[:, None, None, None], _grey(views), views)


def _factor(u: Tensor, strength: float) -> Tensor:
    low, high = max(0.0, 1 - strength), 1 + strength
    return (low + (high - low) * u)[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 1, H, W] by ITU-R 601 luma."""
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor(_LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotate the hue of RGB images [N, 3, H, W] in HSV space by ``turn`` [N] in turns."""
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    red, green, blue = images.unbind(1)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = hue + 6 * turn[:, None, None]
    position = (torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None] + hue[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(position, 4 - position).clamp(0, 1)


@lru_cache(maxsize=4)
def _noise_bank(size: int, device: torch.device) -> Tensor:
    """All S x S windows of one fixed plane of white noise: a view picks one, so it needs two numbers, not S * S."""
    side = size + _NOISE_SHIFTS
    plane = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device)
    return plane.unfold(0, size, 1).unfold(1, size, 1)
