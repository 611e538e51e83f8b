"""The model card: what the model is, what it learnt from, how it was judged, and what it must not be used for.

Items of CLAIM (checklist for AI in medical imaging, 2024 update) and TRIPOD+AI (2024) that a run folder knows are answered;
those that it cannot know are listed as open, so that nobody takes silence for an answer.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sidelight.data.cells import owners
from sidelight.evaluation.model.model import Facts, Model
from sidelight.evaluation.outcomes import OUTCOMES
from sidelight.evaluation.participants import sentences
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.results import Results, shown_rows
from sidelight.train.card import LICENCE, USE, bullets

LEFT_TO_AUTHORS = (
    "study question, intended use and users, and the setting of care",
    "source of the data, dates, eligibility, consent and ethics approval",
    "how the reference standard was made, by whom, and how often readers agreed",
    "why this sample size",
    "failure analysis by a clinician",
    "a test on data of another site, unless one stands under Results",
)


OUTSIDE_LEAKS = "**The external test leaks**: it has pictures that were learnt from, and its numbers are too good."
LEAKS = "**The given split leaks**: what was learnt from stands on its test side too, and the numbers are too good."


def model_card(model: Model, results: Results, who: Mapping[str, Any]) -> str:
    """The card as Markdown; it names no item and no patient.

    :param who: of :func:`sidelight.evaluation.participants.participants`.
    """
    facts = model.facts
    parts = [
        f"# Model card: {facts.task}",
        f"**{facts.use}**",
        "## What it is",
        bullets(_about(model)),
        "## Data",
        bullets(_data(facts)),
        "## Participants",
        bullets(sentences(who)),
        "## Results",
        "Of units that neither the head nor what was chosen for it had seen; 95 % intervals resample "
        f"{_owners(results.results)}.",
        _table(headline(results.results)),
        "## Calibration and decision",
        bullets(_decision(facts, results.results)),
        "## Subgroups",
        _table(_subgroups(results.subgroups)) or "No column says sex, age, skin type, site or device.",
        "## Limits",
        bullets([*_limits(facts, results), *results.notes]),
        "## Methods paragraph",
        methods_paragraph(facts, results.results),
        "## CLAIM and TRIPOD+AI",
        "Answered above: data partitions and unit of splitting, model, training, evaluation metrics with intervals, "
        "calibration, subgroup results, limits. Left to the authors:",
        bullets(list(LEFT_TO_AUTHORS)),
        "## Licence of the weights",
        LICENCE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def study_card(results: Results, study: Mapping[str, Any]) -> str:
    """The card of a study: its encoders, its numbers at all labels, and its limits.

    :param study: what study.json says.
    """
    table = results.results
    every = table[table["all_labels"].astype(bool) & (table["selected_on"] != "test")]
    numbers = headline(table).assign(encoder=every["encoder"], protocol=every["protocol"])
    data, units = study["data"], every.groupby("task", sort=False)[["units", "groups"]].max()
    counts = [f"{task}: {row.units:,} labelled units of {row.groups:,} groups" for task, row in units.iterrows()]
    hashes = [
        f"Split of {task}: `{one}`" for task, one in table.groupby("task", sort=False)["split_hash"].first().items()
    ]
    parts = [
        f"# Card: {study['title']}",
        f"**{USE}**",
        study["question"],
        "## Encoders",
        bullets([f"{name}: {text}" if text else name for name, text in study["encoders"].items()]),
        "Each pre-trained one has its own `card.md` in `runs/`.",
        "## Data",
        bullets([f"{data['name']}: {data['items']:,} items (data `{data['hash']}`)", *counts, *hashes]),
        "## Results",
        f"At all labels, of units that the heads had not seen; 95 % intervals resample {_owners(table)}. "
        "Fewer labels and paired differences stand in `report.html`.",
        _table(numbers[numbers["metric"].isin([one.headline for one in OUTCOMES.values()])]),
        "## Limits",
        bullets(
            [
                *([LEAKS] if table["leaks"].astype(bool).any() else []),
                *study["not_shown"],
                *study["warnings"],
                *study["notes"],
            ]
        ),
        "## Licence of the weights",
        LICENCE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def methods_paragraph(facts: Facts, results: pd.DataFrame) -> str:
    """A paragraph for a paper's methods section, made of what is known."""
    on = facts.trained_on
    protocol = learned(facts.protocol)
    seeds = int(results["seeds"].max()) if len(results) else 0
    balance = ", classes weighted by inverse frequency" if facts.balance != "none" and protocol.weighs_classes else ""
    unit, tested = facts.unit, facts.tested_on
    learnt = f"{on['units']} labelled {unit} units of {on['groups']} groups ({_owners(results)})"
    if tested:
        chosen = "inside the training and validation sides of the split"
        split = (
            f"{learnt} on the training ({tested['train']}) and validation ({tested['valid']}) sides of a given split were learnt "
            f"from, and the {tested['units']} of {tested['groups']} groups on its test side were scored, over {seeds} seeds."
        )
    else:
        chosen = "inside the training folds"
        split = (
            f"{learnt} were split into folds by group, near-duplicate images sharing a group; scores are out of fold, "
            f"over {seeds} seeds."
        )
    beside = {
        "image+metadata": ", beside those of the metadata",
        "metadata": " and not used: the head reads metadata alone",
    }
    if facts.where is not None:
        learns = dict(facts.head).get("settings", {}).get("train") == "all"
        return (
            f"Images were encoded by {model_name(facts)}{' that learnt on with the head' * learns}. "
            f"The {_predicted(facts)} were predicted by {protocol.says}, in images of {facts.where.size} x {facts.where.size} "
            f"pixels. {split} Intervals (95 %) resample groups. Learning rate and step were chosen {chosen}."
        )
    return (
        f"Images were encoded by {model_name(facts)}; features of up to {facts.frames} frames per item and of all items of a "
        f"{facts.unit} were averaged{beside.get(facts.inputs, '')}. "
        f"The {_predicted(facts)} were predicted by {protocol.says}{balance}. "
        f"{split} Intervals (95 %) resample groups. Hyperparameters, probability calibration and the decision threshold were "
        f"chosen {chosen}."
    )


