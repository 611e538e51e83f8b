"""sidelight learns image encoders from what medical images come with, and tells how many labels that saved.

Importing this package loads no torch; each public name is imported on first use.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Cohort": "sidelight.data.cohort",
    "Results": "sidelight.evaluation.results",
    "Run": "sidelight.train.run",
    "SidelightError": "sidelight.errors",
    "check": "sidelight.checking",
    "embed": "sidelight.delivery",
    "evaluate": "sidelight.api",
    "explain": "sidelight.explanation",
    "export": "sidelight.delivery",
    "init": "sidelight.start",
    "load_encoder": "sidelight.models.image",
    "losses": "sidelight.losses",
    "predict": "sidelight.prediction",
    "pretrain": "sidelight.api",
    "report": "sidelight.api",
    "study": "sidelight.studies",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sidelight' has no attribute {name!r}")
    module = import_module(_PUBLIC[name])
    return module if _PUBLIC[name].rpartition(".")[2] == name else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
