"""What SM3's stages learnt: clinical photographs found from dermoscopic ones; which labels read which, and where they look."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sidelight.data.cohort.units import units
from sidelight.evaluation.units import read_units
from sidelight.explaining.content import Image, Part, Picture, Question, frame_of, overlay
from sidelight.explaining.photo_pairs import saliency
from sidelight.methods.photos import find_lesions, photo_roles
from sidelight.metrics.clustering import nmi
from sidelight.metrics.representation import median_rank, recall_at, retrieval_ranks
from sidelight.models.heads import load_projection
from sidelight.models.image import Encoder
from sidelight.models.labels import LabelRelations, load_labels
from sidelight.models.pair import PhotoPair
from sidelight.views.photos import PhotoLesions

SLOTS = ("first photograph", "second photograph")


def explain(question: Question) -> Sequence[Part]:
    """Stage 1: how well one photograph finds the other. Stage 2: attention between labels, and saliency of each."""
    settings = SimpleNamespace(**question.run.config["settings"])
    roles = photo_roles(settings)
    first = question.run.encoder(roles[0])
    towers = first, first if roles[0] == roles[1] else question.run.encoder(roles[1])
    rows = np.arange(len(question.pixels), dtype=np.int64)
    lesions = find_lesions(question.cohort, question.pixels, rows, tuple(settings.photographs), settings.unit)
    if not lesions.named:
        pairs = tuple((rows[:1], rows[1:2]) for rows, _ in lesions.slots)
        lesions = PhotoLesions(lesions.rows, pairs, lesions.groups, True)
    cases = _read(question, lesions, PhotoPair(*towers, tuple(settings.photographs)))
    if question.run.config["method"] == "sm3":
        return [_retrieval(question, cases, roles)]
    net = load_labels(question.run.folder)
    chosen = _chosen(question, lesions)
    return [
        _relations(net, cases),
        _case_by_case(question, net, cases, chosen),
        _saliency(question, net, towers, cases, chosen),
    ]


@dataclass(frozen=True, eq=False)
class Cases:
    """Lesions with the features of both photographs.

    :ivar vectors: float32 [N, 2, D], 0 where a photograph is missing, as in training; ``present`` bool [N, 2].
    """

    lesions: PhotoLesions
    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]


def _read(question: Question, lesions: PhotoLesions, pair: PhotoPair) -> Cases:
    items = [[*first, *second] for first, second in lesions.slots]
    found = read_units(pair, question.pixels, items, frames=1).vectors
    assert found is not None
    whole = found.reshape(len(items), 2, -1)
    return Cases(lesions, np.nan_to_num(whole), ~np.isnan(whole[..., 0]))


def _chosen(question: Question, lesions: PhotoLesions) -> list[int]:
    """Places of the lesions that the shown items belong to, each once."""
    place_of = {row: place for place, slots in enumerate(lesions.slots) for rows in slots for row in rows}
    return list(dict.fromkeys(place_of[row] for row in question.rows.tolist() if row in place_of))


def _features(cases: Cases) -> Tensor:
    """[f_d; f_c] float [N, F], zeros where a photograph is missing, as in training."""
    return torch.from_numpy(cases.vectors.reshape(len(cases.vectors), -1))


def _retrieval(question: Question, cases: Cases, roles: tuple[str, str]) -> Part:
    """Recall of a lesion's second photograph among all second ones, in the space that both share."""
    both = np.flatnonzero(cases.present.all(axis=1))
    if len(both) < 2:
        return Part("From one photograph to the other", "No two lesions have both photographs.")
    vectors = []
    for slot, role in enumerate(roles):
        net = load_projection(question.run.folder, f"{role}_projection")
        with torch.no_grad():
            vectors.append(net(torch.from_numpy(cases.vectors[both, slot])).numpy())
    ranks = retrieval_ranks(*vectors)
    similar = functional.normalize(torch.from_numpy(vectors[0])) @ functional.normalize(torch.from_numpy(vectors[1])).T
    place = {int(one): number for number, one in enumerate(both)}
    pictures = []
    for lesion in [one for one in _chosen(question, cases.lesions) if one in place]:
        own = place[lesion]
        near = similar[own].argsort(descending=True)[:4].tolist()
        shown = [cases.lesions.slots[lesion][0][0], *(cases.lesions.slots[int(both[one])][1][0] for one in near)]
        said = [f"{similar[own, one]:.2f}{', its own' if one == own else ''}" for one in near]
        sentence = f"{question.names[shown[0]]}: its own second photograph has rank {ranks[own]:.0f} of {len(both)}"
        pictures.append(Picture(sentence, tuple(frame_of(question.pixels, row) for row in shown), ("itself", *said)))
    count = len(both)
    table = pd.DataFrame(
        [
            {"measure": f"its own among the first {k}", "value": recall_at(ranks, k), "by chance": min(k / count, 1.0)}
            for k in (1, 5, 10)
        ]
        + [{"measure": "median rank", "value": median_rank(ranks), "by chance": (count + 1) / 2}]
    )
    return Part(
        "From one photograph to the other",
        "A lesion's first photograph on the left, then the second photographs of all lesions that lie nearest to it in the "
        "space that both share (cosine). Lesions that were learnt from are among them.",
        tuple(pictures),
        table,
    )


