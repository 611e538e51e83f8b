r"""ConVIRT: an image beside one sentence of its report, both pooled plainly.

Zhang, Jiang, Miura, Manning, Langlotz: Contrastive Learning of Medical Visual Representations from Paired Images and Text (MLHC
2022; arXiv 2010.00747). The image is the mean over its regions, the text the maximum over its tokens; projections have no batch
normalisation; temperature 0.1, directions weighted 0.75 and 0.25 (equations 2 to 4).

Deviations from the paper
    Those of LoVT. Profile ``paper`` is the rival in LoVT's tables: Adam at 1e-4 (here AdamW with its weight decay of 1e-6), batch
    32, and a constant learning rate where theirs halves on a plateau.
Limits
    Those of LoVT; there is no attention between sentences and regions, so no heat maps.
"""

from typing import Any, ClassVar, Literal

from sidelight.methods.reports import AUTHORS, ReportMethod, ReportSettings
from sidelight.methods.settings import PretrainSettings


class ConVIRTSettings(ReportSettings):
    """Settings of :class:`ConVIRT`."""

    sentences: Literal["all", "one"] = "one"
    image_pool: Literal["attention", "mean", "max"] = "mean"
    report_pool: Literal["attention", "mean", "max"] = "max"
    norm: bool = False


class ConVIRT(ReportMethod):
    """A radiograph and one sentence of its report against those of other studies, pooled without attention."""

    Settings: ClassVar[type[PretrainSettings]] = ConVIRTSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {**AUTHORS, "accumulate": 1, "schedule": "constant", "epochs": 500},
    }
    NOT_FROM_PAPER = (*ReportMethod.NOT_FROM_PAPER, "schedule")
