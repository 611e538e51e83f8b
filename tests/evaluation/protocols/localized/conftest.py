"""A world of bright discs in noise, one encoder whose maps show them where they are, and one that shows the image's mean."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sidelight.data.cohort.task import Target
from sidelight.evaluation.protocols.base import Examples
from sidelight.evaluation.truth import Truth
from sidelight.evaluation.units import Units
from sidelight.models.image import Encoder

SIDE, UNITS = 64, 60


class Memory:
    """Pixels of stills, in memory."""

    def __init__(self, images, folder):
        self.images, self.folder = images, folder
        self.size, self.channels = images.shape[-1], images.shape[1]
        self.index = pd.DataFrame({"item": [f"i{at}" for at in range(len(images))]})
        self.hash = hashlib.sha256(images.tobytes()).hexdigest()[:16]

    def __len__(self):
        return len(self.images)

    def frames_of(self, row):
        return 1

    def batch(self, rows, at):
        return self.images[list(rows)]


class Averages(nn.Module):
    """At strides 2 to 32 the image averaged, and its square; ``blind``: averaged over the whole image, everywhere alike."""

    num_features = 4

    def __init__(self, blind):
        super().__init__()
        self.calls = 0
        self.register_buffer("blind", torch.tensor(blind))  # part of the weights, by which maps are told apart
        self.mix = nn.Conv2d(2, 4, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, -1]])[:, :, None, None])
        self.norm = nn.BatchNorm2d(4)

    def forward_intermediates(self, images, intermediates_only=False):
        self.calls += 1
        if self.blind:
            images = images.mean((2, 3), keepdim=True).expand(images.shape)
        both = torch.cat([images, images.square()], 1)
        return [self.norm(self.mix(nn.functional.avg_pool2d(both, stride))) for stride in (2, 4, 8, 16, 32)]


def encoder(blind):
    torch.manual_seed(0)
    return Encoder(Averages(blind), name="averages", channels=1, image_size=SIDE, mean=[0.2], std=[0.2]).eval()


@pytest.fixture
def seeing():
    return encoder(False)


@pytest.fixture
def blind():
    return encoder(True)


class World:
    """Units of two targets: discs, of which some images have none, and squares, which one in three has."""

    def __init__(self, folder, count=UNITS):
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        masks = np.zeros((count, 2, SIDE, SIDE), np.uint8)
        self.boxes, self.labels = [], []
        for unit in range(count):
            own, kinds = [], []
            for kind in range(2):
                if unit % (6, 3)[kind] == 0:
                    continue
                radius = rng.integers(6, 10)
                middle = rng.integers(radius, SIDE - radius, 2)
                far = np.stack([abs(rows - middle[0]), abs(columns - middle[1])])
                masks[unit, kind] = (far**2).sum(0) <= radius**2 if kind == 0 else far.max(0) <= radius - 1
                there = np.nonzero(masks[unit, kind])
                own.append([there[1].min(), there[0].min(), there[1].max() + 1, there[0].max() + 1])
                kinds.append(kind)
            self.boxes.append(np.array(own, np.float32).reshape(-1, 4))
            self.labels.append(np.array(kinds, np.int64))
        self.masks = masks
        bright = 0.75 * masks[:, 0] + 0.4 * masks[:, 1] * (1 - masks[:, 0])
        self.images = np.clip(255 * (bright + rng.uniform(0, 0.25, bright.shape)), 0, 255).astype(np.uint8)[:, None]
        self.pixels = Memory(self.images, folder)
        self.groups = np.array([f"p{unit // 2:02d}" for unit in range(count)], dtype=object)

    def truth(self, targets=2, kind="mask"):
        if kind == "mask":
            return Truth(masks=list(self.masks[:, :targets]))
        kept = [labels < targets for labels in self.labels]
        pairs = zip(self.boxes, self.labels, kept, strict=True)
        boxes, labels = zip(*((own[keep], of[keep]) for own, of, keep in pairs), strict=True)
        return Truth(boxes=list(boxes), labels=list(labels))

    def sides(self, targets=2, kind="mask", learn=40, truth=None):
        """What learns, and the table and units that are tested."""
        units = Units(self.pixels, [[row] for row in range(len(self.pixels))], truth=truth or self.truth(targets, kind))
        heads = tuple(Target(name, ("no", "yes")) for name in ("disc", "square")[:targets])
        examples = Examples(units.take(np.arange(learn)), np.zeros((learn, targets), int), self.groups[:learn], heads)
        rest = np.arange(learn, len(self.pixels))
        table = pd.DataFrame({"unit": [f"u{at}" for at in rest], "group": self.groups[rest]})
        return examples, table, units.take(rest)


TARGETS = {"disc": ("no", "yes"), "square": ("no", "yes")}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def named():
    """The targets of a world by name; the first ``count`` of them."""
    return lambda count=2: dict(list(TARGETS.items())[:count])
