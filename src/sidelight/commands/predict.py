"""predict: a saved model and new patients -> one row per unit, no labels needed; of masks and boxes their files, too."""

from pathlib import Path

import numpy as np
import pandas as pd

from sidelight.commands.predict_files import FoundFiles, found_rows
from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Target
from sidelight.data.cohort.units import every_unit
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels, PixelSettings, open_pixels
from sidelight.data.read.still import MOST_FRAMES
from sidelight.errors import ConfigError, DataError, nearest
from sidelight.evaluation.model.model import Model, embed_units, read_model
from sidelight.evaluation.units import Units
from sidelight.files import check_place, check_suffix, write_csv
from sidelight.metrics.checklist import points
from sidelight.train.device import pick_device, place

ENOUGH = 5


def predict(
    model: str | Path | Model,
    data: str | Path | Cohort,
    out: str | Path | None = None,
    *,
    preset: str | None = None,
    allow_outside: bool = False,
    cohort_file: str | Path | None = None,
    names: bool = False,
    masks: str | Path | None = None,
    mask_format: str = "png",
    boxes: str | Path | None = None,
    other_kind: bool = False,
    force: bool = False,
    cache: str | None = None,
    device: str = "auto",
    quiet: bool | None = None,
) -> pd.DataFrame:
    """Score new units with a model that :func:`sidelight.evaluate` saved.

    :param model: the folder that ``evaluate`` wrote.
    :param data: folder, cohort.toml or cohort; its tasks and labels are not looked at.
    :param cohort_file: the ``cohort.toml`` that the model's data have, or its folder: where ``data`` holds none of its own.
    :param out: CSV file to write; one that an earlier prediction wrote is replaced, any other only with ``force``.
    :param masks: folder for the masks that a model of masks finds, in pixels of the sources: see
        :func:`sidelight.data.annotations.writing.mask_files` for ``mask_format``, "png", "nifti" or "dicom-seg".
    :param boxes: COCO file for the boxes that a model of boxes, or of instances, finds and counts. Masks and boxes are
        named by the unit's hash, with ``names`` by its item. They and ``out`` are all written, or none of them is.
    :param names: add the columns ``name`` with the unit's own key and ``item`` with its first item (a path: the identifiers
        of DICOM headers are only known as hashes); without them units are named by keyed hash only.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param other_kind: go on with data that look like another kind than the model's.
    :return: one row per unit: ``unit`` (hash), ``probability`` and ``calibrated`` of the positive class, which
        ``attrs["positive"]`` names (with more than two classes one column ``probability:CLASS`` and ``calibrated:CLASS``
        each), ``decision`` (of a multi-label task ``probability:LABEL``, ``calibrated:LABEL`` and ``decision:LABEL``; where
        labels have points also ``points`` and ``suspected``; of a model of masks or boxes in their place what
        :func:`sidelight.evaluation.model.where.measures` says, with several classes as ``pixels:CLASS``),
        ``outside`` (bool: far from all training data), ``distance`` (cosine, to the nearest training unit), ``missing``
        (what the unit lacks), ``items`` (readable ones) and ``use``. A unit without a readable item has no probability and
        no decision. ``attrs["notices"]`` is what opening the data said, ``attrs["outside"]`` what that flag is worth.
    :raises DataError: for data of another kind than the model's.
    """
    if out is not None:
        _check_out(Path(out), force)
    known = model if isinstance(model, Model) else read_model(model)
    cohort = (
        data
        if isinstance(data, Cohort)
        else Cohort.open(data, preset=preset, labels=False, cohort_file=cohort_file, allow_outside=allow_outside)
    )
    _check_levels(known, cohort)
    folder, file = (None if one is None else Path(one) for one in (masks, boxes))
    files = FoundFiles(folder, mask_format, file, names)
    files.check(known, cohort, force)
    place(known.encoder, pick_device(device))  # as evaluate does: other kernels would give other last bits
    pixels = _pixels(known, cohort, cache, quiet)
    table = _units(cohort, pixels, known.facts.unit)
    readable = table[table["rows"].map(bool)]
    if readable.empty:
        raise DataError(f"None of the {len(table)} units of {cohort.name} can be read", do="See `sidelight check`")
    if not other_kind:
        _check_kind(known, cohort, pixels)
    files.check_sources(cohort, pixels.index["position"].tolist())
    units = embed_units(known, cohort, Units(pixels, readable["rows"].tolist()), quiet=bool(quiet))
    table = table.assign(missing=_missing(known, cohort, table))
    with files.kept(known):
        if known.facts.where is None:
            found = _rows(known, readable, *known.score(units))
        else:
            found = found_rows(known, cohort, readable, units, files, quiet=bool(quiet))
        if not other_kind:
            _check_inside(known, cohort, found["outside"][(table.loc[readable.index, "missing"] == "").to_numpy()])
        result = _whole(known, cohort, table, found, names=names)
        if out is not None:
            write_csv(Path(out), result)
    return result


