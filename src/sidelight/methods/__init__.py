"""One file per published method; a further method is one file and one line here."""

from importlib import import_module
from typing import TYPE_CHECKING

from sidelight.errors import ConfigError, nearest

if TYPE_CHECKING:
    from sidelight.methods.base import MethodBase

METHODS = {
    "simclr": "sidelight.methods.simclr:SimCLR",
    "byol": "sidelight.methods.byol:BYOL",
    "pixelpro": "sidelight.methods.pixelpro:PixelPro",
    "distil": "sidelight.methods.distil:Distil",
    "meta_uscl": "sidelight.methods.meta_uscl:MetaUSCL",
    "sslm": "sidelight.methods.sslm:SSLM",
    "lovt": "sidelight.methods.lovt:LoVT",
    "clip": "sidelight.methods.clip:CLIP",
    "convirt": "sidelight.methods.convirt:ConVIRT",
    "weak_labels": "sidelight.methods.weak_labels:WeakLabels",
    "local_sigmoid": "sidelight.methods.local_sigmoid:LocalSigmoid",
    "sm3": "sidelight.methods.sm3:SM3",
    "sm3_labels": "sidelight.methods.sm3_labels:SM3Labels",
    "slimp": "sidelight.methods.slimp:Slimp",
}


def load_method(name: str) -> "type[MethodBase]":
    """The class of a method by its name; :raises ConfigError: for an unknown name, with the nearest known one."""
    if name not in METHODS:
        raise ConfigError(f"Unknown method {name!r}", do=nearest(name, METHODS))
    module, _, attribute = METHODS[name].partition(":")
    method: type[MethodBase] = getattr(import_module(module), attribute)
    return method
