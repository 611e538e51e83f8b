"""pretrain, evaluate, report: the only place where training meets evaluation."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.config import PretrainSettings, build, changed, digest, merge, working_size
from sidelight.data.cache import Pixels
from sidelight.data.cohort import Cohort
from sidelight.data.columns import select
from sidelight.data.identity import item_hash, key
from sidelight.errors import ConfigError, DataError, RunError, nearest
from sidelight.evaluation.blocks import blocks
from sidelight.evaluation.card import model_card
from sidelight.evaluation.model import read_model
from sidelight.evaluation.results import RETRIEVAL, Results
from sidelight.evaluation.scores import collect_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.subgroups import subgroup_table
from sidelight.evaluation.tabulation import tabulated
from sidelight.external import score_elsewhere
from sidelight.labelling import label_units, split_name
from sidelight.methods import load_method
from sidelight.methods.base import MethodBase, Source, Start
from sidelight.metrics.classification import accuracy, auroc
from sidelight.models.image import HUB, Encoder, weights_hash
from sidelight.scoring import Scored, open_pixels, score, subgroup_columns
from sidelight.train.card import run_card
from sidelight.train.distributed import joined, meet
from sidelight.train.files import check_place, write_text
from sidelight.train.loader import Feed
from sidelight.train.loop import fit
from sidelight.train.run import ROLES, Run, check_free


def pretrain(
    method: str,
    data: str | Path | Cohort,
    out: str | Path,
    *,
    preset: str | None = None,
    start: str | Path | Run | None = None,
    quiet: bool | None = None,
    **settings: Any,
) -> Run:
    """Learn an encoder from ``data`` without labels, in the folder ``out``; an existing run is resumed.

    :param method: a name of :data:`sidelight.methods.METHODS`.
    :param data: folder, cohort.toml, ``phantom:NAME`` or an open cohort.
    :param start: a finished run that this one is a later stage of.
    :param settings: the method's settings; ``profile="paper"`` is the published recipe.
    """
    kind = load_method(method)
    check_free(Path(out))
    check_place(out, folder=True)
    begun = None if start is None else _start(method, kind, start)
    resolved = resolve(kind, settings, begun)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset)
    missing = kind.needs(cohort)
    if missing:
        raise DataError(f"{method} cannot learn from {cohort.name}: {missing}", do="See `sidelight check`")
    pixels = open_pixels(cohort, resolved.working_size or working_size(resolved.image_size), resolved, quiet=quiet)
    source = Source(cohort, pixels, _allowed(cohort, pixels, resolved), key(cohort), begun)
    net = kind(resolved, channels=pixels.channels, source=source)
    feed = net.feed(pixels, source.rows, source.secret)
    header = {
        "method": method,
        "settings": {**resolved.model_dump(exclude={"workers", "device", "cache"}), "initial": _origin(net, resolved)},
        "data": {"name": cohort.alias, "hash": pixels.hash},
        "split_hash": digest([feed.train_rows.tolist(), feed.valid_rows.tolist(), feed.extra_rows.tolist()]),
        "not_from_paper": list(kind.NOT_FROM_PAPER) if resolved.profile == "paper" else [],
    }
    if begun is not None:
        header["from"] = {"method": begun.method, "weights": Run(begun.folder).summary["weights"]}
    monitor = _monitor(cohort, pixels, resolved.monitor_task) if resolved.monitor_task else None
    with joined(resolved.device) as world:
        run = fit(net, feed, resolved, Path(out), header=header, monitor=monitor, quiet=quiet)
        if world.leads:
            _finish(run, net, feed, cohort, pixels)
        meet(world)
    return run


def _finish(run: Run, net: MethodBase, feed: Feed, cohort: Cohort, pixels: Pixels) -> None:
    """What a run folder holds beside the training: what was left out, who played which role, the card and, of public data,
    pictures."""
    _nameless(pixels, cohort).to_csv(run.folder / "quarantine.csv", index=False)
    rows = {"Training": feed.train_rows, "Validation": feed.valid_rows, "Beside the batches": feed.extra_rows}
    dealt = {part: pixels.index.iloc[net.items_of(feed, chosen)] for part, chosen in rows.items()}
    run.save_split(dict(zip(ROLES, (part["item"] for part in dealt.values()), strict=True)), key(cohort))
    counts = {part: _count(chosen) for part, chosen in dealt.items()}
    write_text(run.folder / "card.md", run_card(run.config, run.summary, run.metrics(), counts))
    net.record(feed, run.folder)
    if cohort.spec.get("public"):
        net.illustrate(feed, run.folder)


def _count(rows: pd.DataFrame) -> dict[str, int]:
    """How much rows of the pixel index hold."""
    groups = int(rows["group"].nunique())
    return {"items": len(rows), "patients or recording groups": groups, "frames": int(rows["frames"].sum())}


def _origin(net: MethodBase, settings: PretrainSettings) -> str | None:
    """What pre-training started from: the name of a hub's model, else a hash of the weights; the path of a file may identify."""
    if settings.initial is None or settings.initial.startswith(HUB):
        return settings.initial
    return f"weights {weights_hash(net.encoder)[:16]}"


