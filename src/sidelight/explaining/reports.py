"""What a run on reports learnt: each sentence with its heat map, each region with its sentence, and how the two spaces lie.

The page shows the sentences of the reports that it is asked about; its tables hold numbers alone.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from numpy.typing import NDArray

from sidelight.data.phantoms.chest import ChestFinding, ChestPhantom
from sidelight.data.reports.reports import Study, read_reports
from sidelight.explaining.content import Image, Part, Picture, Question, frame_of, overlay
from sidelight.metrics.representation import (
    alignment,
    effective_rank,
    embedding_std,
    recall_at,
    retrieval_ranks,
    uniformity,
)
from sidelight.models.joint import Aligned, Joint, load_joint

MOST_STUDIES = 512
MOST_SENTENCES = 8


def explain(question: Question) -> Sequence[Part]:
    """Sentences and regions of the studies asked for, and statistics over all studies (up to ``MOST_STUDIES``).

    Data without reports can still be asked where phrases point: then one sentence says that there are none.
    """
    if question.cohort.spec.report is None:
        return (Part("Sentences and regions", facts=(f"{question.cohort.alias} names no reports.",)),)
    joint = load_joint(question.run.folder)
    studies = read_reports(question.cohort, question.pixels.folder / "reports").studies
    row_of = {int(at): row for row, at in enumerate(question.pixels.index["position"])}
    seen = [
        (study, rows) for study in studies if (rows := [row_of[int(at)] for at in study.items if int(at) in row_of])
    ]
    owner = {row: study for study, rows in seen for row in rows}
    chosen = [(row, owner[row]) for row in question.rows.tolist() if row in owner]
    return sentences_and_regions(question, joint, chosen), statistics(question, joint, seen)


def sentences_and_regions(question: Question, joint: Joint, chosen: Sequence[tuple[int, Study]]) -> Part:
    """For each radiograph: its regions' weights, the sentence that each region attends to most, and where each sentence looks."""
    pictures = []
    for row, study in chosen:
        image, said = frame_of(question.pixels, row), list(study.sentences[:MOST_SENTENCES])
        found = joint.align(_pixels(question, [row]), [said])
        if found.attended is not None:
            pictures.append(Picture(question.names[row], *_panels(image, said, found)))
        near = [joint.similarity_map(_pixels(question, [row]), text)[0].numpy() for text in said]
        shown = (image, *(overlay(image, one - one.min()) for one in near))
        captions = ("", *(f"{number + 1}. {text}" for number, text in enumerate(said)))
        pictures.append(Picture(f"{question.names[row]}: regions most like each sentence", shown, captions))
    table = pointing(joint, question)
    return Part(
        "Sentences and regions",
        "Left the image; then how much each region counts in the image's vector, and which sentence each region attends to "
        "most (by colour, in the order of the sentences). Then each sentence with the regions that it attends to, and its weight "
        "in the report's vector. Attention says where values are taken from; it is no proof of what decided. The second row "
        "shows which regions are most like the sentence in the shared space, from the least to the most.",
        tuple(pictures),
        table,
        () if pictures else ("None of the images that were drawn has a report.",),
    )


def _panels(image: Image, said: Sequence[str], found: Aligned) -> tuple[tuple[Image, ...], tuple[str, ...]]:
    assert found.attended is not None
    height, width = found.grid
    kept = found.mask.shape[1]
    weights = found.image.weights[0].reshape(height, width).numpy()
    best = found.attended.to_sentences[0].argmax(-1).reshape(height, width).numpy()
    heat = found.attended.to_regions[0].reshape(kept, height, width).numpy()
    shares = found.report.weights[0].tolist()
    images = [image, overlay(image, weights), _coloured(image, best), *(overlay(image, one) for one in heat)]
    captions = ["", "weights of regions", "sentence of each region"]
    captions += [f"{number + 1}. {said[number]} ({shares[number]:.2f})" for number in range(kept)]
    return tuple(images), tuple(captions)