def _check_out(out: Path, force: bool) -> None:
    """:raises ConfigError: where ``out`` is no name of a CSV file, cannot be written or, unless ``force``, is a file that no
    prediction wrote.
    """
    check_suffix(out, (".csv",), "the table is", "Write CSV, which spreadsheets and `pandas.read_csv` read")
    check_place(out, folder=False)
    if force or not out.exists():
        return
    with out.open("rb") as file:
        header = file.readline(4096).strip()
    if not (header.startswith(b"unit,") and header.endswith(b",missing,items,use")):
        raise ConfigError(
            f"{out} exists already, and no prediction wrote it",
            do="Choose another name with --out, or replace it with --force (force=True)",
        )


def _pixels(model: Model, cohort: Cohort, cache: str | None, quiet: bool | None) -> Pixels:
    """Decoded as the model's data were; one broken file must not keep the other patients from their prediction.

    Where something is, is said of every frame.
    """
    where = model.facts.where
    frames = MOST_FRAMES if where else model.facts.max_frames
    size = where.size if where else working_size(model.encoder.image_size)
    return open_pixels(cohort, size, PixelSettings(cache=cache, max_bad_fraction=1.0, max_frames=frames), quiet=quiet)


def _units(cohort: Cohort, pixels: Pixels, unit: str) -> pd.DataFrame:
    """Every unit with the cache rows of its readable items, and how many were lost."""
    table = every_unit(cohort, unit)
    table["rows"] = pixels.rows_of(table["items"])
    table["lost"] = [len(items) - len(rows) for items, rows in zip(table["items"], table["rows"], strict=True)]
    return table


def _rows(
    model: Model,
    table: pd.DataFrame,
    scores: dict[str, np.ndarray],
    calibrated: dict[str, np.ndarray],
    distance: np.ndarray,
) -> pd.DataFrame:
    """What the model says of each unit of ``table``; what it scored is of :meth:`Model.score`."""
    columns: dict[str, np.ndarray | list[str]] = {}
    for name, target in model.facts.targets.items():
        of = f":{name}" if name else ""
        for kind, values in {"probability": scores[name], "calibrated": calibrated[name]}.items():
            if len(target.classes) == 2:
                columns[f"{kind}{of}"] = values[:, 1]
            else:
                columns |= {f"{kind}{of}:{one}": values[:, c] for c, one in enumerate(target.classes)}
        columns[f"decision{of}"] = target.decide(calibrated[name])
    if model.facts.suspect:
        columns |= _points(model, scores)
    return pd.DataFrame(
        {"unit": table["unit"].to_numpy(), **columns, "outside": distance > model.facts.outside, "distance": distance}
    )


def _points(model: Model, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray | list[str]]:
    """The points of each unit and whether they make it suspect, from the most probable classes, as the evaluation judged."""
    heads = [Target(name, one.classes, one.positive, one.points) for name, one in model.facts.targets.items()]
    gained = points(heads, np.stack([scores[head.name].argmax(axis=1) for head in heads], 1))
    return {"points": gained, "suspected": ["yes" if one >= model.facts.suspect else "no" for one in gained.tolist()]}