def _start(method: str, kind: type[MethodBase], given: str | Path | Run) -> Start:
    """The finished run ``given`` as a start of ``method``; :raises ConfigError: where the method takes no such run."""
    run = given if isinstance(given, Run) else Run.open(given)
    config, known = run.config, kind.STARTS_FROM
    if config["method"] not in known:
        raise ConfigError(
            f"{method} was to start from {run.folder}, a run of {config['method']}",
            expected=f"a run of {' or '.join(known)}" if known else "no --from: this method has no earlier stage",
        )
    return Start(run.folder, config["method"], config["settings"], run.tensors())


def resolve(kind: type[MethodBase], settings: Mapping[str, Any], start: Start | None = None) -> PretrainSettings:
    """The method's settings: its profile's values, then what it takes over from ``start``, then the user's.

    :raises ConfigError: for an unknown setting, a wrong value, or settings that exclude each other.
    """
    profile = settings.get("profile", "default")
    if profile not in kind.PROFILES:
        raise ConfigError(f"Unknown profile {profile!r}", do=nearest(str(profile), kind.PROFILES))
    inherited = {name: start.settings[name] for name in kind.INHERITS if name in start.settings} if start else {}
    return build(kind.Settings, merge(kind.PROFILES[profile], inherited, settings))


def _nameless(pixels: Pixels, cohort: Cohort) -> pd.DataFrame:
    """Broken items by hash, with reasons that name no file: a run names nobody, only what the terminal says does."""
    secret, files = key(cohort), dict(zip(cohort.items["item"], cohort.items["files"], strict=True))
    items, reasons = pixels.quarantine["item"].tolist(), []
    for item, reason in zip(items, pixels.quarantine["reason"], strict=True):
        names = {item, *files[item], *(Path(file).name for file in files[item]), str(cohort.root)}
        for name in sorted(names, key=len, reverse=True):
            reason = reason.removeprefix(f"{name}: ").replace(name, "the file")
        reasons.append(reason)
    return pd.DataFrame({"item": [item_hash(item, secret) for item in items], "reason": reasons}, dtype=str)


def _allowed(cohort: Cohort, pixels: Pixels, settings: PretrainSettings) -> np.ndarray:
    """Rows of the cache that pre-training may see: those that the setting ``where`` selects."""
    positions = pixels.index["position"].to_numpy()
    if not settings.where:
        return np.arange(len(positions))
    rows = np.flatnonzero(select(cohort.items, settings.where, "where")[positions])
    if len(rows) == 0:
        raise DataError(f"No readable item fits where = {settings.where}", do="Check the column and its values")
    return rows


def evaluate(
    encoder: str | Path | Encoder | Run,
    data: str | Path | Cohort,
    task: str,
    protocol: str = "linear",
    test: str | Path | Cohort | None = None,
    preset: str | None = None,
    out: str | Path | None = None,
    *,
    random: bool = False,
    test_preset: str | None = None,
    force: bool = False,
    **settings: Any,
) -> Results:
    """Judge an encoder on a task: features once, folds over patients, nested label counts, intervals by patient.

    :param encoder: run folder, safetensors file, ``hf-hub:`` name, module, or a bare timm name with ``random=True``.
    :param protocol: knn, linear, projector, series, finetune, finetune_last, published (profile ``paper`` only), or retrieval (of
        a run of slimp, lovt, clip or convirt: images find their metadata or reports, and back, among patients it has not seen).
    :param test: another cohort (folder, cohort.toml or cohort) with the same task: heads learn ``data`` and are tested
        there, nothing is refitted; its rows are named ``TASK on NAME`` and stand beside those of ``data``'s own folds.
    :param settings: of :class:`sidelight.evaluation.settings.EvaluateSettings`. ``split="COLUMN"`` or ``split="FILE.json"``
        is a given split in place of folds: heads learn its train (and valid) side and are judged on its test side.
    :param out: folder for the tables, ``card.md`` and the model that :func:`sidelight.predict` reads; what the same
        evaluation wrote there is replaced, that of another task, protocol, encoder or other data only with ``force``.
    :return: tables; written to ``out`` if given.
    :raises SplitError: for a given split that leaks, unless ``allow_leak=True``; then every result says so.
    """
    resolved, folder = build(EvaluateSettings, settings), None if out is None else Path(out)
    if folder is not None:
        check_place(folder, folder=True)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset)
    given = encoder.folder if isinstance(encoder, Run) else encoder
    name = type(given).__name__ if isinstance(given, Encoder) else Path(str(given)).name
    scored = score(given, cohort, task, protocol, resolved, random=random, out=folder, force=force)
    table = scored.table.assign(encoder=name, task=task, protocol=protocol)
    columns, said = scored.columns, {"--preset": preset, "--test-preset": test_preset}
    if test is not None:
        other = test if isinstance(test, Cohort) else Cohort.open(test, preset=test_preset)
        outside, notes = score_elsewhere(given, cohort, other, task, protocol, resolved, random=random)
        scored.notes.extend(notes)
        said["--test"] = other.alias
        columns = pd.concat([columns, subgroup_columns(other, task, resolved, like=cohort)])
        table = pd.concat([table, outside.assign(encoder=name, protocol=protocol)], ignore_index=True)
    targets = dict.fromkeys(table["task"].unique(), scored.facts["targets"])
    found = tabulated(table, targets, dict.fromkeys(targets, cohort.tasks[task]), resamples=resolved.resamples)
    found["results"] = found["results"].assign(
        transductive=protocol != RETRIEVAL and _saw_test_items(given, cohort, scored.tested, scored.facts["data_hash"]),
        command=f"sidelight evaluate {name} --data {cohort.alias} --task {task} --protocol {protocol}"
        + "".join(f" {flag} {value}" for flag, value in said.items() if value)
        + (" --random" if random else "")
        + _flags(resolved),
        **{key: scored.facts[key] for key in ("split_hash", "leaks", "data_hash", "encoder_hash", "seconds")},
    )
    found["subgroups"] = subgroup_table(table, columns, resamples=resolved.resamples)
    results = Results(**found, scores=table, notes=tuple(scored.notes))
    if folder is not None:
        _write(results, scored, folder)
    return results