def _coloured(image: Image, labels: NDArray[np.int64]) -> Image:
    """Each region [h, w] tinted by its label."""
    tints = (colormaps["tab10"](labels % 10)[..., :3] * 255).astype(np.float32)
    rows = np.arange(image.shape[0]) * labels.shape[0] // image.shape[0]
    columns = np.arange(image.shape[1]) * labels.shape[1] // image.shape[1]
    mixed: Image = (0.6 * image + 0.4 * tints[rows][:, columns]).round().astype(np.uint8)
    return mixed


def statistics(question: Question, joint: Joint, seen: Sequence[tuple[Study, Sequence[int]]]) -> Part:
    """Collapse, alignment, uniformity and retrieval over studies."""
    order = np.random.default_rng(question.seed).permutation(len(seen))[:MOST_STUDIES]
    chosen = [seen[int(place)] for place in order]
    images = joint.embed_images(_pixels(question, [rows[0] for _, rows in chosen])).numpy()
    reports = joint.embed_reports([study.sentences for study, _ in chosen]).numpy()
    ranks = {"image": retrieval_ranks(images, reports), "report": retrieval_ranks(reports, images)}
    rows = []
    for name, vectors in (("image", images), ("report", reports)):
        rows.append(
            {
                "vectors of": name,
                "studies": len(chosen),
                "effective rank": effective_rank(vectors),
                "standard deviation": embedding_std(vectors),
                "uniformity": uniformity(vectors),
                "alignment": alignment(images, reports),
                "recall at 1": recall_at(ranks[name], 1),
                "recall at 5": recall_at(ranks[name], 5),
                "chance at 5": min(5 / len(chosen), 1.0),
            }
        )
    return Part(
        "Images and reports in one space",
        "A standard deviation near 0 is a collapse. Alignment is the mean squared distance of an image and its report (0 to 4), "
        "uniformity is lower the more evenly vectors spread. Recall: how often the own report (or image) is among the first of "
        "all these studies, most of which the run may have been trained on.",
        table=pd.DataFrame(rows),
    )


def pointing(joint: Joint, question: Question) -> pd.DataFrame | None:
    """Where the truth is known: how often the region that a finding's sentence picks holds the most of the finding; None else.

    A sentence that names two findings is asked once, for both. It picks by the similarity of the regions, by how far that goes
    beyond the mean image's, and, with local losses, by attention.
    """
    phantom = question.cohort.phantom
    if not isinstance(phantom, ChestPhantom):
        return None
    rows = list(range(min(len(question.pixels), MOST_STUDIES)))
    positions = question.pixels.index["position"].to_numpy()
    regions = joint.embed_regions(_pixels(question, rows))
    mean, shape = regions.mean(0), tuple(regions.shape[1:3])
    hits: dict[str, list[bool]] = {"similarity": [], "similarity beyond the mean image": [], "attention": []}
    for row in rows:
        at = int(positions[row])
        named: dict[str, list[ChestFinding]] = {}
        for finding in (one for one in phantom.findings[at] if one.side):
            named.setdefault(finding.sentence, []).append(finding)
        for sentence, findings in named.items():
            phrase = joint.embed_reports([[sentence]])[0]
            maps = [regions[row] @ phrase, (regions[row] - mean) @ phrase]
            if joint.alignment.attention is not None:
                maps.append(joint.heat_map(_pixels(question, [row]), sentence)[0])
            where = np.any([phantom.extent(at, one) for one in findings], axis=0)
            extent = torch.from_numpy(where).float()[None, None]
            best = torch.nn.functional.adaptive_avg_pool2d(extent, shape).argmax()
            for own, heat in zip(hits.values(), maps, strict=False):
                own.append(bool(heat.argmax() == best))
    chance = 1 / mean[..., 0].numel()
    found = [(name, len(own), float(np.mean(own)), chance) for name, own in hits.items() if own]
    return pd.DataFrame(found, columns=["by", "findings", "hits", "chance"])


def _pixels(question: Question, rows: Sequence[int]) -> NDArray[np.generic]:
    """The middle frame of each item, [N, C, S, S]."""
    at = [question.pixels.frames_of(row) // 2 for row in rows]
    return question.pixels.batch(list(rows), at)
