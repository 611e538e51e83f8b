"""The card of a run: what was trained, on how much of what, how it went, and what it must not be used for."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

USE = "Research use only: not a medical device, not validated for clinical decisions."
LICENCE = (
    "The weights were learnt from the data named above: whether they may be passed on is decided by the licence of those "
    "data and of any weights that pre-training started from. sidelight itself is Apache-2.0."
)
COMMON = (
    *("encoder", "initial", "image_size", "epochs", "steps", "batch_size", "optimizer", "lr", "weight_decay"),
    *("shuffle_pairs", "seed", "keep"),
)
"""Settings that say of every method what was done; all settings stand in config.json."""
READINGS = {
    "valid_loss": "Validation loss",
    "puzzle_accuracy": "Share of puzzles that are solved, of patients kept for validation",
    "effective_rank": "Effective rank of the embeddings",
}
"""What is read after an epoch without a label, by its name in metrics.jsonl."""


def run_card(
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: pd.DataFrame,
    counts: Mapping[str, Mapping[str, int]],
    telling: Iterable[str] = (),
) -> str:
    """The card as Markdown; it names no item and no patient.

    :param config: config.json of the run; ``summary`` its done.json, ``metrics`` its metrics.jsonl.
    :param counts: how much each part of the data holds: part -> noun -> number.
    :param telling: settings of the method's own to print beside ``COMMON``.
    """
    parts = [
        f"# Card: {config['method']}",
        f"**{USE}**",
        "## What it is",
        bullets(_about(config, summary, metrics, telling)),
        "## Data",
        bullets(_data(config, counts)),
        "## How training went",
        bullets(_results(metrics)),
        "## Limits",
        bullets(_limits(config, metrics)),
        "## Licence of the weights",
        LICENCE,
    ]
    return "\n\n".join(parts) + "\n"


def bullets(lines: list[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def _about(
    config: Mapping[str, Any], summary: Mapping[str, Any], metrics: pd.DataFrame, telling: Iterable[str]
) -> list[str]:
    settings = config["settings"]
    printed = {
        name: settings[name]
        for name in (*COMMON, *telling)
        if settings.get(name) not in (None, "") and settings[name] is not False
    }
    if "steps" in printed:
        printed.pop("epochs", None)
    said = [
        f"An image encoder, pre-trained by `{config['method']}` (profile `{settings.get('profile', 'default')}`) without labels",
        f"Settings: {', '.join(f'{name} {value}' for name, value in printed.items())}; all of them stand in `config.json`",
        f"{summary['steps']:,} steps{_pace(metrics)}; the {summary['keep']} weights were kept (`{summary['weights'][:16]}`)",
    ]
    if config.get("not_from_paper"):
        said.append(f"Not from the paper: {', '.join(config['not_from_paper'])}")
    return said


def _pace(metrics: pd.DataFrame) -> str:
    """How often each unit was visited, and how long the rate rose, as the log says."""
    if "visits" not in metrics or not metrics["visits"].notna().any():
        return ""
    start = metrics.loc[metrics["visits"].notna()].iloc[0]
    return f", {start['visits']:.3g} visits of each unit, in the first {int(start['warmup_steps']):,} the rate rises"


def _data(config: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    said = [f"{config['data']['name']} (data `{config['data']['hash']}`)"]
    for part, numbers in counts.items():
        if any(numbers.values()):
            said.append(f"{part}: {', '.join(f'{number:,} {noun}' for noun, number in numbers.items())}")
    said.append(f"Split `{config['split_hash']}`: patients or recording groups, never rows")
    if config["settings"].get("where"):
        said.append("A selection of the items, by `where` in `config.json`")
    return said


def _results(metrics: pd.DataFrame) -> list[str]:
    """First and last reading of what needs no label."""
    epochs = metrics[metrics["kind"] == "epoch"] if "kind" in metrics else metrics
    said = []
    for name, title in READINGS.items():
        values = pd.to_numeric(epochs[name]).dropna() if name in epochs else pd.Series(dtype=float)
        if len(values):
            said.append(f"{title}: {values.iloc[0]:.4g} after the first epoch, {values.iloc[-1]:.4g} at the end")
    return said or ["Nothing was measured: no patient was kept for validation"]


def _limits(config: Mapping[str, Any], metrics: pd.DataFrame) -> list[str]:
    said = [
        "What the encoder is good for is not known from this run: `sidelight evaluate` judges it on a task.",
        "It has seen the data named above only: other scanners, sites and patients may look different to it.",
        "Features may carry who a patient is, their age or sex: vectors of patients are patient data.",
    ]
    if config["settings"].get("shuffle_pairs"):
        said.insert(0, "A negative control: its pairs were broken on purpose.")
    if "collapsed" in metrics and metrics["collapsed"].eq(True).any():
        said.insert(0, "Its embeddings collapsed during training: see the warning and the effective rank.")
    return said
