"""Whether a run has met, in pre-training, the patients that it is tested on: the column ``transductive`` of every result.

It is read off what the run wrote down and what was tested, never off what somebody says of a study. What weights of unknown
origin have seen nobody can tell: of those the column says no more than that sidelight did not train them on these patients.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import PixelSettings, open_pixels
from sidelight.data.pixels.comparison import copies_within
from sidelight.data.pixels.duplicates import merge_groups
from sidelight.data.pixels.pixels import Pixels
from sidelight.errors import SidelightError
from sidelight.train.run import Run, is_run

Flags = NDArray[np.bool_]


def saw(encoder: Any, cohort: Cohort, tested: NDArray[np.int64], pixels: Pixels) -> bool:
    """Whether the pre-training of a run saw a patient whose items are tested, or a copy of a picture of theirs.

    :param encoder: a run folder; whatever else an encoder may be has no record of what it saw, and gives False.
    :param tested: positions in ``cohort.items``; ``pixels`` are the cohort's, among which copies are looked for.
    """
    if not is_run(encoder):
        return False
    learnt = learnt_items(Run.open(encoder), cohort, pixels.hash)
    groups = cohort.items["group"]
    if not learnt.any() or groups[learnt].isin(groups.iloc[tested]).any():
        return bool(learnt.any())
    merged = np.array(copies_together(cohort, pixels))
    return bool(np.isin(merged[learnt], merged[tested]).any())


def learnt_items(run: Run, cohort: Cohort, data_hash: str) -> Flags:
    """Which items of the cohort the run has seen, those that it kept back to watch itself among them: bool [N].

    A cohort is known again by its name, or, in a copy that has another key, by the hash of its pixels. Items are those of
    ``split.csv``; under another key those of the run's ``where``; where that cannot be told, all.
    """
    config, said = run.config, run.split()
    if config["data"]["name"] != cohort.alias and config["data"]["hash"] != data_hash:
        return np.zeros(len(cohort.items), dtype=bool)
    if said is not None:
        secret = cohort.key
        found = pd.Series([item_hash(str(item), secret) for item in cohort.items["item"]]).isin(said["item"]).to_numpy()
        if found.any():
            return np.asarray(found, dtype=bool)
    try:
        return select(cohort.items, config["settings"]["where"], "where")
    except SidelightError:  # such as a column of folds, which the cohort had while the run learnt
        return np.ones(len(cohort.items), dtype=bool)


def copies_together(cohort: Cohort, pixels: Pixels) -> list[str]:
    """The group of every item of the cohort after all near-duplicates are joined, those of unlabelled patients too."""
    place = pixels.index["position"].tolist()
    return merge_groups(
        cohort.items["group"].tolist(), [(place[a], place[b]) for a, b, _ in copies_within(cohort, pixels)]
    )


def saw_scored(encoder: Any, cohort: Cohort, scores: pd.DataFrame, settings: PixelSettings) -> bool:
    """As :func:`saw`, of the patients whose ``scores`` (with hashes in place of names) are there."""
    if not is_run(encoder):
        return False
    size, secret = working_size(Run.open(encoder).config["settings"]["image_size"]), cohort.key
    names = {name: item_hash(str(name), secret) for name in cohort.items["group"].unique()}
    tested = np.flatnonzero(cohort.items["group"].map(names).isin(scores["group"]))
    return saw(encoder, cohort, tested, open_pixels(cohort, size, settings, quiet=True))
