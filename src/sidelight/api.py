"""pretrain, score, evaluate, report: the only place where training meets evaluation."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sidelight.config import PretrainSettings, build, digest, merge, working_size
from sidelight.data.cache import Pixels
from sidelight.data.cache import build as build_cache
from sidelight.data.cohort import Cohort
from sidelight.data.columns import select
from sidelight.data.duplicates import duplicate_items, merge_groups
from sidelight.data.identity import item_hash, key
from sidelight.data.task import units
from sidelight.errors import ConfigError, DataError, RunError, nearest
from sidelight.evaluation.results import Results
from sidelight.evaluation.scores import Labelled, collect_scores, make_folds
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.summary import confusions, summarise
from sidelight.methods import METHODS, load_method
from sidelight.methods.base import MethodBase
from sidelight.models.image import Encoder, create_encoder, load_encoder, weights_hash
from sidelight.train.device import pick_device, pick_dtype
from sidelight.train.loop import fit
from sidelight.train.run import Run


def pretrain(
    method: str,
    data: str | Path | Cohort,
    out: str | Path,
    *,
    preset: str | None = None,
    quiet: bool | None = None,
    **settings: Any,
) -> Run:
    """Learn an encoder from ``data`` without labels, in the folder ``out``; an existing run is resumed.

    :param method: a name of :data:`sidelight.methods.METHODS`.
    :param data: folder, cohort.toml, ``phantom:NAME`` or an open cohort.
    :param settings: the method's settings; ``profile="paper"`` is the published recipe.
    """
    kind = load_method(method)
    resolved = resolve(kind, settings)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset)
    pixels = open_pixels(cohort, resolved.working_size or working_size(resolved.image_size), resolved, quiet=quiet)
    net = kind(resolved, channels=pixels.channels)
    feed = net.feed(pixels, _allowed(cohort, pixels, resolved), key(cohort))
    header = {
        "method": method,
        "settings": resolved.model_dump(exclude={"workers", "device", "cache"}),
        "data": {"name": cohort.name, "hash": pixels.hash},
        "split_hash": digest([feed.train_rows.tolist(), feed.valid_rows.tolist(), feed.extra_rows.tolist()]),
        "not_from_paper": list(kind.NOT_FROM_PAPER) if resolved.profile == "paper" else [],
    }
    monitor = _monitor(cohort, pixels, resolved.monitor_task) if resolved.monitor_task else None
    run = fit(net, feed, resolved, Path(out), header=header, monitor=monitor, quiet=quiet)
    _hashed(pixels.quarantine, key(cohort)).to_csv(run.folder / "quarantine.csv", index=False)
    if cohort.spec.get("public"):
        net.illustrate(feed, run.folder)
    return run


def resolve(kind: type[MethodBase], settings: Mapping[str, Any]) -> PretrainSettings:
    """The method's settings: its profile's values, then the user's.

    :raises ConfigError: for an unknown setting, a wrong value, or settings that exclude each other.
    """
    profile = settings.get("profile", "default")
    if profile not in kind.PROFILES:
        raise ConfigError(f"Unknown profile {profile!r}", do=nearest(str(profile), kind.PROFILES))
    return build(kind.Settings, merge(kind.PROFILES[profile], settings))


def open_pixels(
    cohort: Cohort, size: int, settings: PretrainSettings | EvaluateSettings, *, quiet: bool | None = None
) -> Pixels:
    """The cohort's decoded pixels at ``size`` x ``size``, from the cache or decoded now."""
    return build_cache(
        cohort,
        size=size,
        channels=cohort.channels,
        max_frames=settings.max_frames,
        folder=Path(settings.cache) if settings.cache else None,
        max_bad_fraction=settings.max_bad_fraction,
        progress=not quiet,
    )


def _hashed(quarantine: pd.DataFrame, secret: bytes) -> pd.DataFrame:
    """Broken items by hash: a run names nobody. Names stand in what the terminal says and nowhere else."""
    names = [item_hash(item, secret) for item in quarantine["item"]]
    reasons = [
        reason.replace(item, name)
        for item, name, reason in zip(quarantine["item"], names, quarantine["reason"], strict=True)
    ]
    return pd.DataFrame({"item": names, "reason": reasons})


def _allowed(cohort: Cohort, pixels: Pixels, settings: PretrainSettings) -> np.ndarray:
    """Rows of the cache that pre-training may see: those that the setting ``where`` selects."""
    positions = pixels.index["position"].to_numpy()
    if not settings.where:
        return np.arange(len(positions))
    rows = np.flatnonzero(select(cohort.items, settings.where, "where")[positions])
    if len(rows) == 0:
        raise DataError(f"No readable item fits where = {settings.where}", do="Check the column and its values")
    return rows


