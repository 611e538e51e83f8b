"""A run is a folder: what was asked, what was measured, the weights; and it knows whether it is finished."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import pandas as pd
from pydantic import Field, ValidationError
from torch import Tensor

from sidelight.config import Stored, differences, fault, read_json
from sidelight.data.identity import item_hash
from sidelight.errors import RunError
from sidelight.files import HELD, append_line, write_csv, write_text
from sidelight.models.weights import hash_tensors
from sidelight.train import checkpoint

if TYPE_CHECKING:
    from sidelight.models.image import Encoder

ROLES = ("train", "valid", "extra")
"""What an item of the data can be to a run; "extra" are learnt from, too, such as meta pairs."""

EARLIER = "earlier"
"""The role of what a run of several stages learnt from before its last one."""

FREE = frozenset({"workers", "checkpoint_every"})
"""Settings that may change when a run is resumed: the result does not depend on them."""


AGAIN = "Copy the run again from where it was trained, or train it anew in another folder"


class _Data(Stored):
    name: str = ""
    hash: str = ""


class _Config(Stored):
    method: str = ""
    settings: dict[str, Any] = Field({})
    data: _Data | str = _Data()
    split_hash: str = ""
    not_from_paper: list[str] = Field([])


class _Done(Stored):
    steps: int = Field(ge=0)
    seconds: float = Field(ge=0)
    keep: Literal["last", "best"]
    best_epoch: int | None = None
    weights: str
    platform: dict[str, Any] = Field({})


def _read(path: Path, form: type[Stored]) -> dict[str, Any]:
    """The JSON of a run; :raises RunError: for what is damaged."""
    try:
        values = read_json(path.read_bytes())
        form.model_validate(values)
        return values
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})", do="Check that it may be read") from None
    except ValueError as error:
        why = f"it says {fault(error)}" if isinstance(error, ValidationError) else str(error)
        raise RunError(f"{path} is damaged: {why}", do=AGAIN) from None


@dataclass(frozen=True)
class Run:
    """The folder of one pre-training; :meth:`open` checks that it is one."""

    folder: Path

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The run at ``path``, finished or not; :raises RunError: when it is none, naming what is missing."""
        folder = Path(path)
        if not folder.is_dir():
            raise RunError(f"{folder} is not a folder", expected="the folder that pretrain wrote", do="Check the path")
        if not (folder / "config.json").is_file():
            judged = (folder / "results.parquet").is_file()
            raise RunError(
                f"{folder} is not a run: config.json is missing",
                expected="the folder that pretrain wrote",
                do="evaluate wrote this one: name the run that it judged" if judged else "",
            )
        return cls(folder)

    @property
    def config(self) -> dict[str, Any]:
        """What identifies the run: method, resolved settings, hashes of data and split."""
        return _read(self.folder / "config.json", _Config)

    @property
    def finished(self) -> bool:
        """Whether all steps are done and the towers written."""
        return (self.folder / "done.json").is_file()

    @property
    def summary(self) -> dict[str, Any]:
        """done.json: steps, seconds, the best epoch, hash of the weights; and ``measured``, what the log says of the epoch whose
        weights were kept: validation loss, effective rank, ...

        :raises RunError: while unfinished.
        """
        self._require("done.json")
        values = _read(self.folder / "done.json", _Done)
        epochs = [line for line in read_log(self.folder / "metrics.jsonl") if line["kind"] == "epoch"]
        kept = [line for line in epochs if values["keep"] != "best" or line["epoch"] == values["best_epoch"]]
        return {**values, "measured": kept[-1] if kept else {}}

    def tensors(self) -> dict[str, Tensor]:
        """State dict of the method as it was kept; :raises RunError: while the run is unfinished."""
        summary = self.summary
        path = self.checkpoint("best" if summary["keep"] == "best" else "last")
        tensors = checkpoint.model_tensors(path)
        if hash_tensors(tensors) != summary["weights"]:
            raise RunError(f"{path} is damaged: it is not what was trained, by the hash in done.json", do=AGAIN)
        return tensors

    def metrics(self) -> pd.DataFrame:
        """metrics.jsonl as a table, one row per line; ``kind`` is "start", "resume", "step" or "epoch"."""
        return pd.DataFrame(read_log(self.folder / "metrics.jsonl"))

    def save_split(
        self, items: Mapping[str, Iterable[str]], secret: bytes, earlier: pd.DataFrame | None = None
    ) -> None:
        """Write ``split.csv``: which items (ids by role) the run learnt from and which it kept back, by keyed hash.

        :param earlier: :meth:`split` of the run that this one started from: what that learnt from has the role ``EARLIER``.
        """
        named = [(item_hash(str(item), secret), role) for role in items for item in items[role]]
        if earlier is not None:
            named += [(item, EARLIER) for item in earlier.loc[earlier["role"] != "valid", "item"].unique()]
        table = pd.DataFrame(named, columns=["item", "role"], dtype=str)
        write_csv(self.folder / "split.csv", table)

    def split(self) -> pd.DataFrame | None:
        """What :meth:`save_split` wrote: ``item`` (hash) and ``role`` (of ``ROLES``, or ``EARLIER``); None without."""
        path = self.folder / "split.csv"
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else None
        except (OSError, ValueError) as error:  # pandas' own are ValueErrors
            raise RunError(f"{path} is damaged ({type(error).__name__})", do=AGAIN) from None
        if table is not None and list(table.columns) != ["item", "role"]:
            raise RunError(f"{path} is damaged: it has the columns {list(table.columns)}", do=AGAIN)
        return table

    def encoder(self, role: str = "image") -> "Encoder":
        """The trained tower ``role``; :raises RunError: while the run is unfinished."""
        from sidelight.models.image import load_encoder  # here, because it takes seconds to import

        self._require("done.json")
        return load_encoder(self.folder, role)

    def checkpoint(self, name: str) -> Path:
        """Where the checkpoint ``name`` ("last" or "best") lies."""
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def _require(self, name: str) -> None:
        if not (self.folder / name).is_file():
            raise RunError(
                f"The run {self.folder} is not finished: {name} is missing",
                do="Run the pretrain command again: it goes on from the last checkpoint",
            )


