"""Conditions made worse: nothing at severity 0, more with more severity, and what each of them leaves alone."""

import numpy as np
import pytest
import torch

from sidelight.config import build
from sidelight.errors import ConfigError
from sidelight.views.augment import unit_range
from sidelight.views.disturb import CONDITIONS, Disturb, RobustnessSettings

ROWS = np.arange(6)


@pytest.fixture(scope="module")
def images():
    side = torch.linspace(-1, 1, 32)
    spot = torch.exp(-4 * (side[:, None] ** 2 + side[None] ** 2)) * (1 + 0.2 * torch.cos(40 * side))
    tint = torch.tensor([0.8, 0.6, 0.5])[:, None, None]
    return (255 * (tint * (1 - 0.6 * spot)).clamp(0, 1)).to(torch.uint8).expand(6, 3, 32, 32)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_more_severity_is_further_from_the_image(images, condition):
    clean = unit_range(images)
    assert torch.equal(Disturb(condition, 0.0)(images, ROWS), clean)
    away = [(Disturb(condition, s)(images, ROWS) - clean).abs().mean((1, 2, 3)) for s in (0.25, 0.5, 1.0)]
    assert (away[0] < away[1]).all() and (away[1] < away[2]).all() and (away[2] > 0.01).all()
    seen = Disturb(condition, 0.7)(images, ROWS)
    assert seen.dtype == torch.float32 and seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1


def test_an_images_view_is_its_rows_own(images):
    """Not its company's; every condition draws for itself, and resolution and distance draw nothing."""
    for condition in CONDITIONS:
        change = Disturb(condition, 0.5)
        torch.testing.assert_close(change(images, ROWS)[3], change(images[3:4], ROWS[3:4])[0])
        first = change(images, ROWS)
        assert torch.allclose(first[0], first[1], atol=1e-5) == (condition in ("resolution", "distance"))


def test_what_each_condition_is(images):
    grey = images[:, :1]
    assert torch.equal(Disturb("colour", 1.0)(grey, ROWS), unit_range(grey))
    coarse = Disturb("resolution", 1.0)(images, ROWS)
    blocks = torch.nn.functional.interpolate(coarse, size=4, mode="area")
    again = torch.nn.functional.interpolate(blocks, size=32, mode="bilinear", align_corners=False)
    assert (coarse - again).abs().mean() < 0.02  # four pixels a side say it all
    far = Disturb("distance", 1.0)(images, ROWS)
    half = torch.nn.functional.interpolate(unit_range(images), size=16, mode="area")
    assert (far[:, :, 8:24, 8:24] - half).abs().mean() < 0.03  # half as large
    ratio = Disturb("colour", 1.0)(images, ROWS) / unit_range(images)
    inside = ratio[:, :, 16, 16]
    assert (inside.amax(1) - inside.amin(1)).max() > 0.1  # channels part


@pytest.mark.parametrize(("condition", "severity"), [("fog", 0.5), ("light", 1.5), ("light", -0.1)])
def test_others_are_refused(condition, severity):
    with pytest.raises(ConfigError, match=r"light, colour, resolution, distance.*0 to 1"):
        Disturb(condition, severity)


def test_settings_that_leave_nothing_to_do_are_said_or_do_nothing():
    def changes(channels, **given):
        return build(RobustnessSettings, given).changes(channels)

    assert changes(1, severities=[0]) == [] and changes(1, conditions=["colour"]) == changes(3, conditions=[]) == []
    assert changes(3, severities=[0, 0.5], conditions=["colour"]) == [Disturb("colour", 0.5)]
    for severity in (2, -0.1):
        with pytest.raises(ConfigError, match="severities"):
            build(RobustnessSettings, {"severities": [severity]})
    with pytest.raises(
        ConfigError, match=r"conditions = \['colour'\] of grey images\. Expected: one of light, resolution"
    ):
        changes(1, severities=[0.5], conditions=["colour"])
    with pytest.raises(ConfigError, match=r"conditions = \[\] of colour images\. Expected: one of light, colour"):
        changes(3, severities=[0.5], conditions=[])
