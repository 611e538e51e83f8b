"""explain: a run and a cohort -> a folder with one page of what the encoder looks at, and its tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import PixelSettings, open_pixels
from sidelight.errors import ConfigError, DataError
from sidelight.explaining import load_explainer
from sidelight.explaining.content import Question
from sidelight.explaining.neighbours import neighbours
from sidelight.explaining.phrases import phrases as show_phrases
from sidelight.files import check_place
from sidelight.models.joint import has_text
from sidelight.reporting.explain_page import render_explanation
from sidelight.train.device import pick_device
from sidelight.train.run import Run


def explain(
    run: str | Path | Run,
    data: str | Path | Cohort,
    out: str | Path,
    *,
    preset: str | None = None,
    allow_outside: bool = False,
    task: str | None = None,
    phrases: Sequence[str] = (),
    items: int = 8,
    seed: int = 0,
    cache: str | None = None,
    device: str = "auto",
    quiet: bool | None = None,
) -> Path:
    """Write ``out/index.html`` and its tables as CSV: what the run's method can show, then nearest neighbours.

    The page shows images of ``data``: it, and the folder unless it was there before, are for their owner's eyes only.

    :param task: whose labels give the truth; the cohort's first by default. One of masks or boxes, of a run that learnt from
        reports, shows where the phrases of its classes point beside where they are.
    :param phrases: of a run that learnt from reports: where these point, in place of those of the task's classes.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param items: how many items are shown, drawn with ``seed`` from different patients as far as there are.
    :raises DataError: where no item can be read.
    :raises ConfigError: for phrases, or a task of masks or boxes, of a run without text.
    """
    check_place(out, folder=True)
    run = run if isinstance(run, Run) else Run.open(run)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset, allow_outside=allow_outside)
    asked = None if task is None else cohort.task(task)
    where = asked if asked is not None and asked.localized else None
    if (phrases or where) and not has_text(run.folder):
        raise ConfigError(
            f"{run.folder.name} has no text that could point anywhere",
            expected="phrases, or a task of masks or boxes, with a run of lovt, local_sigmoid, clip or convirt",
            do="Take out phrases, or name a task of classes",
        )
    encoder = run.encoder()
    pixels = open_pixels(cohort, working_size(encoder.image_size), PixelSettings(cache=cache), quiet=quiet)
    if not len(pixels):
        raise DataError(f"None of the items of {cohort.name} can be read", do="See `sidelight check`")
    secret = cohort.key
    question = Question(
        run,
        cohort,
        pixels,
        _shown(pixels.index["group"].to_numpy(), items, seed),
        tuple(item_hash(str(name), secret) for name in pixels.index["item"]),
        task if task and where is None else next(iter(cohort.class_tasks), None),
        seed,
    )
    own = load_explainer(run.config["method"])
    encoder.to(pick_device(device))
    pointed = [show_phrases(question, phrases, where)] if phrases or where else []
    parts = [*pointed, *(own(question) if own else ()), neighbours(question, encoder)]
    folder = Path(out)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return render_explanation(parts, folder, title=f"What {run.config['method']} learnt", data=cohort.alias)


def _shown(groups: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """``count`` rows in a random order, the first of every group before the second of any."""
    order = np.random.default_rng(seed).permutation(len(groups))
    seen: dict[str, int] = {}
    turn = []
    for row in order.tolist():
        turn.append(seen.get(str(groups[row]), 0))
        seen[str(groups[row])] = turn[-1] + 1
    return np.asarray(order[np.argsort(turn, kind="stable")][:count], dtype=np.int64)
