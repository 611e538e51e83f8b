"""Where phrases point: their heat maps over images, beside the masks or boxes of a task where it is given, and a score."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sidelight.data.cohort.task import Task
from sidelight.data.cohort.units import units
from sidelight.evaluation.located import truth_of, with_truth
from sidelight.evaluation.truth import UNKNOWN
from sidelight.explaining.content import Image, Part, Picture, Question, frame_of, overlay
from sidelight.metrics.heat import HEAT, heat_row
from sidelight.models.grounding import PhraseMaps, phrase_vectors
from sidelight.models.joint import Joint, load_joint, region_vectors

MOST_ITEMS = 512
BATCH = 32
Masks = NDArray[np.uint8]
Maps = NDArray[np.float32]


def phrases(question: Question, asked: Sequence[str], task: Task | None) -> Part:
    """Maps of the ``asked`` phrases, without any those of the classes of ``task``, over the images of the question.

    :param task: of masks or boxes, which say where its classes are; None: nobody knows.
    """
    joint = load_joint(question.run.folder)
    named: dict[str, tuple[str, ...]] = {one: (one,) for one in asked}
    if task is not None and not named:
        named = {name: task.phrases_of(name) for name in task.classes}
    maps = PhraseMaps(joint.alignment, "whole", phrase_vectors(joint, list(named.values()), "whole"))
    truth = {} if task is None else known_masks(question, task)
    heat = heat_maps(question, joint, maps, question.rows.tolist())
    pictures = []
    for row, own in zip(question.rows.tolist(), heat, strict=True):
        image, classes = frame_of(question.pixels, row), () if task is None else task.classes
        true = {name: mask == 1 for name, mask in zip(classes, truth.get(row, ()), strict=False)}
        shown, captions = [image], [""]
        for name, each in zip(named, own, strict=True):
            said = f"{name}: {' / '.join(named[name])}" if named[name] != (name,) else name
            there = true.pop(name, None)  # of a class of the task
            found = "" if there is None else "; outlined where it is" if there.any() else "; there is none"
            shown.append(overlay(image, each - each.min()))
            shown[-1] = shown[-1] if there is None else outlined(shown[-1], there)
            captions.append(f"{said} ({each.min():.2f} to {each.max():.2f}){found}")
        for name, there in true.items():
            shown.append(outlined(image, there))
            captions.append(f"where {name} is" if there.any() else f"no {name}")
        pictures.append(Picture(question.names[row], tuple(shown), tuple(captions)))
    return Part(
        "Phrases",
        "Left the image; then how near each of its regions lies to a phrase (the mean over the phrases of a class): cosines in "
        "the space that images and reports share, coloured from the least to the most of this image, whose values stand in "
        "brackets. A map has a hottest place even where nothing is found."
        + ("" if task is None else " What the task says is true is outlined in green."),
        tuple(pictures),
        None if task is None else score(question, joint, maps, list(named), task, truth),
    )


def known_masks(question: Question, task: Task) -> dict[int, Masks]:
    """Of each row of the cache of which it is known the masks uint8 [K, S, S]: of those that are shown, and of up to
    ``MOST_ITEMS`` in all; of a series those of its middle frame, which is the one that is shown.
    """
    table = units(question.cohort, task)
    table["rows"] = question.pixels.rows_of(table["items"])
    table = table[[len(rows) > 0 for rows in table["rows"]]]
    shown = np.array([rows[0] in set(question.rows.tolist()) for rows in table["rows"]], bool)
    table = table.iloc[np.argsort(~shown, kind="stable")[:MOST_ITEMS]].reset_index(drop=True)
    table, _ = with_truth(question.cohort, question.pixels, task, table)
    truth = truth_of(table)
    assert truth is not None
    masks = truth.filled(len(task.classes), question.pixels.size).masks or []
    middle = [own if own.ndim == 3 else own[len(own) // 2] for own in masks]
    return {int(rows[0]): own for rows, own in zip(table["rows"], middle, strict=True)}


@torch.no_grad()
def heat_maps(question: Question, joint: Joint, maps: PhraseMaps, rows: Sequence[int]) -> list[Maps]:
    """Of the middle frame of each row its maps float32 [K, S, S] at the working size."""
    pixels, found = question.pixels, list[Maps]()
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        images = joint.encoder.preprocess(pixels.batch(part, [pixels.frames_of(row) // 2 for row in part]))
        regions, grid = region_vectors(joint.encoder, images)
        found += list(maps(regions.mT.reshape(len(part), -1, *grid), pixels.size).numpy())
    return found


def score(
    question: Question, joint: Joint, maps: PhraseMaps, names: Sequence[str], task: Task, truth: Mapping[int, Masks]
) -> pd.DataFrame:
    """How well the maps meet each class: a class's own, or each phrase that was asked for; images without it do not count."""
    rows, found = sorted(truth), list[dict[str, object]]()
    heat = heat_maps(question, joint, maps, rows)
    for at, name in enumerate(names):
        for place, of in enumerate(task.classes):
            if name in task.classes and name != of:
                continue
            pairs = [(own[at], truth[row][place]) for own, row in zip(heat, rows, strict=True)]
            held = [(own, mask) for own, mask in pairs if (mask == 1).any()]
            each = [heat_row(own, mask == 1, mask != UNKNOWN) for own, mask in held]
            means = np.nanmean(each, axis=0) if each else np.full(len(HEAT), np.nan)
            share = float(np.mean([(mask == 1).mean() for _, mask in held])) if held else np.nan
            values = dict(zip(("pointing game", "CNR", "mIoU"), means.tolist(), strict=True))
            found.append(
                {"phrase": name, "class": of, "images with it": len(held), "its share of them": share, **values}
            )
    return pd.DataFrame(found)


def outlined(image: Image, mask: NDArray[np.bool_]) -> Image:
    """``image`` [H, W, 3] with the pixels at the inner edge of ``mask`` [H, W] in green."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    found = image.copy()
    found[mask & ~inner] = (0, 255, 0)
    return found
