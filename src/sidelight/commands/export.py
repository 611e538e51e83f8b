"""export: the encoder of a run -> files that timm, Hugging Face or ONNX load."""

from dataclasses import dataclass
from pathlib import Path

from sidelight.files import check_targets, write_bytes
from sidelight.models.export import SUFFIXES, package, places
from sidelight.models.image import Encoder, load_encoder
from sidelight.train.run import Run, is_run


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
    check_targets(out, targets, force)
    origin: dict[str, str] = {}
    if isinstance(run, Encoder):
        encoder = run
    elif not isinstance(run, Run) and Path(run).exists() and not is_run(run):
        encoder = load_encoder(run, role)
    else:
        encoder = (run if isinstance(run, Run) else Run.open(run)).encoder(role)
        config = (run if isinstance(run, Run) else Run.open(run)).config
        origin = {"method": config["method"], "tower": role, "data (hash)": config["data"]["hash"]}
    made = package(encoder, format, out, origin)
    targets[-1].unlink(missing_ok=True)  # a kill between the files then leaves nothing that loads
    for path, content in made.files.items():
        write_bytes(path, content)
    return Exported(out, made.usage, made.difference)


def default_name(run: str | Path, format: str) -> Path:
    """What an export is called when nobody says: after the run, in the current folder."""
    name = Path(run).resolve().stem
    return Path(f"{name}-hf" if format == "hf" else name + SUFFIXES.get(format, ""))
