"""Weak labels: which findings the sentences of a report name, and whether they affirm, deny or doubt them.

In the manner of NegEx (Chapman et al. 2001) and the labeller of CheXpert (Irvin et al., AAAI 2019): a finding is found by the
patterns of its words, a denial or a doubt by cues in front of it, behind it or within it, inside one sentence and its scope.

    Of the cues whose scope holds a mention the nearest decides; at equal distance doubt wins; without a cue it is affirmed.
    Of overlapping cues the longer one counts: "cannot be excluded" is a doubt, and its "not" no denial.
    A scope ends at words such as "but": "no effusion but a nodule" affirms the nodule.
    Of several mentions of one finding, in a sentence or a report, affirmed beats doubtful beats denied.

What is not said to be over is there: "no evidence of resolution of the effusion" and "no change in the effusion" affirm the
effusion, "the effusion has resolved" denies it.

Limits
    Words, not meaning. A comma ends no scope: "no effusion, nodule on the left" denies the nodule. History ("known effusion") and
    questions count as what they name; the sections that hold them are not read (:mod:`sidelight.data.reports.reports`).
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sidelight.data.expressions import BadExpression, Expression
from sidelight.data.reports.finding_words import CUES, FINDINGS, Direction
from sidelight.errors import ConfigError, nearest

PRESENT, UNCERTAIN, ABSENT, UNMENTIONED = 1, -1, 0, -2
"""Codes of a label, CheXpert's; blank there is ``UNMENTIONED`` here."""
STRENGTH = (UNMENTIONED, ABSENT, UNCERTAIN, PRESENT)
"""Each beats those before it."""
Finders = Mapping[str, tuple[Expression, ...]]


@dataclass(frozen=True)
class Mention:
    """Where a finding is named in a sentence, as positions of characters, and its label."""

    finding: str
    start: int
    end: int
    label: int


def finders(findings: Mapping[str, Sequence[str]], language: str) -> Finders:
    """The expressions of ``findings``, of the language's own where none are given.

    :param findings: regular expressions by finding, searched anywhere in a sentence in any capitals.
    :raises ConfigError: for a language without cues, one without findings where none are given, or what is no expression.
    """
    if language not in CUES:
        raise ConfigError(f"Weak labels of reports in {language!r}", expected=nearest(language, CUES))
    found: dict[str, tuple[Expression, ...]] = {}
    for name, patterns in (findings or FINDINGS.get(language, {})).items():
        if not patterns or "" in patterns:
            raise ConfigError(f"The finding {name!r} has an empty pattern", expected="words or regular expressions")
        try:
            found[name] = tuple(Expression.of(f"(?i){pattern}") for pattern in patterns)
        except BadExpression as error:
            raise ConfigError(f"A pattern of the finding {name!r} is no regular expression: {error}") from None
    if not found:
        raise ConfigError(f"No findings are known in {language!r}", do='Name them: findings={NAME = ["WORD", ...]}')
    return found


def sentence_mentions(sentence: str, findings: Finders, language: str) -> list[Mention]:
    """Every mention of a finding in one sentence, in the order of the findings.

    :raises ConfigError: for a pattern that takes too long.
    """
    cues: _Said | None = None
    found = []
    for name, patterns in findings.items():
        spans = sorted({span for pattern in patterns for span in pattern.spans(sentence)})
        if spans and cues is None:
            cues = _said(sentence, language)
        found += [Mention(name, start, end, cues.about(start, end)) for start, end in spans if cues is not None]
    return found


def sentence_labels(sentence: str, findings: Finders, language: str) -> dict[str, int]:
    """The label of each finding that one sentence names."""
    found: dict[str, int] = {}
    for one in sentence_mentions(sentence, findings, language):
        found[one.finding] = stronger(found.get(one.finding, UNMENTIONED), one.label)
    return found


