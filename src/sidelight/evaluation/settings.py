"""Settings of an evaluation: each group stands beside the code that reads it, and is put together here."""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model, model_validator

from sidelight.config import Settings
from sidelight.data.pixels.cache import PixelSettings
from sidelight.data.split import Draw
from sidelight.errors import ConfigError
from sidelight.evaluation.inputs.beside import InputSettings
from sidelight.evaluation.labelled import SplitSettings
from sidelight.evaluation.protocols import PROTOCOLS
from sidelight.evaluation.protocols.base import HeadSettings, Protocol
from sidelight.evaluation.protocols.relations import Projector
from sidelight.evaluation.protocols.supervised import FinetuneSettings
from sidelight.evaluation.reader import FeatureSettings, PhotographSettings
from sidelight.evaluation.tables.decisions import DecisionSettings
from sidelight.views.disturb import RobustnessSettings

MOVED = {
    "k": "knn.k",
    "views": "photographs.views",
    "learn_photographs": "photographs.learn",
    "test_photographs": "photographs.test",
    "severities": "robustness.severities",
    "conditions": "robustness.conditions",
    **{name: f"inputs.{name}" for name in InputSettings.model_fields if name != "kind"},
}
"""Settings that had no group before -> their names now."""

FIRST = (
    "profile", "labels", "seeds", "first_seed", "resamples", "subgroups", "inputs", "photographs", "robustness",
    "other_people", "image_size", "device", "folds", "split_seed", "split", "allow_leak", "merge_duplicates", "frames",
    "balance", "precision", "cache", "max_frames", "max_bad_fraction", "knn", "projector", "series", "finetune",
)  # fmt: skip
"""Settings and groups that the first cells of studies were named by."""

_OWN: dict[str, Any] = {one.group: (one.Settings, one.Settings()) for one in PROTOCOLS.values() if one.group}
_OfProtocols: Any = create_model("_OfProtocols", __base__=Settings, **_OWN)


def counts(given: Any) -> Any:
    """Label counts as users write them: ``"all"`` is always there."""
    listed = given if isinstance(given, list | tuple) else [given]
    return [one for one in listed if one != "all"] if "all" in listed else given


class EvaluateSettings(PixelSettings, SplitSettings, HeadSettings, _OfProtocols):
    """How units are split, how many are labelled, what heads read, and how numbers are made; a group for each protocol."""

    profile: Literal["default", "paper"] = Field(
        "default", description="paper: heads as the papers judge, where they differ"
    )
    labels: Annotated[list[int], BeforeValidator(counts)] = Field(
        [], description='labelled units at which to train; all of them is always added, and "all" adds nothing'
    )
    label_draw: Draw = Field(
        "balanced",
        description="which units are labelled: as many of each class while they last, or natural: patient after "
        "patient as they come",
    )
    seeds: int = Field(3, ge=1, description="draws of the labelled subset, and initialisations of what is trained")
    first_seed: int = Field(0, ge=0, description="the first of the seeds")
    draws: int = Field(
        5, ge=1, description="draws of the labelled units for each seed where heads are cheap, on stored vectors"
    )
    calibrate: bool = Field(
        True,
        description="on a given split, learn folds of the units that train, too: calibration and thresholds come from them, "
        "and without them there are none",
    )
    resamples: int = Field(1000, ge=100, description="of the patients, for an interval")
    subgroups: list[str] | None = Field(
        None, description="columns whose values are scored apart; none looks for sex, age, skin type, site and device"
    )
    inputs: InputSettings = InputSettings()
    features: FeatureSettings = FeatureSettings()
    photographs: PhotographSettings = PhotographSettings()
    robustness: RobustnessSettings = RobustnessSettings()
    decisions: DecisionSettings = DecisionSettings()
    other_people: bool = Field(
        False, description="in an external test, equal DICOM identifiers on both sides are different patients"
    )
    image_size: int | None = Field(None, ge=16, description="for an encoder that does not bring one")
    device: str = Field("auto", description="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one")

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, values: Any) -> Any:
        """:raises ConfigError: that gives the new name of a setting which has moved into a group."""
        if isinstance(values, dict):
            for name, value in values.items():
                if name in MOVED:
                    raise ConfigError(
                        f"The setting {name} is called {MOVED[name]} now", do=f"Say --set {MOVED[name]}=VALUE"
                    )
                if name == "inputs" and isinstance(value, str):
                    raise ConfigError(
                        f"The setting inputs = {value!r} is called inputs.kind now",
                        do=f"Say --set inputs.kind={value}, or in a file inputs.kind = {json.dumps(value)}",
                    )
        return values

    def of(self, protocol: Protocol) -> Settings:
        """The own settings of a protocol; under the profile ``paper`` its published ones, where they are not given.

        A ``finetune.width`` that is not given is that of the projector.
        """
        own: Settings = getattr(self, protocol.group) if protocol.group else protocol.Settings()
        if self.profile == "paper" and protocol.PAPER:
            own = type(own)(**{**protocol.PAPER, **own.model_dump(include=own.model_fields_set)})
        if isinstance(own, FinetuneSettings) and own.width is None:
            return own.model_copy(update={"width": getattr(self, Projector.group).width})
        return own

    def for_cell_hash(self) -> dict[str, Any]:
        """As JSON, what names a finished cell of a study: by the names of version 0.1.0, before some moved into groups.

        A setting or group that came later is left out while it has its default, so that cells which were finished before stay
        valid; whoever adds a field to a group of then leaves it out here.
        """
        values, usual = self.model_dump(mode="json"), type(self)().model_dump(mode="json")
        values = {name: value for name, value in values.items() if name in FIRST or value != usual[name]}
        values.pop("max_memory", None)  # changes no number
        for group in ("detect", "detect_yolo"):  # came later
            if values.get(group, {}).get("monitor") == "map":
                del values[group]["monitor"]
        if values.get("ground", {}).get("ask") == "class":
            del values["ground"]["ask"]
        inputs, own = values.pop("inputs"), values.pop("knn")
        photographs, robustness = values.pop("photographs"), values.pop("robustness")
        if values["finetune"]["width"] is None:  # came later
            del values["finetune"]["width"]
        old = {old: new.partition(".") for old, new in MOVED.items()}
        groups = {"inputs": inputs, "knn": own, "photographs": photographs, "robustness": robustness}
        moved = {name: groups[group][leaf] for name, (group, _, leaf) in old.items()}
        if self.photographs.across:  # since version 0.1.0 heads read one kind in the place of the other
            moved["match_photographs"] = photographs["match"]
        return {**values, **moved, "inputs": inputs["kind"], "metric": "auroc"}
