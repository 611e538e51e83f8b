"""Grounding by the sentences of boxes: each sentence of an image is asked for once, and its boxes are where it points.

Sentences of an image may be of one class; each is one question, as in MS-CXR and PadChest-GR, and may have several boxes. Asking
by class is what :mod:`sidelight.evaluation.protocols.localized.ground` does by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sidelight.evaluation.drawn import framed, packed
from sidelight.evaluation.protocols.base import Floats
from sidelight.evaluation.protocols.localized.masks import mask_rows
from sidelight.evaluation.protocols.localized.pictures import Rows, summed
from sidelight.evaluation.truth import UNKNOWN, Truth
from sidelight.models.grounding import PhraseMaps, Space, enlarged, phrase_vectors
from sidelight.models.joint import Joint


@dataclass(frozen=True, eq=False)
class Questions:
    """Of N images Q questions in their order, at least one of each: of an image without boxes one of which nothing is known.

    :ivar image: int64 [Q], which of the N each is of, rising.
    :ivar label: int64 [Q], which of the K targets its boxes are of.
    :ivar sentences: what is asked for, [Q]; "" where no sentence is known.
    :ivar truth: masks uint8 [K, W, W] of each, unknown but of its target.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    sentences: tuple[str, ...]
    truth: Truth


def questions(truth: Truth, classes: int, side: int) -> Questions:
    """The questions about images with boxes; boxes of one target and one sentence are one region.

    :param truth: boxes, labels and sentences; ``classes`` K; ``side`` the working size W.
    """
    asked: list[tuple[int, int, str]] = []
    masks: list[NDArray[np.uint8]] = []
    boxes, labels = truth.boxes or (), truth.labels or ()
    for at, (own, kinds) in enumerate(zip(boxes, labels, strict=True)):
        said = truth.sentences[at] if truth.sentences is not None else ("",) * len(own)
        pairs = [(int(kind), one) for kind, one in zip(kinds, said, strict=True)]
        image = truth.take(np.array([at]))
        for kind, sentence in dict.fromkeys(pairs) or [(0, "")]:
            there = np.array([one == (kind, sentence) for one in pairs], bool)
            mask = np.full((classes, side, side), UNKNOWN, np.uint8)
            if there.any():
                part = Truth(boxes=[own[there]], labels=[kinds[there]], inner=image.inner)
                own_mask = (part.filled(classes, side).masks or [mask])[0][kind]
                if (own_mask == 1).any():  # else its boxes are too small to be seen, or lie beside the image
                    mask[kind] = own_mask
            asked.append((at, kind, sentence))
            masks.append(mask)
    image_of, label_of = (np.array([one[place] for one in asked], np.int64) for place in (0, 1))
    return Questions(image_of, label_of, tuple(one[2] for one in asked), Truth(masks=masks))


@dataclass(frozen=True, eq=False)
class OwnSentences:
    """Sentences to maps, beside a head that knows the phrases of classes; a box without a sentence is asked for by its class.

    :ivar mean: float32 [D, h, w] or [D, 1, 1], taken from the regions of every image; ``limits`` as those of the head.
    """

    joint: Joint
    space: Space
    mean: torch.Tensor
    limits: Floats

    @torch.no_grad()
    def __call__(self, maps: PhraseMaps, last: torch.Tensor, asked: Questions, size: int) -> torch.Tensor:
        """Maps float32 [Q, size, size] of the questions about images with the last feature maps [N, C, h, w]."""
        vectors = maps.vectors[torch.from_numpy(asked.label)]
        there = [at for at, sentence in enumerate(asked.sentences) if sentence]
        if there:
            vectors[there] = phrase_vectors(self.joint, [[asked.sentences[at]] for at in there], self.space)
        regions = (maps.regions(last) - self.mean)[torch.from_numpy(asked.image)]
        return enlarged(torch.einsum("qdhw,qd->qhw", regions, vectors)[:, None], size)[:, 0]


def spread(heat: NDArray[Any], classes: int) -> NDArray[Any]:
    """Maps [q, W, W] as they stand for each of K classes, [q, K, W, W], without a copy."""
    return np.broadcast_to(heat[:, None], (len(heat), classes, *heat.shape[1:]))


def sentence_rows(asked: Iterator[tuple[NDArray[np.float32], Questions]], limits: Floats, tolerance: float) -> Rows:
    """What each image contributes to each target, summed over its sentences; what was found is what any of them found."""
    parts, owners, found, first = [], [], [], 0
    for heat, own in asked:
        classes, images = len(limits), int(own.image[-1]) + 1
        parts.append(mask_rows(spread(heat, classes), limits[:, None, None], own.truth, tolerance))
        over = np.zeros((images, classes, *heat.shape[1:]), bool)
        np.logical_or.at(over, (own.image, own.label), heat >= limits[own.label][:, None, None])
        found += [[framed(0, packed(one)) for one in each] for each in over]
        owners.append(own.image + first)
        first += images
    return replace(summed(parts, np.concatenate(owners)), drawn=found)