def model_name(facts: Facts) -> str:
    """What the encoder is called in a sentence."""
    return f"an image encoder (weights {facts.hashes['encoder_hash'][:12]})"


def headline(results: pd.DataFrame) -> pd.DataFrame:
    """The rows at all labels that are selected on validation, per task: metric, value, interval, support."""
    if results.empty:
        return results
    rows = shown_rows(results[results["all_labels"].astype(bool) & (results["selected_on"] == "validation")])
    several = (rows["target"] != "").any()
    return pd.DataFrame(
        {
            "task": rows["task"],
            **({"label": rows["target"].replace("", "all (mean)")} if several else {}),
            "metric": rows["metric"],
            "value": [f"{value:.3f}" for value in rows["value"]],
            "95 % interval": [_interval(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)],
            "units": rows["units"],
            **({"with it": _counts(rows)} if several else {}),
            "groups": [
                f"{n}{' (few)' if few else ''}" for n, few in zip(rows["groups"], rows["few_groups"], strict=True)
            ],
        }
    )


def _owners(results: pd.DataFrame) -> str:
    return owners(results["level"].iloc[0] if "level" in results and len(results) else "")


def _counts(rows: pd.DataFrame) -> list[str]:
    """Units that have each row's label."""
    of_label = zip(rows["target"], rows["positives"], strict=True)
    return [f"{positives:.0f}" if target else "" for target, positives in of_label]


def _about(model: Model) -> list[str]:
    facts, encoder = model.facts, model.encoder
    return [
        f"Encoder: {encoder.name}, {encoder.channels} channel{'s' * (encoder.channels > 1)}, {encoder.image_size} px, "
        f"{encoder.dim} features (weights `{facts.hashes['encoder_hash'][:16]}`)",
        *([f"The head reads {facts.inputs.replace('+', ' and ')}{_columns(model)}"] if facts.inputs != "image" else []),
        *(["It also reads how an item differs from the patient's other items"] if facts.context == "patient" else []),
        f"Head: {facts.protocol}; {_reads(facts)}",
        f"{_predicted(facts).capitalize()}",
    ]


def _columns(model: Model) -> str:
    """`` (columns age, site)``."""
    names = [column.name for vocabulary in model.metadata.used() for column in vocabulary.columns]
    return f" (columns {', '.join(names)})"


def _reads(facts: Facts) -> str:
    """What one prediction is made of."""
    if facts.where is None:
        return f"one prediction per {facts.unit} from up to {facts.frames} frames of each of its items"
    side, fit = facts.where.size, {"pad": "sides in their ratio, beside them black", "squash": "squashed to a square"}
    return f"one prediction per image or frame, at {side} x {side} pixels, {fit[facts.where.fit]}"


def _predicted(facts: Facts) -> str:
    """``classes benign, malignant``, ``labels acl, meniscus (each no or yes)`` or ``masks of lung, heart``."""
    if facts.where is not None:
        return f"{facts.where.noun} of {', '.join(facts.where.classes)}"
    (first, *more) = facts.targets.values()
    if "" in facts.targets:
        return f"classes {', '.join(first.classes)}"
    if any(one.classes != first.classes for one in more):
        each = [f"{name} ({'/'.join(one.classes)})" for name, one in facts.targets.items()]
        return f"labels {', '.join(each)}"
    return f"label{'s' * bool(more)} {', '.join(facts.targets)} (each {' or '.join(first.classes)})"


