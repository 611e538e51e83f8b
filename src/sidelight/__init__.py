"""sidelight learns image encoders from what medical images come with, and tells how many labels that saved.

Importing this package loads no torch; each public name is imported on first use.
"""

from importlib import import_module
from typing import Any

from sidelight.machine import share

share()

__version__ = "0.1.0"

_PUBLIC = {
    "Cohort": "sidelight.data.cohort.cohort",
    "Results": "sidelight.evaluation.results",
    "Run": "sidelight.train.run",
    "SidelightError": "sidelight.errors",
    "cache": "sidelight.commands.cache",
    "check": "sidelight.commands.check",
    "demo": "sidelight.commands.demo",
    "embed": "sidelight.commands.embed",
    "evaluate": "sidelight.commands.evaluate",
    "explain": "sidelight.commands.explain",
    "export": "sidelight.commands.export",
    "init": "sidelight.commands.init",
    "load_encoder": "sidelight.models.image",
    "losses": "sidelight.losses",
    "plan": "sidelight.commands.plan",
    "predict": "sidelight.commands.predict",
    "pretrain": "sidelight.commands.pretrain",
    "report": "sidelight.commands.report",
    "study": "sidelight.commands.study",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sidelight' has no attribute {name!r}")
    module = import_module(_PUBLIC[name])
    return module if name == "losses" else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