def is_run(place: Any) -> bool:
    """Whether ``place`` is the folder of a run; Hugging Face's folders hold a config.json, too."""
    file = Path(place) / "config.json" if isinstance(place, str | Path) else None
    if file is None or not file.is_file():
        return False
    try:
        return not {"architecture", "architectures", "model_type"} & set(read_json(file.read_bytes()))
    except (ValueError, OSError):
        return True  # a damaged run: whoever opens it says so


def check_free(folder: Path) -> None:
    """:raises RunError: where ``folder`` is a file, or holds anything but a run: files among others' pictures are lost."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file", expected="a folder for the run", do="Choose another name with --out")
    there = folder.is_dir() and not (folder / "config.json").is_file()
    held = sorted(path for path in folder.iterdir() if path.name != HELD) if there else []
    if held:
        what = "checkpoints, but config.json is missing" if folder / "checkpoints" in held else held[0].name
        raise RunError(
            f"{folder} is no run and not empty: it holds {what}",
            expected="a new or empty folder, or a run to go on with",
            do="Choose another folder with --out",
        )


def begin(
    folder: Path, header: Mapping[str, Any], *, write: bool, former: Mapping[str, Any] = MappingProxyType({})
) -> Run:
    """The run at ``folder`` for ``header``; it is created, if ``write``, where there is none.

    :param former: settings that a run may hold though its method no longer has them, with the values that mean the same.
    :raises RunError: when the folder holds a run of other settings (says which differ) or what is no run.
    """
    run, asked = Run(folder), json.loads(json.dumps(header, default=str))
    if write:
        check_free(folder)
    if (folder / "config.json").is_file():
        held = run.config
        if "learns_from" not in held:  # runs from before say nothing of it
            asked.pop("learns_from", None)
        held["settings"] = {k: v for k, v in held.get("settings", {}).items() if k not in former or former[k] != v}
        differing = [line for line in differences(held, asked) if _name(line) not in FREE]
        if differing:
            raise RunError(
                f"The run {folder} was written by other settings: {'; '.join(differing)}",
                do="Choose another folder with --out, or the settings it was written by",
            )
    elif write:
        write_text(folder / "config.json", json.dumps(asked, indent=1))
    return run


def _name(difference: str) -> str:
    return difference.partition(":")[0].rpartition(".")[2]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log in order, up to one that a kill cut short or something damaged. No file: no lines."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            one = read_json(line)
        except ValueError:
            break
        if not isinstance(one.get("kind"), str) or not isinstance(one.get("step"), int):
            break
        lines.append(one)
    return lines


def cut_log(path: Path, step: int) -> None:
    """Drop what was written after ``step`` steps, all for 0: a run resumed from there writes it again."""
    kept = [line for line in read_log(path) if step > 0 and line["step"] <= step]
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))


def append_log(path: Path, kind: str, step: int, values: Mapping[str, Any]) -> None:
    """Add one line; numbers that JSON cannot say (NaN, infinity) become null.

    :raises RunError: when the disk is full.
    """
    line = json.dumps({"kind": kind, "step": step, **finite(values)})
    append_line(path, line)


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with None in place of every float that is not finite."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