def _whole(model: Model, cohort: Cohort, table: pd.DataFrame, found: pd.DataFrame, *, names: bool) -> pd.DataFrame:
    """Every unit of ``table`` with what was ``found`` of it, by its hash, its columns in their documented order."""
    whole = table.merge(found, on="unit", how="left")
    secret = cohort.key
    named = {
        "name": whole["unit"],
        "item": [cohort.items["item"].iloc[positions[0]] for positions in whole["items"]],
    }
    result = pd.DataFrame(
        {
            "unit": [item_hash(name, secret) for name in whole["unit"]],
            **(named if names else {}),
            **{name: whole[name] for name in found.columns if name != "unit"},
            "missing": whole["missing"],
            "items": whole["rows"].map(len),
            "use": model.facts.use,
        }
    )
    decisions = [name for name in result.columns if name.partition(":")[0] == "decision"]
    decisions += ["suspected"] if "suspected" in result else []
    result[decisions] = result[decisions].fillna("")
    result["outside"] = result["outside"].astype("boolean")
    notices, note = list(cohort.notices), model.facts.outside_note
    positive = {name: target.classes[-1] for name, target in model.facts.targets.items()}
    result.attrs |= {"positive": positive.get("", ""), "notices": notices, "outside": note}
    return result


def _missing(model: Model, cohort: Cohort, table: pd.DataFrame) -> list[str]:
    """What each unit lacks of what nearly every training unit had, in words; "" where nothing."""
    views = cohort.items["view"].to_numpy()
    filled = model.metadata.filled(cohort.items) if model.facts.filled else pd.DataFrame()
    said = []
    for items, rows, lost in zip(table["items"], table["rows"], table["lost"], strict=True):
        here = {views[item] for item in items}
        lacks = [f"no {view} image" for view in model.facts.views if view not in here]
        lacks += _blank(model, filled.iloc[list(items)]) if model.facts.filled else []
        if not rows:
            lacks.append("no readable image")
        elif lost:
            lacks.append(f"{lost} of {len(items)} images unreadable")
        said.append("; ".join(lacks))
    return said


def _blank(model: Model, filled: pd.DataFrame) -> list[str]:
    """The columns of metadata that a unit, all of its items, lacks and nearly every training unit had."""
    gone = [name for name in model.facts.filled if not filled[name].any()]
    if gone and not filled.to_numpy().any():
        return ["no metadata"]
    return [f"no {', '.join(gone)}"] if gone else []


def _check_levels(model: Model, cohort: Cohort) -> None:
    unit = model.facts.unit
    if unit != "item" and unit not in cohort.levels:
        raise DataError(
            f"The model predicts per {unit}, a level that {cohort.name} has not",
            do=nearest(unit, cohort.levels or [""]),
        )


def _check_inside(model: Model, cohort: Cohort, outside: "pd.Series[bool]") -> None:
    """:raises DataError: where several units that lack nothing were scored and all are outside."""
    if len(outside) >= ENOUGH and outside.all():
        raise DataError(
            f"All {len(outside)} units of {cohort.name} are far outside the data that the model for "
            f"{model.facts.task!r} learnt from: they look like another kind of image",
            do="Check that these are the right data; --other-kind (other_kind=True) predicts all the same",
        )


def _check_kind(model: Model, cohort: Cohort, pixels: Pixels) -> None:
    """:raises DataError: where channels, clips, ``[images]`` or views say that these are other images than the model's."""
    facts = model.facts
    clips = bool(np.mean([pixels.frames_of(row) > 1 for row in range(len(pixels))]) > 0.5)
    colour = {1: "grey", 3: "colour"}
    views = {view for view in cohort.items["view"] if view}
    images = {name: getattr(cohort.spec.images, name) for name in facts.looks}
    look = next((name for name, there in facts.looks.items() if images[name] != there), None)
    differs = ""
    if pixels.channels != facts.channels:
        differs = f"{colour[pixels.channels]} images, the model learnt from {colour[facts.channels]} ones"
    elif clips != facts.clips:
        differs = (
            f"mostly {'clips' if clips else 'stills'}, the model learnt from {'clips' if facts.clips else 'stills'}"
        )
    elif look is not None:
        differs = (
            f"images with [images] {look} = {images[look]!r}, the model learnt from those with {facts.looks[look]!r}"
        )
    elif views and facts.views and not views & set(facts.views):
        differs = f"the views {', '.join(sorted(views))}, the model learnt from {', '.join(facts.views)}"
    if differs:
        raise DataError(
            f"{cohort.name} holds {differs}",
            do="Give data of the model's kind; --other-kind (other_kind=True) predicts all the same",
        )