def _write(results: Results, scored: Scored, folder: Path) -> None:
    """The tables and, where a head was learnt to be kept, the model and its card."""
    (folder / "model" / "model.json").unlink(missing_ok=True)  # an older model would stand beside new numbers
    results.save(folder)
    for name, table in scored.tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False))
    if scored.fitted is not None:
        model = scored.fitted(results.results).save(folder / "model")
        write_text(folder / "card.md", model_card(read_model(model), results))


def _flags(settings: EvaluateSettings) -> str:
    """The settings that are not the defaults, as the command line takes them; but for what changes no number."""
    said = ["--split", split_name(settings.split)] if settings.split is not None else []
    said += ["--allow-leak"] if settings.allow_leak else []
    for flag in changed(settings, leave=("cache", "device", "split", "allow_leak")):
        said += ["--set", flag]
    return f" {shlex.join(said)}" if said else ""


def _saw_test_items(encoder: str | Path | Encoder, cohort: Cohort, tested: np.ndarray, data_hash: str) -> bool:
    """Whether the encoder's pre-training saw (unlabelled) items that it is tested on: then it is transductive.

    A cohort is known again by its name, or, in a copy that has another key, by its pixels.
    """
    if isinstance(encoder, Encoder) or not (Path(encoder) / "config.json").is_file():
        return False
    config = Run.open(encoder).config
    if config["data"]["name"] != cohort.alias and config["data"]["hash"] != data_hash:
        return False
    seen = select(cohort.items, config["settings"]["where"], "where")
    return bool(seen[tested].any())


def report(folder: str | Path, out: str | Path) -> Path:
    """One HTML file from a run or a study folder; a name that ends in ``.md`` makes a Markdown page with figures beside it."""
    from sidelight.reporting.page import render_page
    from sidelight.reporting.run_report import render_run
    from sidelight.reporting.study_report import render_study

    folder, out = Path(folder), Path(out)
    check_place(out, folder=False)
    if (folder / "config.json").is_file():
        return render_run(folder, out)
    if not (folder / "results.parquet").is_file():
        raise RunError(
            f"{folder} holds neither a run nor results", expected="a folder that pretrain, evaluate or study wrote"
        )
    return render_page(folder, out) if out.suffix == ".md" else render_study(folder, out)


def _monitor(cohort: Cohort, pixels: Pixels, task: str) -> Callable[[Encoder, int], dict[str, float]]:
    """kNN accuracy on a labelled set while training: a reading for people, never used to choose a checkpoint."""
    settings = build(EvaluateSettings, {"seeds": 1, "frames": 4})
    labelled, _ = label_units(cohort, pixels, task, settings)

    def read(encoder: Encoder, epoch: int) -> dict[str, float]:
        table, _ = collect_scores(encoder, pixels, labelled, "knn", settings, 0)
        ((_, block),) = blocks(table.assign(encoder="", task=task, protocol="knn"))
        metrics = {"knn": accuracy, "knn_auroc": auroc}
        return {name: float(block.of(one)(block.labels, block.scores[0], None)) for name, one in metrics.items()}

    return read