def _data(facts: Facts) -> list[str]:
    on = facts.trained_on
    counts = ", ".join(f"{count} {name}" for name, count in on["classes"].items())
    tested, made = facts.tested_on, "folds over groups, never rows"
    if tested:
        made = f"given: {tested['units']} units of {tested['groups']} groups are its test side and were not learnt from"
    return [
        f"{on['name']}: {on['units']} labelled units of {on['groups']} groups ({counts})",
        f"Data `{facts.hashes['data_hash']}`, split `{facts.hashes['split_hash']}` ({made})",
        f"{'Clips' if facts.clips else 'Stills'} of {facts.channels} channel{'s' * (facts.channels > 1)}"
        + (f"; views {', '.join(facts.views)}" if facts.views else ""),
    ]


def _decision(facts: Facts, results: pd.DataFrame) -> list[str]:
    said = [] if facts.where is None else [*filter(None, [facts.head.get("judged")]), *_counted(facts)]
    for name, target in facts.targets.items() if facts.where is None else ():
        calibration, of = target.calibration, f"{name}: " if name else ""
        said.append(
            f"{of}{'t' if name else 'T'}emperature {calibration.temperature:.2f}, shift {calibration.shift:.2f}, "
            "fitted on out-of-fold scores"
        )
        if len(target.classes) == 2:
            why = "largest Youden index out of fold"
            if target.miss_cost is not None:
                why = f"a miss costs as much as {target.miss_cost:g} false alarms"
            positive = f"{of}{'p' if name else 'P'}ositive"
            said.append(f"{positive} from a calibrated probability of {target.threshold:.3f} on ({why})")
    said.append(
        f"Outside the training data: cosine distance to the nearest labelled unit above {facts.outside:.4f}; {facts.outside_note}"
    )
    return said


def _counted(facts: Facts) -> list[str]:
    """From where on a pixel, or a box, counts."""
    assert facts.where is not None
    numbers = [one.threshold for one in facts.targets.values()]
    if facts.where.kind == "mask" and len(set(numbers)) == 1:
        return [f"A pixel belongs to a mask from a probability of {numbers[0]:g} on, as it was judged"]
    each = zip(facts.where.classes, numbers, strict=True)
    if facts.where.kind == "mask":
        return [f"A pixel belongs to the mask of {name} from {number:.3f} on, of 0 to 1" for name, number in each]
    return [
        f"A box of {name} counts from a score of {number:.3f} on (highest F1 out of fold, half of it met)"
        for name, number in each
    ]


def _subgroups(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    table = table[table["metric"] == table["metric"].iloc[0]]
    several = (table["target"] != "").any()
    return pd.DataFrame(
        {
            **({"label": table["target"].replace("", "all (mean)")} if several else {}),
            "column": table["column"],
            "subgroup": table["subgroup"],
            "units": table["units"],
            "groups": table["groups"],
            "metric": table["metric"],
            "value": [f"{value:.3f}" if value == value else "too few" for value in table["value"]],
            "95 % interval": [_interval(low, high) for low, high in zip(table["low"], table["high"], strict=True)],
        }
    )


def _limits(facts: Facts, results: Results) -> list[str]:
    said = ["Judged on the data named above only: another scanner, site or patient group may give other numbers."]
    rows = results.results
    if len(rows):
        own = shown_rows(rows[rows["all_labels"].astype(bool) & (rows["selected_on"] == "validation")])
        few = list(dict.fromkeys(own.loc[own["few_groups"].astype(bool) & own["low"].notna(), "metric"]))
        if few:
            named = "" if len(few) == own["metric"].nunique() else f" of {', '.join(few)}"
            said.append(f"Fewer than 20 groups, or of the rarest class, were judged: the intervals{named} are rough.")
    if len(rows) and rows["transductive"].astype(bool).any():
        said.append("Pre-training saw the unlabelled test items (transductive).")
    if len(rows):
        leaking = rows.loc[rows["leaks"].astype(bool), "task"]
        said += [LEAKS] * bool((leaking == rows["task"].iloc[0]).any())
        said += [OUTSIDE_LEAKS] * bool((leaking != rows["task"].iloc[0]).any())
    if len(rows) and rows["task"].nunique() < 2:
        said.append("No external test was made.")
    return said


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}" if low == low and high == high else "none"


def _table(frame: pd.DataFrame) -> str:
    if frame.empty:
        return ""
    rows: list[list[Any]] = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
