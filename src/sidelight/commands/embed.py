"""embed: an encoder, a cohort -> a vector of every item."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from sidelight import __version__
from sidelight.config import build, working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels, PixelSettings, open_pixels
from sidelight.evaluation.features import embed_items
from sidelight.evaluation.reader import Fresh
from sidelight.files import check_suffix, check_targets, replacing
from sidelight.models.image import Encoder, weights_hash
from sidelight.train.device import pick_device
from sidelight.train.run import Run, is_run

SUFFIXES = (".parquet", ".pq")


class EmbedSettings(PixelSettings):
    """How items become vectors; the names mean what they mean in an evaluation."""

    frames: int = Field(8, ge=1, description="frames of a clip that are embedded and averaged")
    image_size: int | None = Field(None, ge=16, description="for an encoder that does not bring one")
    seed: int = Field(0, ge=0, description="of random weights")
    device: str = Field("auto", description="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one")


def embed(
    encoder: str | Path | Encoder | Run,
    data: str | Path | Cohort,
    out: str | Path | None = None,
    *,
    preset: str | None = None,
    allow_outside: bool = False,
    role: str = "image",
    random: bool = False,
    architecture: str | None = None,
    force: bool = False,
    quiet: bool | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """One vector per readable item, from the pixels and the frames that an evaluation uses; no name of anybody in it.

    :param encoder: as in :func:`sidelight.evaluate`.
    :param out: Parquet file; ``vector`` is a fixed-size list of float32 there, and what ``.attrs`` says stands in the
        schema's metadata as JSON under ``sidelight``.
    :param force: replace ``out`` if it exists.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param settings: of :class:`EmbedSettings`.
    :return: ``item`` (hash), a column per level (hash; the same names as ``unit`` in an evaluation's scores), ``group``
        (hash), ``view``, ``vector`` (float32 [D]). ``.attrs``: encoder_hash, data_hash, image_size, dim, frames,
        unreadable (items left out), sidelight_version.
    :raises ConfigError: when ``out`` exists, or has the name of another kind of file.
    """
    place = None if out is None else Path(out)
    if place is not None:
        check_suffix(place, SUFFIXES, "vectors are", "Write Parquet; `pandas.read_parquet` reads it")
        check_targets(place, [place], force)
    resolved = build(EmbedSettings, settings)
    opened: dict[str, Any] = {"allow_outside": allow_outside, "max_memory": resolved.max_memory}
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset, **opened)
    net = _open(encoder, role, cohort, Fresh(random, architecture, resolved.image_size, resolved.seed))
    net.to(pick_device(resolved.device))  # a module that was handed in stays there
    pixels = open_pixels(cohort, working_size(net.image_size), resolved, quiet=quiet)
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


def _open(encoder: str | Path | Encoder | Run, role: str, cohort: Cohort, fresh: Fresh) -> Encoder:
    if isinstance(encoder, Encoder):
        return encoder
    if isinstance(encoder, Run) or is_run(encoder):
        return (encoder if isinstance(encoder, Run) else Run.open(encoder)).encoder(role)
    return fresh.load(encoder, cohort, role)


def _table(cohort: Cohort, pixels: Pixels, vectors: np.ndarray) -> pa.Table:
    """Names replaced by keyed hashes, and ``vectors`` [len(pixels), D], in the order of the cohort."""
    items = cohort.items.iloc[pixels.index["position"].to_numpy()]
    secret = cohort.key

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
