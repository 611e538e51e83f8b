"""pretrain: a method, a cohort -> a run."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.config import build, digest, working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import select
from sidelight.data.cohort.metadata import metadata_state
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels, open_pixels
from sidelight.data.pixels.quarantine import nameless_reasons
from sidelight.data.reports.reports import report_state
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.protocols.probes import Knn
from sidelight.evaluation.scores import Ready, collect_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.blocks import blocks
from sidelight.explaining import keep
from sidelight.files import check_place, held, write_csv, write_text
from sidelight.methods import load_method
from sidelight.methods.base import MethodBase, MethodData, StartingRun, resolve
from sidelight.methods.settings import PretrainSettings
from sidelight.metrics.classification import ACCURACY, AUROC
from sidelight.models.image import Encoder
from sidelight.train.card import run_card
from sidelight.train.distributed import joined, meet
from sidelight.train.loop import fit
from sidelight.train.run import ROLES, Run, check_free
from sidelight.views.feed import Feed


def pretrain(
    method: str,
    data: str | Path | Cohort,
    out: str | Path,
    *,
    preset: str | None = None,
    allow_outside: bool = False,
    start: str | Path | Run | None = None,
    quiet: bool | None = None,
    **settings: Any,
) -> Run:
    """Learn an encoder from ``data`` without labels, in the folder ``out``; an existing run is resumed.

    :param method: a name of :data:`sidelight.methods.METHODS`.
    :param data: folder, cohort.toml, ``phantom:NAME`` or an open cohort.
    :param start: a finished run that this one is a later stage of.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param settings: the method's settings; ``profile="paper"`` is the published recipe.
    """
    kind = load_method(method)
    check_free(Path(out))
    check_place(out, folder=True)
    begun = None if start is None else _start(method, kind, start)
    resolved = resolve(kind, settings, begun)
    if isinstance(data, Cohort):
        cohort = data
    else:
        cohort = Cohort.open(data, preset=preset, allow_outside=allow_outside, max_memory=resolved.max_memory)
    missing = kind.needs(cohort)
    if missing:
        raise DataError(f"{method} cannot learn from {cohort.name}: {missing}", do="See `sidelight check`")
    pixels = open_pixels(cohort, resolved.working_size or working_size(resolved.image_size), resolved, quiet=quiet)
    source = MethodData(cohort, pixels, _allowed(cohort, pixels, resolved), cohort.key, begun)
    net = kind(resolved, channels=pixels.channels, source=source)
    feed = net.feed(pixels, source.rows, source.secret)
    header = {
        "method": method,
        "settings": {**resolved.model_dump(exclude={"workers", "device", "cache", "max_memory"}), **net.origins()},
        "data": {"name": cohort.alias, "hash": pixels.hash},
        "split_hash": digest([feed.train_rows.tolist(), feed.valid_rows.tolist(), feed.extra_rows.tolist()]),
        **({"learns_from": beside} if (beside := learns_from(kind, cohort)) else {}),
        "not_from_paper": list(kind.NOT_FROM_PAPER) if resolved.profile == "paper" else [],
    }
    if begun is not None:
        header["from"] = {"method": begun.method, "weights": Run(begun.folder).summary["weights"]}
    monitor = _monitor(cohort, pixels, resolved.monitor_task) if resolved.monitor_task else None
    with joined(resolved.device) as world, held(Path(out)) if world.leads else nullcontext():
        run = fit(net, feed, resolved, Path(out), header=header, monitor=monitor, quiet=quiet)
        if world.leads:
            _finish(run, net, feed, cohort, pixels)
        meet(world)
    return run


def learns_from(kind: type[MethodBase], cohort: Cohort) -> dict[str, str]:
    """Hashes of what a method reads of a cohort beside its pixels: the metadata that describe each item, or its report."""
    read = {"metadata": lambda: metadata_state(cohort), "reports": lambda: report_state(cohort)}
    return {name: read[name]() for name in kind.LEARNS_FROM}


def _finish(run: Run, net: MethodBase, feed: Feed, cohort: Cohort, pixels: Pixels) -> None:
    """What a run folder holds beside the training: what was left out, who played which role, the card and, of public data,
    pictures."""
    write_csv(run.folder / "quarantine.csv", _nameless(pixels, cohort, net))
    rows = {"Training": feed.train_rows, "Validation": feed.valid_rows, "Beside the batches": feed.extra_rows}
    dealt = {part: pixels.index.iloc[net.items_of(feed, chosen)] for part, chosen in rows.items()}
    earlier = None if net.source is None or net.source.start is None else Run(net.source.start.folder).split()
    run.save_split(dict(zip(ROLES, (part["item"] for part in dealt.values()), strict=True)), cohort.key, earlier)
    counts = {part: _count(chosen) for part, chosen in dealt.items()}
    write_text(run.folder / "card.md", run_card(run.config, run.summary, run.metrics(), counts, net.TELLING))
    keep(run.config["method"], net, feed, run.folder, pictures=bool(cohort.spec.public))


def _count(rows: pd.DataFrame) -> dict[str, int]:
    """How much rows of the pixel index hold."""
    groups = int(rows["group"].nunique())
    return {"items": len(rows), "patients or recording groups": groups, "frames": int(rows["frames"].sum())}


def _start(method: str, kind: type[MethodBase], given: str | Path | Run) -> StartingRun:
    """The finished run ``given`` as a start of ``method``; :raises ConfigError: where the method takes no such run."""
    run = given if isinstance(given, Run) else Run.open(given)
    config, known = run.config, kind.STARTS_FROM
    if config["method"] not in known:
        raise ConfigError(
            f"{method} was to start from {run.folder}, a run of {config['method']}",
            expected=f"a run of {' or '.join(known)}" if known else "no --from: this method has no earlier stage",
        )
    return StartingRun(run.folder, config["method"], config["settings"], run.tensors())


def _nameless(pixels: Pixels, cohort: Cohort, net: MethodBase) -> pd.DataFrame:
    """Broken items by hash, with reasons that name no file: a run names nobody, only what the terminal says does."""
    items = [item_hash(item, cohort.key) for item in pixels.quarantine["item"]]
    reasons = nameless_reasons(cohort, pixels)
    items += [item_hash(cohort.items["item"].iloc[position], cohort.key) for position in net.unreadable]
    return pd.DataFrame({"item": items, "reason": [*reasons, *net.unreadable.values()]}, dtype=str)


def _allowed(cohort: Cohort, pixels: Pixels, settings: PretrainSettings) -> np.ndarray:
    """Rows of the cache that pre-training may see: those that the setting ``where`` selects."""
    positions = pixels.index["position"].to_numpy()
    if not settings.where:
        return np.arange(len(positions))
    rows = np.flatnonzero(select(cohort.items, settings.where, "where")[positions])
    if len(rows) == 0:
        raise DataError(f"No readable item fits where = {settings.where}", do="Check the column and its values")
    return rows


def _monitor(cohort: Cohort, pixels: Pixels, task: str) -> Callable[[Encoder, int], dict[str, float]]:
    """kNN accuracy on a labelled set while training: a reading for people, never used to choose a checkpoint."""
    cohort.class_task(task)
    settings, knn = build(EvaluateSettings, {"seeds": 1, "frames": 4}), Knn()
    labelled, _ = label_units(cohort, pixels, task, settings)

    def read(encoder: Encoder, epoch: int) -> dict[str, float]:
        table, _ = collect_scores(Ready(encoder, pixels, labelled, knn, settings), 0)
        ((_, block),) = blocks(table.assign(encoder="", task=task, protocol=knn.name))
        metrics = {"knn": ACCURACY, "knn_auroc": AUROC}
        return {name: float(block.of(one)(block.labels, block.scores[0])) for name, one in metrics.items()}

    return read