@dataclass(frozen=True)
class Scored:
    """Scores of one encoder on one task for one seed, and where they come from."""

    table: pd.DataFrame
    facts: dict[str, Any]
    notes: list[str]


def score(
    encoder: str | Path | Encoder,
    cohort: Cohort,
    task: str,
    protocol: str,
    settings: EvaluateSettings,
    *,
    random: bool = False,
) -> Scored:
    """Out-of-fold scores of every unit of ``task``, for every seed of ``settings``.

    :raises ConfigError: for the protocol ``published`` without profile ``paper``.
    """
    if protocol == "published" and settings.profile != "paper":
        raise ConfigError(
            "The protocol 'published' selects on the test set",
            do="Use it with profile='paper' for comparison with a published table only; else linear or finetune",
        )
    started = time.perf_counter()
    net = encoder if isinstance(encoder, Encoder) else _load(str(encoder), cohort, settings, random)
    device = pick_device(settings.device)
    net.to(device)  # a module that was handed in stays there
    settings = settings.model_copy(update={"precision": _precision(settings, device)})
    pixels = open_pixels(cohort, working_size(net.image_size), settings, quiet=True)
    labelled, notes = label_units(cohort, pixels, task, settings)
    tables = []
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        table, more = collect_scores(net, pixels, labelled, protocol, settings, seed)
        tables.append(table)
        notes += more
    facts = {
        "split_hash": labelled.split_hash,
        "data_hash": pixels.hash,
        "encoder_hash": weights_hash(net),
        "seconds": time.perf_counter() - started,
        "classes": list(labelled.classes),
    }
    return Scored(_nameless(pd.concat(tables, ignore_index=True), key(cohort)), facts, sorted(set(notes)))


def _precision(settings: EvaluateSettings, device: torch.device) -> str:
    return "bf16" if pick_dtype(settings.precision, device) == torch.bfloat16 else "float32"


def label_units(cohort: Cohort, pixels: Pixels, task: str, settings: EvaluateSettings) -> tuple[Labelled, list[str]]:
    """Units of a task that can be scored, by their own names, in folds; near-duplicates share a group.

    Notes say what was left out or merged.
    """
    if task not in cohort.tasks:
        raise ConfigError(f"{cohort.name} has no task {task!r}", do=nearest(task, cohort.tasks))
    chosen = cohort.tasks[task]
    table = units(cohort, chosen)
    row_of = dict(zip(pixels.index["position"], range(len(pixels)), strict=True))
    table["rows"] = [[row_of[item] for item in items if item in row_of] for items in table["items"]]
    readable = table["rows"].map(bool)
    notes = [] if readable.all() else [f"{(~readable).sum()} units of {task} have no readable item"]
    table = table[readable].copy()
    if settings.merge_duplicates:
        before = table["group"].nunique()
        table["group"] = _merged(table, pixels)
        if table["group"].nunique() < before:
            notes.append(f"{task}: near-duplicates merged {before} groups into {table['group'].nunique()}")
    return make_folds(table, chosen.classes, settings), notes


def _nameless(scores: pd.DataFrame, secret: bytes) -> pd.DataFrame:
    """Scores with hashes in place of names. Only now: folds and subsets must not depend on a key that others lack."""
    hashes = {name: item_hash(name, secret) for column in ("unit", "group") for name in scores[column].unique()}
    return scores.assign(unit=scores["unit"].map(hashes), group=scores["group"].map(hashes))


def _merged(table: pd.DataFrame, pixels: Pixels) -> list[str]:
    """Groups of the units after near-duplicate items are joined."""
    owner = {row: number for number, rows in enumerate(table["rows"]) for row in rows}
    pairs = [(owner[a], owner[b]) for a, b in duplicate_items(pixels) if a in owner and b in owner]
    return merge_groups(table["group"].tolist(), pairs)


def _load(name: str, cohort: Cohort, settings: EvaluateSettings, random: bool) -> Encoder:
    return load_encoder(
        name,
        random=random,
        channels=cohort.channels or 3,
        image_size=settings.image_size or 112,
        seed=settings.first_seed,
    )


