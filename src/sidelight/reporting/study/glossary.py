"""Words of a study's page, explained where they appear on it."""

from sidelight.reporting.study.beforehand import UNCORRECTED
from sidelight.reporting.study.content import Content


def glossary(content: Content) -> list[str]:
    """A sentence per word; those of rows that the study does not have are left out."""
    results, titles = content.results, " ".join(map(content.task_title, content.tasks))
    if results.empty:
        return []
    ways = set(results["interval"])
    lines = [
        "**Group**: the patient, or the recording where patients are unknown. Folds, label counts and intervals are made over "
        "groups, never over images.",
        "**[low, high]**: a 95 % interval that resamples groups. Of a single score it holds the trained heads fixed.",
    ]
    lines += [
        "**by**, how an interval was made: " + "; ".join(_WAYS[way] for way in _WAYS if way in ways) + "."
    ] * bool(ways & _WAYS.keys())
    lines += ["**few groups**: an interval from fewer than 20 groups of the rarest class. Read it as rough."] * bool(
        (results["few_groups"].astype(bool) & results["low"].notna()).any()
    )
    if (results["seeds"] > 1).any():
        lines.append("**seed sd**: the standard deviation over seeds; of two seeds the range between them.")
    if not content.differences.empty:
        lines.append(
            "**Holm p**: corrected over all pairs of encoders of one task, label count and metric. Tasks, label counts and "
            "metrics are separate families: nothing is corrected over them." + UNCORRECTED * content.asked
        )
        lines.append(
            "**better, worse**: the interval of the paired difference excludes 0 and Holm p is below 0.05. Otherwise no "
            "difference is shown, which is not the same as equal."
        )
    if not content.efficiency.empty:
        lines.append(
            "**3.2 × [1.4, >8]**: the rival needs 3.2 times as many labels for the same score; “>8” is more than all labels that "
            "there were, and “≤1.0” that it has the score with the fewest it was given. A saving is claimed where the whole "
            "interval is above 1."
        )
    if results["transductive"].astype(bool).any():
        lines.append(
            "**transductive**: pre-training saw the unlabelled images of test patients. A new patient's images are not seen."
        )
    if "filled rows" in titles.lower():
        lines.append("**filled rows**: only items whose clinical columns were filled in, in pre-training too.")
    if (results["selected_on"] == "test").any():
        lines.append(
            "**test-selected**: the step was chosen on the test units. Such rows are too good and enter no comparison."
        )
    return lines


_WAYS = {
    "t": "**t**, a t interval from the jackknife over groups",
    "bootstrap": "**bootstrap**, groups drawn with replacement (BCa)",
    "bound": "**bound**, an exact binomial bound where the value is 0 or 1",
}
