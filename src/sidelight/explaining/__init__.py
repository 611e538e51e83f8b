"""What a run learnt, in pictures, and a score for them where the truth is known; one file per method."""

from importlib import import_module
from typing import Any

from sidelight.explaining.content import Explainer

EXPLAINERS: dict[str, str] = {
    "sslm": "sidelight.explaining.sslm:explain",
    "lovt": "sidelight.explaining.reports:explain",
    "clip": "sidelight.explaining.reports:explain",
    "convirt": "sidelight.explaining.reports:explain",
    "sm3": "sidelight.explaining.sm3:explain",
    "sm3_labels": "sidelight.explaining.sm3:explain",
    "slimp": "sidelight.explaining.slimp:explain",
}
"""Method to the function that explains its runs; every other method is explained by its nearest neighbours alone."""


def load_explainer(method: str) -> Explainer | None:
    """The function that explains runs of ``method`` beyond their nearest neighbours, if there is one."""
    if method not in EXPLAINERS:
        return None
    module, _, name = EXPLAINERS[method].partition(":")
    found: Any = getattr(import_module(module), name)
    explainer: Explainer = found
    return explainer
