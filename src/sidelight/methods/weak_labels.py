r"""Weak labels: the encoder learns which findings the reports of its images name, by a linear layer on its pooled features.

The rival of contrast in LoVT's tables (there called CheXpert: Irvin et al., AAAI 2019, give the labels). Reports are read for
mentions of findings that they affirm, doubt or deny (:mod:`sidelight.data.reports.weak_labels`); no report is encoded. Of N
images with the labels y_nf in {0, 1}, or unknown, of F findings, features h_n = f(x_n) and a linear layer W, b:

    L = mean over known (n, f) of  w_f(y_nf) (log(1 + exp(z_nf)) - y_nf z_nf),    z_n = W h_n + b.

Findings whose labels are all alike are left out. ``uncertain = "positive"`` is the default, as in LoVT's rival (U-ones): reports
doubt where something was seen, and on ``phantom:chest?reports=rich`` six of ten doubtful findings are there; without them a
quarter of the findings would be lost. Unmentioned counts as absent, since reports name few of the findings that are not there;
``unmentioned = "ignore"`` learns from what is named alone.

Deviations from the paper
    Labels are mined by our own cues and patterns, not by CheXpert's labeller. Profile ``paper`` is the row of LoVT's tables:
    five findings, doubt positive, its augmentation, batch 64, rate 3e-4; AdamW in place of Adam, and a constant rate where theirs
    halves on a plateau. The epochs are ours: theirs stop early.
Limits
    A label says what was written, of the whole study: nothing of where, and nothing that the report does not name.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sidelight.data.cohort.spec import Texts
from sidelight.data.pixels.cache import Pixels
from sidelight.data.reports.finding_words import FINDINGS
from sidelight.data.reports.weak_labels import (
    ABSENT,
    PRESENT,
    UNCERTAIN,
    UNMENTIONED,
    finders,
    label_counts,
    report_labels,
)
from sidelight.errors import DataError
from sidelight.losses.labels import inverse_frequency, label_loss
from sidelight.methods.base import Gather, identity
from sidelight.methods.reports import AUTHORS
from sidelight.methods.settings import PretrainSettings
from sidelight.methods.studies import StudyMethod, StudySettings
from sidelight.views.affine import Affine
from sidelight.views.augment import Augment
from sidelight.views.feed import Feed, Integers
from sidelight.views.report_labels import LabelledBatch, LabelledStudies
from sidelight.views.reports import Studies, StudyRecipe

CODES = {"positive": PRESENT, "negative": ABSENT, "ignore": UNMENTIONED}
FIVE = ("cardiomegaly", "edema", "consolidation", "atelectasis", "pleural_effusion")
"""CheXpert's competition findings, which LoVT's rival learns."""
LEAST = 2
"""Findings with both values, below which there is nothing to tell apart."""


class WeakLabelSettings(StudySettings):
    """Settings of :class:`WeakLabels`."""

    findings: dict[str, Texts] = Field(
        {},
        description="patterns by finding, such as {effusion = ['effusion', 'Erguss', '胸水']}; none is the language's own",
    )
    uncertain: Literal["positive", "ignore", "negative"] = Field(
        "positive", description="what a finding counts as of which a report doubts"
    )
    unmentioned: Literal["negative", "ignore"] = Field(
        "negative", description="what a finding counts as that a report does not name"
    )
    balance: Literal["none", "inverse_frequency"] = Field(
        "none", description="inverse_frequency: presence and absence of each finding weigh alike"
    )


class WeakLabels(StudyMethod):
    """A radiograph, and which findings its report affirms, doubts or denies: labels mined from text, a linear layer each."""

    Settings: ClassVar[type[PretrainSettings]] = WeakLabelSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            **{name: value for name, value in AUTHORS.items() if name in StudySettings.model_fields},
            "batch_size": 64,
            "accumulate": 1,
            "lr": 3e-4,
            "schedule": "constant",
            "findings": {name: FINDINGS["en"][name] for name in FIVE},
            "uncertain": "positive",
            "unmentioned": "negative",
        },
    }
    TELLING = ("uncertain", "unmentioned", "balance")
    class_weights: Tensor
    NOT_FROM_PAPER = (*StudyMethod.NOT_FROM_PAPER, "findings", "schedule", "epochs")

    def build_heads(self) -> None:
        """The labels of all reports, and one logit for each finding that has both values among those that are learnt from."""
        s = self.settings
        known = self.known_studies()
        assert self.source is not None and self.source.cohort.spec.report is not None
        language = self.source.cohort.spec.report.language
        words = finders(s.findings, language)
        said = report_labels(known.said, words, language)
        labels, learnt = settled(said, s.uncertain, s.unmentioned), self.learnt(known)
        both = [(labels[learnt] == value).any(axis=0) for value in (PRESENT, ABSENT)]
        used = np.flatnonzero(both[0] & both[1])
        names = list(words)
        self.counts = label_counts(said[learnt], names)
        if len(used) < LEAST:
            raise DataError(
                f"Of {len(names)} findings {len(used)} can be told apart in {learnt.sum()} reports of {self.source.cohort.name} "
                f"(present, uncertain, absent): {told(self.counts)}",
                expected=f"{LEAST} or more that some reports affirm and others do not",
                do='Name what these reports say: findings={NAME = ["WORD", ...]}',
            )
        self.names = tuple(names[place] for place in used)
        self.labels = np.ascontiguousarray(labels[:, used])
        self.studies = Studies(known.rows, ((),) * len(known.rows), known.numbers)
        self.head = nn.Linear(self.encoder.dim, len(used))
        weights = np.ones((len(used), 2))
        if s.balance == "inverse_frequency":
            weights = np.stack([inverse_frequency(column, 2) for column in self.labels[learnt].T.astype(np.int64)])
        self.register_buffer("class_weights", torch.from_numpy(weights).float(), persistent=False)

    def facts(self) -> dict[str, int]:
        """How many reports affirm, doubt and deny each finding."""
        words = ("present", "uncertain", "absent")
        return {f"{row['finding']}: {word}": int(row[word]) for row in self.counts for word in words}

    def loss(self, batch: LabelledBatch, *, gather: Gather = identity) -> Tensor:
        """The mean over the labels that are known in the batches of all processes."""
        logits = self.head(self.encoder(batch.left))
        logits = logits if logits.dtype == torch.float64 else logits.float()  # of autocast, bf16
        return label_loss(gather(logits), gather(batch.labels), self.class_weights)

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """Studies for the loop: of the rows of ``pixels.index`` that may be used, those that stand for a study."""
        s = self.settings
        first = self.studies.first
        roles = self.roles(pixels, first if rows is None else first[np.isin(first, rows)])
        number = {int(row): place for place, row in enumerate(first)}
        plain, shown = StudyRecipe(Augment.none(), Affine.none()), StudyRecipe(s.augment, s.affine)
        sources = {
            role: LabelledStudies(
                pixels,
                self.studies,
                self.labels,
                shown if role == "train" else plain,
                s.seed,
                size=s.image_size,
                broken=s.shuffle_pairs,
                pool=np.array([number[int(row)] for row in chosen], np.int64),
            )
            for role, chosen in roles.items()
            if len(chosen)
        }
        return Feed.of(roles, sources, draws=1, pixels=pixels, secret=secret)


def settled(labels: np.ndarray, uncertain: str, unmentioned: str) -> np.ndarray:
    """Mined labels int8 [N, F] with what a method makes of doubt and silence: 1, 0, or negative where it is not learnt from.

    >>> settled(np.array([[1, 0, -1, -2]], np.int8), "positive", "negative").tolist()
    [[1, 0, 1, 0]]
    """
    found = labels.copy()
    found[labels == UNCERTAIN] = CODES[uncertain]
    found[labels == UNMENTIONED] = CODES[unmentioned]
    return found


def told(counts: list[dict[str, int | str]]) -> str:
    """The counts of all findings in one line; at most 14 of them."""
    rows = [f"{row['finding']} {row['present']}, {row['uncertain']}, {row['absent']}" for row in counts]
    return "; ".join(rows[:14]) + ("; ..." if len(rows) > 14 else "")
