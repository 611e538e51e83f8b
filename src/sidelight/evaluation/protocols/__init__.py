"""How an encoder is judged: labelled units -> a head -> what each unseen unit contributes. One file per protocol.

A further protocol is one file and one line here.
"""

from typing import Any

from sidelight.data.cohort.task import Task
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.protocols.base import Learned, Protocol
from sidelight.evaluation.protocols.finetune import Finetune, FinetuneLast
from sidelight.evaluation.protocols.localized.detect import Detect
from sidelight.evaluation.protocols.localized.detect_yolo import DetectYolo
from sidelight.evaluation.protocols.localized.ground import Ground, no_text
from sidelight.evaluation.protocols.localized.instances import Instances
from sidelight.evaluation.protocols.localized.segment_linear import SegmentLinear
from sidelight.evaluation.protocols.localized.segment_unet import SegmentUnet
from sidelight.evaluation.protocols.probes import Knn, Linear
from sidelight.evaluation.protocols.published import PublishedProtocol
from sidelight.evaluation.protocols.relations import Projector
from sidelight.evaluation.protocols.retrieval import Retrieval
from sidelight.evaluation.protocols.series.series import Series

PROTOCOLS: dict[str, Protocol] = {
    one.name: one
    for one in (
        Knn(), Linear(), Projector(), Series(), Finetune(), FinetuneLast(), PublishedProtocol(), Retrieval(),
        SegmentLinear(), SegmentUnet(), Instances(), DetectYolo(), Detect(), Ground(),
    )
}  # fmt: skip

TEST_SELECTED = frozenset(name for name, one in PROTOCOLS.items() if one.selects_on == "test")
"""Protocols that choose on the units that are tested: their rows say so, and nothing compares them."""


def find(name: str) -> Protocol:
    """The protocol of this name; :raises ConfigError: naming the nearest where there is none."""
    if name not in PROTOCOLS:
        raise ConfigError(f"Unknown protocol {name!r}", do=nearest(name, PROTOCOLS))
    return PROTOCOLS[name]


def learned(name: str) -> Learned[Any]:
    """The protocol of this name, which learns heads; :raises ConfigError: where it learns none."""
    found = find(name)
    if not isinstance(found, Learned):
        raise ConfigError(f"The protocol {name!r} learns no head", expected=f"one of {', '.join(_learned())}")
    return found


def _learned() -> dict[str, Learned[Any]]:
    return {name: one for name, one in PROTOCOLS.items() if isinstance(one, Learned)}


def on_vectors() -> list[str]:
    """Names of the protocols whose heads read vectors of frozen encoders."""
    return [name for name, one in _learned().items() if one.reads == "vectors"]


def check_inputs(protocol: Protocol, kind: str, context: str, severities: bool) -> None:
    """:raises ConfigError: where the heads of ``protocol`` cannot read what the settings ask for.

    :param kind: ``inputs.kind``; ``context`` ``inputs.context``; ``severities`` whether images are made worse.
    """
    if protocol.reads == "vectors":
        return
    frozen, beside = on_vectors(), ("image+metadata", "image+borrowed")
    if severities:
        raise ConfigError(f"severities with the protocol {protocol.name}", expected=f"one of {', '.join(frozen)}")
    if context != "none" or kind not in ("image", *beside * protocol.beside):
        raise ConfigError(
            f"inputs.kind = {kind!r}, inputs.context = {context!r} with {protocol.name}",
            expected=f"{' or '.join(frozen)} (or finetune with inputs.kind = {' or '.join(map(repr, beside))}, "
            "inputs.context = 'none')",
        )


KINDS = {"classes": "classes", "mask": "masks", "boxes": "boxes"}


def check_targets(protocol: Protocol, task: Task) -> None:
    """:raises ConfigError: where ``protocol`` cannot learn what ``task`` asks for."""
    asked = {target.kind for target in task.heads}
    if asked <= set(protocol.targets):
        return
    kind = next(iter(asked - set(protocol.targets)))
    fit = [name for name, one in PROTOCOLS.items() if kind in one.targets]
    learns = " and ".join(KINDS[one] for one in protocol.targets)
    raise ConfigError(
        f"The task {task.name!r} asks for {KINDS[kind]}, and the protocol {protocol.name} learns {learns}",
        expected=f"a protocol that learns {KINDS[kind]}: {', '.join(fit)}" if fit else "",
        do="" if fit else f"No protocol learns {KINDS[kind]} yet: take a task of {learns}",
    )


def check_text(protocol: Protocol, name: str, text: bool) -> None:
    """:raises ConfigError: where ``protocol`` compares images with phrases, and an encoder called ``name`` has no text."""
    if protocol.reads_text and not text:
        raise no_text(name)


def check_side_by_side(protocol: Protocol) -> None:
    """:raises ConfigError: where ``protocol`` cannot read two photographs side by side."""
    if not protocol.side_by_side:
        known = [name for name, one in PROTOCOLS.items() if one.side_by_side and one.selects_on == "validation"]
        raise ConfigError(
            f"{protocol.name} knows no photographs side by side, as photographs.views, the task or the run asks for them",
            expected=", ".join(known),
        )
