"""What leaves the house: a vector of every item, and the encoder in the formats that others load."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from sidelight import __version__
from sidelight.config import Settings, build, working_size
from sidelight.data.cache import Pixels
from sidelight.data.cohort import Cohort
from sidelight.data.columns import unit_keys
from sidelight.data.identity import item_hash, key
from sidelight.errors import ConfigError
from sidelight.evaluation.features import embed_items
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.export import SUFFIXES, package, places
from sidelight.models.image import Encoder, load_encoder, weights_hash
from sidelight.scoring import open_pixels
from sidelight.train.device import pick_device
from sidelight.train.files import check_place, replacing
from sidelight.train.run import Run


class EmbedSettings(Settings):
    """How items become vectors; the names mean what they mean in an evaluation."""

    frames: int = Field(8, ge=1, description="frames of a clip that are embedded and averaged")
    image_size: int | None = Field(None, ge=16, description="for an encoder that does not bring one")
    seed: int = Field(0, ge=0, description="of random weights")
    device: str = "auto"
    cache: str | None = None
    max_frames: int = Field(64, ge=1)
    max_bad_fraction: float = Field(0.1, ge=0, le=1)


def embed(
    encoder: str | Path | Encoder | Run,
    data: str | Path | Cohort,
    out: str | Path | None = None,
    *,
    preset: str | None = None,
    role: str = "image",
    random: bool = False,
    force: bool = False,
    quiet: bool | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """One vector per readable item, from the pixels and the frames that an evaluation uses; no name of anybody in it.

    :param encoder: as in :func:`sidelight.evaluate`.
    :param out: Parquet file; ``vector`` is a fixed-size list of float32 there, and what ``.attrs`` says stands in the
        schema's metadata as JSON under ``sidelight``.
    :param force: replace ``out`` if it exists.
    :param settings: of :class:`EmbedSettings`.
    :return: ``item`` (hash), a column per level (hash; the same names as ``unit`` in an evaluation's scores), ``group``
        (hash), ``view``, ``vector`` (float32 [D]). ``.attrs``: encoder_hash, data_hash, image_size, dim, frames,
        unreadable (items left out), sidelight_version.
    :raises ConfigError: when ``out`` exists.
    """
    place = None if out is None else Path(out)
    if place is not None:
        _check_free(place, [place], force)
    resolved = build(EmbedSettings, settings)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset)
    net = _open(encoder, role, cohort, resolved, random)
    net.to(pick_device(resolved.device))  # a module that was handed in stays there
    reading = build(EvaluateSettings, resolved.model_dump(include={"cache", "max_frames", "max_bad_fraction"}))
    pixels = open_pixels(cohort, working_size(net.image_size), reading, quiet=quiet)
    features = pixels.folder / "features"
    vectors = embed_items(net, pixels, frames=resolved.frames, folder=features, quiet=bool(quiet))
    known: dict[Any, Any] = {
        "encoder_hash": weights_hash(net),
        "data_hash": pixels.hash,
        "image_size": net.image_size,
        "dim": net.dim,
        "frames": resolved.frames,
        "unreadable": len(pixels.quarantine),
        "sidelight_version": __version__,
    }
    table = _table(cohort, pixels, vectors).replace_schema_metadata({"sidelight": json.dumps(known)})
    if place is not None:
        with replacing(place) as temporary:
            pq.write_table(table, temporary)
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = known
    return frame


def _open(
    encoder: str | Path | Encoder | Run, role: str, cohort: Cohort, settings: EmbedSettings, random: bool
) -> Encoder:
    if isinstance(encoder, Encoder):
        return encoder
    if isinstance(encoder, Run) or (Path(encoder) / "config.json").is_file():
        return _tower(encoder, role)
    return load_encoder(
        encoder,
        role,
        random=random,
        channels=cohort.channels or 3,
        image_size=settings.image_size or 112,
        seed=settings.seed,
    )


def _tower(run: str | Path | Run, role: str) -> Encoder:
    return (run if isinstance(run, Run) else Run.open(run)).encoder(role)


def _table(cohort: Cohort, pixels: Pixels, vectors: np.ndarray) -> pa.Table:
    """Names replaced by keyed hashes, and ``vectors`` [len(pixels), D], in the order of the cohort."""
    items = cohort.items.iloc[pixels.index["position"].to_numpy()]
    secret = key(cohort)

    def hashed(names: Iterable[str]) -> pa.Array:
        return pa.array([item_hash(name, secret) for name in names], pa.string())

    levels = {level: hashed(unit_keys(items, cohort.levels, level)) for level in cohort.levels}
    return pa.table(
        {
            "item": hashed(items["item"]),
            **levels,
            "group": hashed(items["group"]),
            "view": pa.array(cohort.views.loc[items.index].tolist(), pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )


@dataclass(frozen=True)
class Exported:
    """What :func:`export` wrote.

    :ivar path: the file, or the folder.
    :ivar usage: the code that loads it, one line.
    :ivar difference: the largest difference from the run's own vectors, over their largest entry; None where nothing was
        there to run it.
    """

    path: Path
    usage: str
    difference: float | None


def export(
    run: str | Path | Encoder | Run, format: str, out: str | Path, *, role: str = "image", force: bool = False
) -> Exported:
    """Write the encoder of a finished run for others to load, after checking that it gives the same vectors.

    :param run: run folder, tower file, folder of towers (``judged/model`` of a saved model), or an encoder.
    :param format: ``timm`` (``out`` a .safetensors file for ``checkpoint_path``, a .json beside it), ``hf`` (``out`` a
        folder for ``from_pretrained``) or ``onnx`` (``out`` an .onnx file: images [N,C,S,S] in [0, 1] to vectors).
    :param force: replace what exists.
    :raises ConfigError: for an unknown format, a name that does not fit it, or an ``out`` that exists.
    :raises RunError: for an unfinished run; :raises EncoderError: for a role that it has not.
    :raises MissingExtra: for ``onnx`` without ``pip install 'sidelight[export]'``.
    """
    out = Path(out)
    targets = places(format, out)
    _check_free(out, targets, force)
    origin: dict[str, str] = {}
    if isinstance(run, Encoder):
        encoder = run
    elif not isinstance(run, Run) and Path(run).exists() and not (Path(run) / "config.json").exists():
        encoder = load_encoder(run, role)
    else:
        encoder = _tower(run, role)
        config = (run if isinstance(run, Run) else Run.open(run)).config
        origin = {"method": config["method"], "tower": role, "data (hash)": config["data"]["hash"]}
    made = package(encoder, format, out, origin)
    targets[-1].unlink(missing_ok=True)  # a kill between the files then leaves nothing that loads
    for path, content in made.files.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return Exported(out, made.usage, made.difference)


def default_name(run: str | Path, format: str) -> Path:
    """What an export is called when nobody says: after the run, in the current folder."""
    name = Path(run).resolve().stem
    return Path(f"{name}-hf" if format == "hf" else name + SUFFIXES.get(format, ""))


def _check_free(out: Path, targets: Sequence[Path], force: bool) -> None:
    """:raises ConfigError: where ``targets`` (``out`` itself, or files in it) cannot be written or, unless ``force``, exist."""
    if out not in targets:
        check_place(out, folder=True)
    for path in targets:
        check_place(path, folder=False)
    taken = [path for path in targets if path.exists()] + (sorted(out.iterdir()) if out.is_dir() else [])
    if taken and not force:
        raise ConfigError(
            f"{taken[0]} exists already", do="Choose another name with --out, or replace it with --force (force=True)"
        )