def fresh_encoder(cohort: Cohort, settings: dict[str, Any], *, initial: str | None, seed: int) -> Encoder:
    """A randomly initialised encoder of the architecture in ``settings``, or one with the user's weights."""
    known = build(PretrainSettings, {key: settings[key] for key in ("encoder", "image_size") if key in settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_encoder(
            known.encoder, channels=cohort.channels or 3, image_size=known.image_size, initial=initial
        )


def evaluate(
    encoder: str | Path | Encoder | Run,
    data: str | Path | Cohort,
    task: str,
    protocol: str = "linear",
    test: str | None = None,
    preset: str | None = None,
    out: str | Path | None = None,
    *,
    random: bool = False,
    **settings: Any,
) -> Results:
    """Judge an encoder on a task: features once, folds over patients, nested label counts, intervals by patient.

    :param encoder: run folder, safetensors file, ``hf-hub:`` name, module, or a bare timm name with ``random=True``.
    :param protocol: knn, linear, finetune, finetune_last, published (profile ``paper`` only).
    :return: tables; written to ``out`` if given.
    """
    if test is not None:
        raise ConfigError("An external test set is not supported yet", do="Leave out test")
    resolved = build(EvaluateSettings, settings)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset)
    given = encoder.folder if isinstance(encoder, Run) else encoder
    name = type(given).__name__ if isinstance(given, Encoder) else Path(str(given)).name
    scored = score(given, cohort, task, protocol, resolved, random=random)
    table = scored.table.assign(encoder=name, task=task, protocol=protocol)
    classes = {task: scored.facts["classes"]}
    results = summarise(table, classes, resamples=resolved.resamples).assign(
        transductive=_saw_test_items(given, cohort, task),
        command=f"sidelight evaluate {name} --data {cohort.name} --task {task} --protocol {protocol}",
        **{key: scored.facts[key] for key in ("split_hash", "data_hash", "encoder_hash", "seconds")},
    )
    found = Results(results, scores=table, confusion=confusions(table, classes), notes=tuple(scored.notes))
    if out is not None:
        found.save(Path(out))
    return found


def _saw_test_items(encoder: str | Path | Encoder, cohort: Cohort, task: str) -> bool:
    """Whether the encoder's pre-training saw (unlabelled) items of the units it is tested on: then it is transductive."""
    if isinstance(encoder, Encoder) or not (Path(encoder) / "config.json").is_file():
        return False
    config = Run.open(encoder).config
    if config["data"]["name"] != cohort.name:
        return False
    seen = select(cohort.items, config["settings"]["where"], "where")
    return any(seen[items].any() for items in units(cohort, cohort.tasks[task])["items"])


def report(folder: str | Path, out: str | Path) -> Path:
    """One HTML file from a run or a study folder; a name that ends in ``.md`` makes a Markdown page with figures beside it."""
    from sidelight.reporting.page import render_page
    from sidelight.reporting.run_report import render_run
    from sidelight.reporting.study_report import render_study

    folder, out = Path(folder), Path(out)
    if (folder / "config.json").is_file():
        return render_run(folder, out)
    if not (folder / "results.parquet").is_file():
        raise RunError(
            f"{folder} holds neither a run nor results", expected="a folder that pretrain, evaluate or study wrote"
        )
    return render_page(folder, out) if out.suffix == ".md" else render_study(folder, out)


def describe_methods() -> str:
    """The methods, one paragraph each: what it learns from, and its settings with their defaults."""
    parts = []
    for name in METHODS:
        kind = load_method(name)
        idea = (kind.__doc__ or "").strip().splitlines()[0]
        defaults = resolve(kind, {}).model_dump()
        changed = {key: value for key, value in defaults.items() if value not in (None, {}, [])}
        parts.append(f"{name}: {idea}\n    " + ", ".join(f"{key}={value}" for key, value in changed.items()))
    return "\n\n".join(parts)


def _monitor(cohort: Cohort, pixels: Pixels, task: str) -> Callable[[Encoder, int], dict[str, float]]:
    """kNN accuracy on a labelled set while training: a reading for people, never used to choose a checkpoint."""
    from sidelight.metrics.classification import auroc

    settings = build(EvaluateSettings, {"seeds": 1, "frames": 4})
    labelled, _ = label_units(cohort, pixels, task, settings)

    def read(encoder: Encoder, epoch: int) -> dict[str, float]:
        table, _ = collect_scores(encoder, pixels, labelled, "knn", settings, 0)
        scores = table[[f"p{c}" for c in range(len(labelled.classes))]].to_numpy()
        truth = table["label"].to_numpy()
        return {"knn": float((scores.argmax(1) == truth).mean()), "knn_auroc": float(auroc(truth, scores))}

    return read
