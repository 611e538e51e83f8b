r"""CLIP on radiographs: an image beside one sentence of its report, told from those of other studies.

Radford et al.: Learning Transferable Visual Models From Natural Language Supervision (ICML 2021), as LoVT's authors trained it
beside their method: attention pooling of the image, the maximum over the sentence's tokens, projections with batch normalisation,
one random sentence in place of a report, a fixed temperature of 0.1. LoVT without its local losses otherwise.

Deviations from the paper
    Those of LoVT. Profile ``paper`` is the rival in LoVT's tables, not OpenAI's recipe: no learned temperature unless
    ``learn_temperature`` asks for it, directions weighted 0.75 and 0.25.
Limits
    Those of LoVT; there is no attention between sentences and regions, so no heat maps.
"""

from typing import Any, ClassVar, Literal

from sidelight.methods.reports import AUTHORS, ReportMethod, ReportSettings
from sidelight.methods.settings import PretrainSettings


class CLIPSettings(ReportSettings):
    """Settings of :class:`CLIP`."""

    sentences: Literal["all", "one"] = "one"
    report_pool: Literal["attention", "mean", "max"] = "max"


class CLIP(ReportMethod):
    """A radiograph and one sentence of its report against those of other studies."""

    Settings: ClassVar[type[PretrainSettings]] = CLIPSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}, "paper": AUTHORS}
