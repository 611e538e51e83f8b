"""What reads the units of an evaluation: one encoder, or the encoders of two photographs side by side."""

from pathlib import Path
from types import SimpleNamespace

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Task
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.units import Reader
from sidelight.methods.photos import photo_roles
from sidelight.models.image import Encoder, load_encoder
from sidelight.models.labels import LabelRelations
from sidelight.models.pair import PhotoPair
from sidelight.models.towers import read_tower
from sidelight.train.run import Run


def _load(name: str, cohort: Cohort, settings: EvaluateSettings, random: bool) -> Encoder:
    return load_encoder(
        name,
        random=random,
        channels=cohort.channels or 3,
        image_size=settings.image_size or 112,
        seed=settings.first_seed,
    )


def open_reader(
    encoder: str | Path | Encoder, cohort: Cohort, task: Task, protocol: str, settings: EvaluateSettings, random: bool
) -> Reader:
    """One encoder, or the encoders of two photographs that are read side by side.

    Which photographs, the settings say, else the task, else the run: a run with an encoder for each kind of photograph reads
    units with it, and one of SM3's second stage reads them as its label-relation net does.
    """
    views = settings.views if settings.views is not None else (task.views or None)
    config = (
        {}
        if isinstance(encoder, Encoder) or not (Path(encoder) / "config.json").is_file()
        else Run.open(encoder).config
    )
    if config.get("method") not in ("sm3", "sm3_labels"):
        net = encoder if isinstance(encoder, Encoder) else _load(str(encoder), cohort, settings, random)
        return net if views is None else PhotoPair(net, net, _there(views, cohort))
    folder, own = Path(str(encoder)), SimpleNamespace(**config["settings"])
    relations = config["method"] == "sm3_labels" and protocol in ("projector", "finetune", "published")
    if views is None and task.unit != "item" and (relations or own.towers == "separate"):
        views = tuple(own.photographs)
    if views is None:
        return _load(str(encoder), cohort, settings, random)
    roles = photo_roles(own)
    first = load_encoder(folder, roles[0])
    start = LabelRelations.of(*read_tower(folder, "labels", kind="labels")) if relations else None
    return PhotoPair(
        first, first if roles[0] == roles[1] else load_encoder(folder, roles[1]), _there(views, cohort), start
    )


def _there(views: tuple[str, ...], cohort: Cohort) -> tuple[str, ...]:
    """The views; :raises ConfigError: for one that no item has."""
    for view in views:
        if not (cohort.items["view"] == view).any():
            known = sorted({*cohort.items["view"]} - {""})
            raise ConfigError(f"{cohort.name} has no photograph of the view {view!r}", do=nearest(view, known))
    return tuple(views)
