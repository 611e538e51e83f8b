"""evaluate: an encoder, a cohort, a task -> results, and the model that predict reads."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.config import build, changed
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import outermost
from sidelight.evaluation.external import score_elsewhere
from sidelight.evaluation.judge import Evaluation, Scored, score
from sidelight.evaluation.labelled import split_name
from sidelight.evaluation.model.card import model_card
from sidelight.evaluation.model.model import read_model
from sidelight.evaluation.protocols import find
from sidelight.evaluation.results import Results
from sidelight.evaluation.seen import saw_scored
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables import tabulated
from sidelight.evaluation.tables.subgroups import subgroup_columns, subgroup_table
from sidelight.evaluation.tables.summary import fold_gaps
from sidelight.files import check_place, held, write_csv, write_json, write_text
from sidelight.models.image import Encoder, check_source
from sidelight.train.run import Run


def evaluate(
    encoder: str | Path | Encoder | Run,
    data: str | Path | Cohort,
    task: str,
    protocol: str = "linear",
    test: str | Path | Cohort | None = None,
    preset: str | None = None,
    out: str | Path | None = None,
    *,
    allow_outside: bool = False,
    random: bool = False,
    architecture: str | None = None,
    test_preset: str | None = None,
    force: bool = False,
    quiet: bool | None = None,
    **settings: Any,
) -> Results:
    """Judge an encoder on a task: features once, folds over patients, nested label counts, intervals by patient.

    :param encoder: run folder, tower file, ``imagenet``, Hugging Face folder, ``hf-hub:`` name, module, any file of weights
        with its ``architecture`` (timm's name), or a bare timm name with ``random=True``.
    :param protocol: knn, linear, projector, series, finetune, finetune_last, published (profile ``paper`` only), retrieval (of
        a run of slimp, lovt, local_sigmoid, clip or convirt: images find their metadata or reports, and back, among patients it
        has not seen), those of masks and boxes, or ground (of a run of lovt, local_sigmoid, clip or convirt: phrases find their
        regions).
    :param test: another cohort (folder, cohort.toml or cohort) with the same task: heads learn ``data`` and are tested
        there, nothing is refitted; its rows are named ``TASK on NAME`` and stand beside those of ``data``'s own folds.
    :param settings: of :class:`sidelight.evaluation.settings.EvaluateSettings`. ``split="COLUMN"`` or ``split="FILE.json"``
        is a given split in place of folds: heads learn its train (and valid) side and are judged on its test side.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param quiet: no bars and no lines on stderr.
    :param out: folder for the tables, ``card.md`` and the model that :func:`sidelight.predict` reads; what the same
        evaluation wrote there is replaced, that of another task, protocol, encoder or other data only with ``force``.
    :return: tables; written to ``out`` if given.
    :raises SplitError: for a given split that leaks, or a ``test`` cohort that has pictures of ``data``, unless
        ``allow_leak=True``; for a split that has names of nothing in the cohort, unless ``allow_missing=True``; then every
        result says so.
    """
    resolved, folder = build(EvaluateSettings, settings), None if out is None else Path(out)
    if folder is not None:
        check_place(folder, folder=True)
    given = encoder.folder if isinstance(encoder, Run) else encoder
    if not isinstance(given, Encoder):
        check_source(given, random=random, architecture=architecture)

    def opened(place: str | Path, known: str | None) -> Cohort:
        return Cohort.open(place, preset=known, allow_outside=allow_outside, max_memory=resolved.max_memory)

    cohort = data if isinstance(data, Cohort) else opened(data, preset)
    name = type(given).__name__ if isinstance(given, Encoder) else Path(str(given)).name
    evaluation = Evaluation(given, cohort, task, find(protocol), resolved, random, architecture, bool(quiet))
    if test is not None:
        evaluation.check(external=True)
    scored = score(evaluation, out=folder, force=force)
    table = scored.table.assign(encoder=name, task=task, protocol=protocol)
    seen = {task: scored.facts["transductive"]}
    columns, said = scored.columns, {"--preset": preset, "--test-preset": test_preset}
    leaking = set(table["task"]) if scored.facts["leaks"] else set()
    if test is not None:
        other = test if isinstance(test, Cohort) else opened(test, test_preset)
        outside, notes, leaks = score_elsewhere(evaluation, other)
        leaking |= set(outside["task"]) if leaks else set()
        scored.notes.extend(notes)
        seen |= {str(name): saw_scored(given, other, part, resolved) for name, part in outside.groupby("task")}
        said["--test"] = other.alias
        columns = pd.concat([columns, subgroup_columns(other, task, resolved.subgroups, like=cohort)])
        table = pd.concat([table, outside.assign(encoder=name, protocol=protocol)], ignore_index=True)
    targets = dict.fromkeys(table["task"].unique(), scored.facts["targets"])
    asked, tasks = dict.fromkeys(targets, resolved.decisions), dict.fromkeys(targets, cohort.tasks[task])
    found = tabulated(table, targets, tasks, resamples=resolved.resamples, decisions=asked, level=outermost(cohort))
    found["results"] = found["results"].assign(
        transductive=found["results"]["task"].map(seen),
        command=_command(evaluation, name, said),
        split_hash=scored.facts["split_hash"],
        leaks=lambda rows: rows["task"].isin(leaking),
        **{key: scored.facts[key] for key in ("data_hash", "encoder_hash", "seconds")},
    )
    costs = dict.fromkeys(targets, resolved.decisions.miss_cost)
    found["subgroups"] = subgroup_table(table, columns, resamples=resolved.resamples, costs=costs)
    drawn = scored.pictures.assign(encoder=name, task=task, protocol=protocol)
    results = Results(**found, scores=table, pictures=drawn, notes=(*scored.notes, *fold_gaps(found["results"])))
    if folder is not None:
        with held(folder):
            _write(results, scored, task, folder)
    return results


def _write(results: Results, scored: Scored, task: str, folder: Path) -> None:
    """The tables and, where a head was learnt to be kept, the model and its card."""
    (folder / "model" / "model.json").unlink(missing_ok=True)  # an older model would stand beside new numbers
    results.save(folder)
    if scored.participants:
        write_json(folder / "participants.json", {task: scored.participants})
    for name, table in scored.tables.items():
        write_csv(folder / f"{name}.csv", table)
    if scored.fitted is not None:
        model = scored.fitted(results.results).save(folder / "model")
        write_text(folder / "card.md", model_card(read_model(model), results, scored.participants))


def _command(evaluation: Evaluation, name: str, said: Mapping[str, str | None]) -> str:
    """What makes these numbers again, without the path of anything.

    :param name: of the encoder; ``said`` further flags with their values.
    """
    data, task, protocol = evaluation.cohort.alias, evaluation.task, evaluation.protocol.name
    words = f"sidelight evaluate {name} --data {data} --task {task} --protocol {protocol}"
    said = {**said, "--encoder": evaluation.architecture}
    words += "".join(f" {flag} {value}" for flag, value in said.items() if value)
    return words + " --random" * evaluation.random + _flags(evaluation.settings)


def _flags(settings: EvaluateSettings) -> str:
    """The settings that are not the defaults, as the command line takes them; but for what changes no number."""
    said = ["--split", split_name(settings.split)] if settings.split is not None else []
    said += ["--allow-leak"] if settings.allow_leak else []
    said += ["--allow-missing"] if settings.allow_missing else []
    for flag in changed(settings, leave=("cache", "device", "max_memory", "split", "allow_leak", "allow_missing")):
        said += ["--set", flag]
    return f" {shlex.join(said)}" if said else ""
