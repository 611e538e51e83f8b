"""An encoder in the formats that others load: timm, Hugging Face, ONNX.

A format is a few files, made in memory, loaded again by the library they are for, and compared with the encoder; what
gives other vectors is never written. No file names an item, a folder or a person.
"""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from sidelight import __version__
from sidelight.errors import ConfigError, EncoderError, MissingExtra, nearest
from sidelight.models.image import Encoder, weights_hash

SUFFIXES = {"timm": ".safetensors", "hf": "", "onnx": ".onnx"}
TOLERANCE = 1e-4
LARGEST = (2 << 30) - (1 << 20)  # what protobuf holds in one file, less the graph


@dataclass(frozen=True)
class Package:
    """The files of one format.

    :ivar files: contents by path, in the order in which to write them: the last makes the export whole.
    :ivar usage: the code that loads it, one line.
    :ivar difference: the largest difference from the encoder's vectors, over their largest entry; None where
        nothing was there to run it (ONNX without onnxruntime).
    """

    files: dict[Path, bytes]
    usage: str
    difference: float | None


def places(format: str, out: Path) -> tuple[Path, ...]:
    """The files that ``format`` consists of, in the order of :attr:`Package.files`.

    :param out: the weights file (timm), the folder (hf) or the graph (onnx).
    :raises ConfigError: for an unknown format, or a name without the ending by which others know the format.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"Unknown format {format!r}", do=nearest(format, SUFFIXES))
    if SUFFIXES[format] and out.suffix != SUFFIXES[format]:
        raise ConfigError(f"The {format} export is to be called {out.name}", expected=f"a name in {SUFFIXES[format]}")
    if format == "timm":
        return out, out.with_suffix(".json")
    if format == "hf":
        return out / "model.safetensors", out / "README.md", out / "config.json"
    return (out,)


def package(encoder: Encoder, format: str, out: Path, origin: Mapping[str, str] | None = None) -> Package:
    """``encoder`` in ``format``; nothing is written here.

    :param origin: what the model card says of where the weights come from, by name; no identifiers.
    :raises EncoderError: when timm cannot rebuild the network, or what was made gives other vectors.
    :raises MissingExtra: for ONNX without its packages.
    """
    paths = places(format, out)
    encoder = deepcopy(encoder).cpu().float().eval()
    if format == "onnx":
        graph = _graph(encoder)
        shape = f"[N,{encoder.channels},{encoder.image_size},{encoder.image_size}]"
        usage = f'onnxruntime.InferenceSession("{out}")  # images: float32 {shape} in [0, 1]'
        return Package({out: graph}, usage, _run_onnx(encoder, graph))
    if encoder.layers > 1 or encoder.views != "one":
        raise EncoderError(
            f"The {format} export of an encoder that is read with layers = {encoder.layers}, views = {encoder.views!r}",
            expected="layers = 1, views = 'one': the files hold the network, not how it is read",
            do="Choose onnx, which takes the encoder as it is read",
        )
    network, arguments = _rebuild(encoder)
    weights = _weights(encoder)
    try:
        network.load_state_dict(load(weights))
    except RuntimeError as error:
        raise EncoderError(
            f"timm's {_architecture(encoder)} is not this network: {' '.join(str(error).split())}",
            do="Choose onnx, which takes the network as it is",
        ) from None
    difference = _compare(encoder, lambda images: network((images - encoder.mean) / encoder.std), format)
    config = _config(encoder, arguments)
    contents: tuple[bytes, ...]
    if format == "hf":
        contents = (weights, _card(encoder, config, origin or {}).encode(), _json(config))
        usage = f'transformers.AutoModel.from_pretrained("{out}")  # or timm: "local-dir:{out}", pretrained=True'
    else:
        flat = {**config.pop("pretrained_cfg"), **config.pop("model_args"), **config}
        contents = (weights, _json(flat))
        usage = _timm_call(f'"{config["architecture"]}", checkpoint_path="{out}"', arguments)
        usage += f"  # mean and std are in {paths[1].name}"
    return Package(dict(zip(paths, contents, strict=True)), usage, difference)


def _timm_call(first: str, arguments: Mapping[str, Any]) -> str:
    more = ", ".join(f"{key}={value}" for key, value in {"num_classes": 0, **arguments}.items())
    return f"timm.create_model({first}, {more}).eval()"


def _rebuild(encoder: Encoder) -> tuple[nn.Module, dict[str, Any]]:
    """The bare network as timm makes it, and the arguments that took: ``img_size`` where the network knows it."""
    name = _architecture(encoder)
    channels: dict[str, Any] = {"in_chans": encoder.channels}
    with torch.random.fork_rng(devices=[]):
        try:
            sized = {**channels, "img_size": encoder.image_size}
            return timm.create_model(name, num_classes=0, **sized).eval(), sized
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(name, num_classes=0, **channels).eval(), channels


def _architecture(encoder: Encoder) -> str:
    return encoder.name.partition(".")[0]


def _weights(encoder: Encoder) -> bytes:
    """The bare network's tensors. The normalisation goes along, for ``initial`` of another encoder."""
    tensors = {key: value.contiguous() for key, value in encoder.network.state_dict().items()}
    known = {key: encoder.describe()[key] for key in ("mean", "std")}
    content = save(tensors, {"format": "pt", "sidelight": json.dumps(known)})  # transformers asks for the format
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # safetensors shuffles it: one file, one hash
    return content[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + content[end:]


def _config(encoder: Encoder, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """config.json as timm's hub format has it and transformers reads it; images are squashed as the encoder does it."""
    own = getattr(encoder.network, "pretrained_cfg", None) or {}
    known = encoder.describe()
    return {
        "architecture": _architecture(encoder),
        "num_classes": 0,
        "num_features": encoder.dim,
        "model_args": dict(arguments),
        "pretrained_cfg": {
            "input_size": [encoder.channels, encoder.image_size, encoder.image_size],
            "fixed_input_size": bool(own.get("fixed_input_size", False)),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": known["mean"],
            "std": known["std"],
            "num_classes": 0,
            "first_conv": own.get("first_conv"),
            "classifier": own.get("classifier"),
            "custom_load": False,
        },
    }


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


CARD = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags: [timm, transformers, sidelight]
license: unknown
---

# {architecture}, an image encoder

Turns an image of {channels} channel(s), {size} x {size} pixels, into a vector of {dim} numbers.

| | |
|---|---|
{facts}

```python
import timm

model = {call}.eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

```python
from transformers import AutoModel

model = AutoModel.from_pretrained("FOLDER")  # vectors: model(pixel_values).pooler_output
```

FOLDER is where this file lies. Values of pixels go from 0 to 1 before the normalisation in `config.json`{grey}.

Licence: not stated yet; whoever passes these weights on states it here and above. sidelight itself is Apache-2.0.

Research software: not a medical device, not for diagnosis.
"""


def _card(encoder: Encoder, config: Mapping[str, Any], origin: Mapping[str, str]) -> str:
    facts = {**origin, "weights (SHA-256)": weights_hash(encoder), "exported by": f"sidelight {__version__}"}
    return CARD.format(
        architecture=config["architecture"],
        channels=encoder.channels,
        size=encoder.image_size,
        dim=encoder.dim,
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        call='timm.create_model("local-dir:FOLDER", pretrained=True)',
        grey="; images are grey (mode L)" if encoder.channels == 1 else "",
    )


def _graph(encoder: Encoder) -> bytes:
    """An ONNX file: ``images`` float32 [N,C,S,S] in [0, 1] to ``vectors`` [N,D]; N is free, the normalisation inside."""
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ImportError as error:
        raise MissingExtra(error.name or "onnx", "export", "Writing ONNX") from None
    size = sum(value.nbytes for value in encoder.state_dict().values())
    if size > LARGEST:
        raise EncoderError(
            f"{encoder.name} has {size / 1e9:.1f} GB of weights", expected="less than 2 GB, what one ONNX file holds"
        )
    program: Any = torch.onnx.export(
        encoder,
        (_images(encoder, 2),),
        dynamo=True,
        input_names=["images"],
        output_names=["vectors"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    model = program.model_proto
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]  # torch notes the source lines there, with the paths of this computer
        part.doc_string = ""
    known = {"architecture": _architecture(encoder), "image_size": encoder.image_size, "channels": encoder.channels}
    known |= {"dim": encoder.dim, "encoder_hash": weights_hash(encoder), "sidelight_version": __version__}
    onnx.helper.set_model_props(model, {key: str(value) for key, value in known.items()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _run_onnx(encoder: Encoder, graph: bytes) -> float | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return _compare(encoder, lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), "onnx")


def _images(encoder: Encoder, count: int) -> Tensor:
    shape = (count, encoder.channels, encoder.image_size, encoder.image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _compare(encoder: Encoder, other: Callable[[Tensor], Tensor], format: str) -> float:
    """The largest difference on one image and on a batch of five; :raises EncoderError: above the tolerance."""
    largest = 0.0
    for count in (1, 5):
        images = _images(encoder, count)
        ours, theirs = encoder(images), other(images)
        difference = (ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-12)
        if not difference <= TOLERANCE:  # also not a number
            raise EncoderError(
                f"The {format} export of {encoder.name} gives other vectors: they differ by {difference:.1e}",
                expected=f"at most {TOLERANCE:.0e}",
                do="Choose another format; nothing was written",
            )
        largest = max(largest, float(difference))
    return largest
