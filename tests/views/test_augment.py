"""Batched augmentation against torch's and torchvision's references."""

import colorsys

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms import functional as reference

from sidelight.errors import ConfigError
from sidelight.views.augment import (
    NUMBERS,
    Augment,
    _crop_box,
    _drop_colour,
    _filter,
    _jitter,
    _resample,
    augment,
    augment_and_place,
    resize,
)

NOTHING = Augment.none()


def replace(recipe: Augment, **values: object) -> Augment:
    return Augment(**{**recipe.model_dump(), **values})


def pictures(count: int = 6, channels: int = 1, size: int = 24, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, size, size, generator=generator)


def numbers(count: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, NUMBERS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_identity_recipe_returns_the_input(channels: int) -> None:
    images = pictures(channels=channels, size=16)
    assert torch.equal(augment(images, NOTHING, numbers(), size=16), images)
    assert torch.equal(resize(images, 16), images)


@pytest.mark.parametrize("size", [9, 16, 40])
def test_resize_is_antialiased_interpolation(size: int) -> None:
    images = pictures(channels=3)
    expected = interpolate(images, (size, size), mode="bilinear", antialias=size < 24, align_corners=False)
    torch.testing.assert_close(resize(images, size), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(augment(images, NOTHING, numbers(), size=size), expected, atol=1e-5, rtol=0)


def test_integer_types_mean_the_same_picture() -> None:
    grey = (pictures() * 255).round().to(torch.uint8)
    wide = (grey.int() * 257).to(torch.uint16)
    for other in (wide, wide.int(), grey.float() / 255):
        torch.testing.assert_close(resize(other, 12), resize(grey, 12), atol=1e-6, rtol=0)


def test_crop_and_flip_are_those_of_the_box() -> None:
    image = pictures(1, 3)
    box = torch.tensor([[3.0, 5.0, 16.0, 12.0]])
    view = _resample(image, box, 20, flip=torch.tensor([True]), blur=torch.zeros(1))
    inner = interpolate(image[..., 3:19, 5:17], (20, 20), mode="bilinear", align_corners=False).flip(3)
    # Beyond the box's edge the view sees the real neighbours, the cut-out sees its own edge: compare inside.
    torch.testing.assert_close(view[..., 2:-2, 2:-2], inner[..., 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_corners_say_where_each_pixel_of_a_view_comes_from() -> None:
    """Images whose grey value is x, or y, in pixels: the view holds the coordinates that its corners promise."""
    along = (torch.arange(64) + 0.5).expand(48, 64) / 64
    down = ((torch.arange(48) + 0.5) / 64)[:, None].expand(48, 64)
    recipe, u = replace(NOTHING, scale=(0.2, 0.8), ratio=(0.7, 1.4), flip=0.5), numbers(12)
    (x, corners), (y, same) = (
        augment_and_place(one.expand(12, 1, 48, 64), recipe, u, size=20) for one in (along, down)
    )
    assert corners.equal(same) and corners.shape == (12, 4)
    top, start, bottom, end = corners[:, :, None].unbind(1)
    share = (torch.arange(20) + 0.5) / 20
    inside = slice(2, -2)  # beyond the edge a filter sees nothing; a tent of no whole width is off by up to 0.1 pixel
    wanted_x, wanted_y = start + (end - start) * share, top + (bottom - top) * share
    torch.testing.assert_close(64 * x[:, 0, 10, inside], wanted_x[:, inside], atol=0.15, rtol=0)
    torch.testing.assert_close(64 * y[:, 0, inside, 10], wanted_y[:, inside], atol=0.15, rtol=0)
    assert 0 < int((start > end).sum()) < 12 and bool((top < bottom).all())
    assert augment(along.expand(12, 1, 48, 64), recipe, u, size=20).equal(x)


def test_boxes_have_the_asked_area_ratio_and_lie_inside() -> None:
    recipe, u = Augment.paper(), numbers(4000)
    box = _crop_box(u[:, :20].unflatten(1, (10, 2)), u[:, 20], u[:, 21], 32, 32, recipe)
    top, left, height, width = box.T
    area, ratio = height * width / 32**2, width / height
    assert area.min() >= 0.7 - 1e-4
    assert area.max() <= 1 + 1e-4
    assert ratio.min() >= 0.8 - 1e-4
    assert ratio.max() <= 1.25 + 1e-4
    assert torch.stack([top, left]).min() >= 0
    assert torch.maximum(top + height, left + width).max() <= 32 + 1e-3


def test_boxes_follow_torchvision() -> None:
    """The same law as RandomResizedCrop's, whose boxes are rounded to pixels; a large image makes that harmless."""
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    empty, recipe, u = torch.empty(1, 1000, 1000), Augment.paper(), numbers(2000)
    theirs = torch.tensor([RandomResizedCrop.get_params(empty, [0.7, 1.0], [0.8, 1.25]) for _ in range(2000)]).float()
    ours = _crop_box(u[:, :20].unflatten(1, (10, 2)), u[:, 20], u[:, 21], 1000, 1000, recipe)
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(ours.quantile(quantiles, 0), theirs.quantile(quantiles, 0), atol=20, rtol=0)


def test_impossible_boxes_fall_back_to_the_central_one() -> None:
    recipe = replace(NOTHING, scale=(1.0, 1.0), ratio=(0.5, 0.5))
    box = _crop_box(torch.rand(1, 10, 2), torch.zeros(1), torch.zeros(1), 32, 32, recipe)
    torch.testing.assert_close(box, torch.tensor([[0.0, 8.0, 32.0, 16.0]]))


def test_blur_widens_a_point_to_the_asked_deviation() -> None:
    weights = _filter(torch.zeros(2), torch.full((2,), 64.0), 64, 64, torch.tensor([0.0, 2.0]))
    place = torch.arange(64.0)
    spread = (weights[:, 32] * (place - 32) ** 2).sum(1).sqrt()
    assert spread[0] == 0
    assert spread[1] == pytest.approx(2, abs=0.01)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 64))


def test_colour_jitter_is_torchvisions() -> None:
    images, u = pictures(5, 3), numbers(5)[:, :5]
    recipe = replace(NOTHING, brightness=0.6, contrast=0.5, saturation=0.7, hue=0.3, grayscale=0.5)
    ours = _drop_colour(_jitter(images.clone(), recipe, u), recipe, u[:, 4])
    for image, view, (a, b, c, d, e) in zip(images, ours, u.tolist(), strict=True):
        image = reference.adjust_brightness(image, 0.4 + 1.2 * a)
        image = reference.adjust_contrast(image, 0.5 + b)
        image = reference.adjust_saturation(image, 0.3 + 1.4 * c)
        image = reference.adjust_hue(image, (2 * d - 1) * 0.3)
        if e < 0.5:
            image = reference.rgb_to_grayscale(image, 3)
        torch.testing.assert_close(view, image, atol=2e-3, rtol=0)  # torchvision rounds its luma weights otherwise


def test_hue_turn_against_the_standard_library() -> None:
    image = pictures(1, 3, 4)
    view = _jitter(image.clone(), replace(NOTHING, hue=0.25), torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]]))
    for row in range(4):
        for column in range(4):
            h, s, v = colorsys.rgb_to_hsv(*image[0, :, row, column].tolist())
            expected = colorsys.hsv_to_rgb((h + 0.25) % 1, s, v)
            assert view[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_one_channel_skips_colour_and_equals_three_equal_channels() -> None:
    grey, u = pictures(), numbers()
    recipe = replace(Augment.paper(), noise=0.05)
    three_channels = grey.expand(-1, 3, -1, -1).contiguous()
    one, three = augment(grey, recipe, u, size=20), augment(three_channels, recipe, u, size=20)
    assert one.shape == (6, 1, 20, 20)
    torch.testing.assert_close(one.expand(-1, 3, -1, -1), three, atol=1e-3, rtol=0)


def test_noise_has_the_asked_deviation_and_differs() -> None:
    grey, u = torch.full((2, 1, 64, 64), 0.5), numbers(2)
    difference = augment(grey, replace(Augment.none(), noise=0.1), u, size=64) - 0.5
    for place in range(2):
        assert difference[place].std() == pytest.approx(0.1 * float(u[place, -1]), rel=0.05)
    assert abs(float(torch.corrcoef(difference.flatten(1))[0, 1])) < 0.1


def test_an_item_does_not_depend_on_its_batch() -> None:
    images, u = pictures(8, 3), numbers(8)
    recipe = replace(Augment.paper(), blur=1.0, noise=0.1, grayscale=0.5)
    together = augment(images, recipe, u, size=20)
    torch.testing.assert_close(augment(images[3:5], recipe, u[3:5], size=20), together[3:5], atol=1e-6, rtol=0)
    assert torch.equal(augment(images, recipe, u, size=20), together)
    assert together.min() >= 0
    assert together.max() <= 1


def test_inputs_are_left_alone() -> None:
    images = pictures(size=16)
    before = images.clone()
    augment(images, Augment(), numbers(), size=16)
    augment(images, replace(NOTHING, brightness=0.5), numbers(), size=16)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "wrong", [{"scale": (0.0, 1.0)}, {"scale": (0.5, 1.2)}, {"ratio": (2, 1)}, {"flip": 1.5}, {"hue": 0.6}]
)
def test_recipes_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Augment(**wrong)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_gives_the_same_views() -> None:
    images, u = pictures(8, 3), numbers(8)
    recipe = replace(Augment.paper(), blur=1.0, noise=0.1)
    torch.testing.assert_close(
        augment(images.cuda(), recipe, u.cuda(), size=20).cpu(), augment(images, recipe, u, size=20), atol=2e-3, rtol=0
    )


def test_only_some_views_are_jittered_and_blurred() -> None:
    images = pictures(400, 3, 16)
    recipe = replace(NOTHING, brightness=0.8, blur=2.0, jittered=0.8, blurred=0.5)
    u = torch.rand(400, recipe.numbers, generator=torch.Generator().manual_seed(0))
    views, plain = augment(images, recipe, u, size=16), resize(images, 16)
    same = (views - plain).abs().amax((1, 2, 3)) < 1e-5
    assert 0.1 - 0.05 <= same.float().mean() <= 0.1 + 0.05
    dark = augment(images, replace(recipe, blurred=0.0), u, size=16)
    assert ((dark - plain).abs().amax((1, 2, 3)) > 1e-5).float().mean() == pytest.approx(0.8, abs=0.06)
    assert recipe.numbers == NUMBERS + 2 and replace(recipe, jittered=1.0, blurred=1.0).numbers == NUMBERS