def report_labels(reports: Sequence[Sequence[str]], findings: Finders, language: str) -> NDArray[np.int8]:
    """The label of each finding in each report, int8 [N, F], in the order of ``findings``; a sentence is read once.

    :param reports: the sentences of each.
    """
    known: dict[str, dict[str, int]] = {}
    column = {name: place for place, name in enumerate(findings)}
    labels = np.full((len(reports), len(column)), UNMENTIONED, np.int8)
    for row, sentences in enumerate(reports):
        for sentence in sentences:
            if sentence not in known:
                known[sentence] = sentence_labels(sentence, findings, language)
            for name, label in known[sentence].items():
                labels[row, column[name]] = stronger(int(labels[row, column[name]]), label)
    return labels


def stronger(one: int, other: int) -> int:
    """The label that wins: present beats uncertain beats absent beats unmentioned."""
    return max(one, other, key=STRENGTH.index)


def label_counts(labels: NDArray[np.int8], names: Sequence[str]) -> list[dict[str, int | str]]:
    """How many reports say what of each finding: of labels int8 [N, F] a row per finding."""
    words = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT, "unmentioned": UNMENTIONED}
    return [
        {"finding": name, **{word: int((labels[:, place] == code).sum()) for word, code in words.items()}}
        for place, name in enumerate(names)
    ]


@dataclass(frozen=True)
class _Cue:
    start: int
    end: int
    label: int | None
    """None decides nothing: it keeps a shorter cue inside it from deciding."""
    direction: Direction


@dataclass(frozen=True)
class _Said:
    """The cues of one sentence, none of which overlap, by their direction and in order; and where scopes end."""

    before: tuple[_Cue, ...]
    after: tuple[_Cue, ...]
    every: tuple[_Cue, ...]
    ends: tuple[tuple[int, int], ...]

    def about(self, start: int, end: int) -> int:
        """The label of what stands there. Only the nearest cue of each side is looked at: a sentence may be a megabyte."""
        low = self.ends[at - 1][1] if (at := bisect_right(self.ends, start, key=lambda one: one[1])) else 0
        high = (
            self.ends[at][0] if (at := bisect_left(self.ends, end, key=lambda one: one[0])) < len(self.ends) else None
        )
        found: list[tuple[int, int]] = []  # distance, and 0 for doubt
        for cue in self.every[bisect_right(self.every, start, key=lambda one: one.end) :]:
            if cue.start >= end:
                break
            found += [(0, cue.label != UNCERTAIN)] if cue.label is not None else []
        at = bisect_right(self.before, start, key=lambda one: one.end)
        if at and self.before[at - 1].start >= low:
            found.append((start - self.before[at - 1].end, self.before[at - 1].label != UNCERTAIN))
        at = bisect_left(self.after, end, key=lambda one: one.start)
        if at < len(self.after) and (high is None or self.after[at].start < high):
            found.append((self.after[at].start - end, self.after[at].label != UNCERTAIN))
        if not found:
            return PRESENT
        return ABSENT if min(found)[1] else UNCERTAIN


@lru_cache(maxsize=8)
def _compiled(language: str) -> tuple[list[tuple[int | None, Direction, re.Pattern[str]]], re.Pattern[str]]:
    codes = {"absent": ABSENT, "uncertain": UNCERTAIN, "none": None}
    cues = CUES[language]
    said = [(codes[verdict], where, re.compile(pattern, re.I)) for verdict, where, pattern in cues.said]
    return said, re.compile(cues.ends, re.I)


def _said(sentence: str, language: str) -> _Said:
    """The cues of a sentence; of overlapping ones the longer."""
    patterns, ends = _compiled(language)
    cues = [
        _Cue(*place.span(), label, where) for label, where, pattern in patterns for place in pattern.finditer(sentence)
    ]
    kept: list[_Cue] = []
    for cue in sorted(cues, key=lambda one: (one.start, -one.end)):
        if not kept or cue.start >= kept[-1].end:
            kept.append(cue)
        elif cue.end - cue.start > kept[-1].end - kept[-1].start:
            kept[-1] = cue
    sides = {
        side: tuple(one for one in kept if one.direction in (side, "either") and one.label is not None)
        for side in ("before", "after")
    }
    return _Said(sides["before"], sides["after"], tuple(kept), tuple(place.span() for place in ends.finditer(sentence)))