def _relations(net: LabelRelations, cases: Cases) -> Part:
    """The average attention over all lesions."""
    names = list(net.labels)
    with torch.no_grad():
        mean = net.attention(_features(cases)).mean(0).numpy()
    table = pd.DataFrame(mean, columns=names)
    table.insert(0, "label", names)
    strongest = [(mean[a, b], names[a], names[b]) for a in range(len(names)) for b in range(len(names)) if a != b]
    facts = [f"{one} reads {two}: {value:.2f}" for value, one, two in sorted(strongest, reverse=True)[:3]]
    even = 1 / len(names)
    return Part(
        "Which labels read which",
        f"Average over {len(cases.vectors)} lesions of the label-relation layer's attention: each row is a label that reads, "
        f"and its numbers add up to 1; {even:.2f} each would be no preference. Labels carry the names of the checklist, but "
        "their pseudo-classes were found by clustering: the table below says how far they agree with the truth.",
        table=table,
        facts=tuple(facts),
    )


def _case_by_case(question: Question, net: LabelRelations, cases: Cases, chosen: list[int]) -> Part:
    """Pseudo-class and strongest relation of each label for the lesions shown, and agreement with the truth."""
    names, features = list(net.labels), _features(cases)
    with torch.no_grad():
        classes = torch.stack([one.argmax(1) for one in net.logits(net(features))], 1).numpy()
        weights = net.attention(features[chosen]).numpy()
    rows = []
    for number, lesion in enumerate(chosen):
        for place, name in enumerate(names):
            others = weights[number, place].copy()
            others[place] = -1
            rows.append(
                {
                    "lesion": question.names[int(cases.lesions.rows[lesion])],
                    "label": name,
                    "pseudo-class": int(classes[lesion, place]),
                    "reads most": names[int(others.argmax())],
                    "attention": float(others.max()),
                }
            )
    facts = []
    for place, name in enumerate(names):
        truth = _truth(question, name, cases.lesions)
        known = truth >= 0
        if known.any():
            facts.append(f"{name}: NMI of pseudo-classes and truth {nmi(classes[known, place], truth[known]):.3f}")
    return Part(
        "Lesion by lesion",
        "For each label its pseudo-class (its numbers are arbitrary) and the other label that it reads most.",
        table=pd.DataFrame(rows),
        facts=tuple(facts),
    )


def _truth(question: Question, name: str, lesions: PhotoLesions) -> NDArray[np.int64]:
    """The class of each lesion in the cohort's task of this name, -1 where there is none."""
    task = question.cohort.tasks.get(name)
    if task is None or task.several:
        return np.full(len(lesions.rows), -1)
    table = units(question.cohort, task)
    code = {item: label for items, label in zip(table["items"], table["label"], strict=True) for item in items}
    positions = question.pixels.index["position"].to_numpy()[lesions.rows]
    return np.array([code.get(one, -1) for one in positions.tolist()], np.int64)


def _saliency(
    question: Question, net: LabelRelations, towers: tuple[Encoder, Encoder], cases: Cases, chosen: list[int]
) -> Part:
    """For each label where the logit of its pseudo-class is sensitive, on both photographs."""
    pictures = []
    for lesion in chosen:
        images = {
            slot: torch.from_numpy(question.pixels.batch([rows[0]], [0]))
            for slot, rows in enumerate(cases.lesions.slots[lesion])
            if rows
        }
        heats = saliency(net, towers, images)
        for slot, maps in heats.items():
            plain = frame_of(question.pixels, cases.lesions.slots[lesion][slot][0])
            shown: list[Image] = [plain, *(overlay(plain, heat) for heat in maps)]
            sentence = f"{question.names[int(cases.lesions.rows[lesion])]}, {SLOTS[slot]}"
            pictures.append(Picture(sentence, tuple(shown), ("", *net.labels)))
    return Part(
        "Where each label looks",
        "Size of the gradient of a label's own pseudo-class with respect to the pixels, smoothed, on both photographs; each "
        "scaled to its own maximum. A gradient says where a small change would matter, not what was recognised.",
        tuple(pictures),
    )
