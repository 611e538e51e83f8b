"""Rich reports of the chest phantom, in English, German and Japanese: sections and sentences, and what each sentence says.

A report has an indication (which names findings as questions, and is none of them), comparison, technique, findings and
impression. Findings are named with side, zone and size; two of one kind on both sides in one sentence; faint ones, and now and
then one that is not there, with doubt. What is not there is denied in several forms. Further sentences say what no image shows.
A pneumothorax, which the phantom does not have, is denied too; no :class:`Mention` stands for it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sidelight.data.phantoms._chest_words import WORDS, Words

Language = Literal["en", "de", "ja"]
Section = Literal["findings", "impression"]
Status = Literal["present", "absent", "uncertain"]
DOUBT = 0.15
"""Chance that a report doubts about a finding that is not there."""
DENIED = 0.75
"""Chance that a kind without findings is denied."""


@dataclass(frozen=True)
class Mention:
    """One finding that a sentence names. Where it is and how large is the truth; the sentence may say less.

    :ivar side: "right", "left", or "" where the kind has none or the sentence denies it; ``zone`` likewise.
    :ivar size: "small", "large" or "".
    :ivar shown: whether the image shows it; an uncertain mention may be of nothing.
    """

    kind: str
    side: str = ""
    zone: str = ""
    size: str = ""
    status: Status = "absent"
    shown: bool = False


@dataclass(frozen=True)
class Statement:
    """One sentence of a report, the section that it stands in, and what it says; () for what no image shows."""

    text: str
    section: Section
    mentions: tuple[Mention, ...] = ()


def rich_report(
    found: Sequence[Mention],
    kinds: Sequence[str],
    places: Sequence[Mention],
    language: Language,
    rng: np.random.Generator,
) -> tuple[str, tuple[Statement, ...]]:
    """A report of what an image shows: its text, and its sentences in the order in which they are read.

    :param found: present or uncertain, each where the image shows it; no two in one place.
    :param kinds: all kinds; those without findings may be denied.
    :param places: what an image could show; one that it does not may be doubted.
    """
    words = WORDS[language]
    seen = {one.kind for one in found}
    taken = {(one.side, one.zone) for one in found}
    free = [one for one in places if one.kind not in seen and (one.side, one.zone) not in taken]
    doubted = [replace(free[int(rng.integers(len(free)))], status="uncertain")] if free and rng.random() < DOUBT else []
    named = [*_together(found), *((one,) for one in doubted)]
    body = [Statement(_said(words, own, rng), "findings", own) for own in named]
    body += _denied(words, [kind for kind in kinds if kind not in seen | {one.kind for one in doubted}], rng)
    beside = rng.permutation(words.beside)[: int(rng.integers(1, 4))].tolist()
    body += [Statement(text, "findings") for text in beside]
    body = [body[place] for place in rng.permutation(len(body)).tolist()]
    end = [Statement(_said(words, own, rng), "impression", own) for own in named]
    end = end or [Statement(str(rng.choice(words.normal)), "impression")]
    listed = [f"{number}. {one.text}" for number, one in enumerate(end, 1)] if len(end) > 1 else [end[0].text]
    text = words.frame.format(
        **{name: str(rng.choice(getattr(words, name))) for name in ("indication", "comparison", "technique")},
        findings=words.blank.join(one.text for one in body),
        impression="\n".join(f" {line}" if language == "en" else line for line in listed),
    )
    return text, (*body, *end)


def _together(found: Sequence[Mention]) -> list[tuple[Mention, ...]]:
    """Findings by sentence: a right and a left one of one kind, of which nobody doubts, share one."""
    left = list(found)
    groups: list[tuple[Mention, ...]] = []
    while left:
        one = left.pop(0)
        if one.status == "uncertain":
            groups.append((one,))
            continue
        across = [other for other in left if (other.kind, other.status) == (one.kind, one.status)]
        across = [other for other in across if other.side != one.side][:1]
        if across:
            left.remove(across[0])
        groups.append(tuple(sorted((one, *across), key=lambda each: each.side, reverse=True)))  # right, left
    return groups


def _said(words: Words, named: tuple[Mention, ...], rng: np.random.Generator) -> str:
    """One sentence that names one finding, or two on both sides."""
    one = named[0]
    if len(named) == 2:
        zones = [words.zones[each.zone] for each in named]
        where = words.where[zones[0] != zones[1]].format(zone=zones[0], right=zones[0], left=zones[1])
        return _tidy(str(rng.choice(words.both[one.kind])).format(where=where))
    templates = words.uncertain if one.status == "uncertain" else words.present
    forms = {**words.sides.get(one.side, {}), "zone": words.zones.get(one.zone, "")}
    size = words.sizes[one.kind].get(one.size, "")
    return _tidy(str(rng.choice(templates[one.kind])).format(**forms, size=size))


def _denied(words: Words, kinds: Sequence[str], rng: np.random.Generator) -> list[Statement]:
    """What is not there: one by one, or two to three kinds in a list."""
    chosen = [kind for kind in rng.permutation(list(kinds)).tolist() if rng.random() < DENIED]
    listed = [*chosen[:2], *(["pneumothorax"] if rng.random() < 0.5 else [])] if rng.random() < 0.6 else []
    found = []
    if len(listed) > 1:
        template, last = words.lists[int(rng.integers(len(words.lists)))]
        nouns = [str(rng.choice(words.nouns[kind])) for kind in listed]
        joined = (last if last.strip() in ("nor", "noch") else words.comma).join(nouns[:-1]) + last + nouns[-1]
        mentions = tuple(Mention(kind) for kind in listed if kind != "pneumothorax")
        found, chosen = [Statement(_tidy(template.format(list=joined)), "findings", mentions)], chosen[2:]
    singles = [Statement(str(rng.choice(words.absent[kind])), "findings", (Mention(kind),)) for kind in chosen]
    return [*found, *singles]


def _tidy(text: str) -> str:
    """Without the blanks that words left which are not there, and with a capital."""
    text = re.sub(r" +", " ", text).strip().replace(" .", ".")
    return text[0].upper() + text[1:]
