"""Each format is loaded by the library it is for; the same images give the same vectors."""

import json
import os
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from torch import Tensor

from sidelight.errors import ConfigError, EncoderError, MissingExtra
from sidelight.models import export
from sidelight.models.export import package, places
from sidelight.models.image import Encoder, create_encoder, load_encoder

os.environ["HF_HUB_OFFLINE"] = "1"
MODELS = [("test_resnet", 1), ("test_vit", 3)]


def make(name: str, channels: int) -> Encoder:
    """With statistics and a normalisation of its own, so that forgetting either shows."""
    torch.manual_seed(0)
    mean = 0.2 if channels == 1 else [0.1, 0.2, 0.3]
    encoder = create_encoder(name, channels=channels, image_size=48, mean=mean, std=0.3).eval()
    for part in encoder.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return encoder


def shallow(encoder: Encoder) -> Encoder:
    """One block is left: writing a graph takes seconds."""
    net = encoder.network
    if hasattr(net, "blocks"):
        net.blocks = net.blocks[:1]
    else:
        net.layer2 = net.layer3 = net.layer4 = torch.nn.Identity()
        encoder.dim = 64
    return encoder


def write(encoder: Encoder, format: str, out: Path) -> str:
    made = package(encoder, format, out, {"method": "simclr"})
    assert tuple(made.files) == places(format, out)
    assert made.difference is not None
    assert made.difference < 1e-5
    for path, content in made.files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return made.usage


@torch.no_grad()
def vectors(encoder: Encoder, count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Images in [0, 1], the same normalised, and what the encoder makes of them."""
    images = torch.rand(count, encoder.channels, 48, 48)
    return images, (images - encoder.mean) / encoder.std, encoder(images)


@pytest.mark.parametrize(("name", "channels"), [*MODELS, ("test_resnet", 3), ("test_vit", 1)])
@torch.no_grad()
def test_timm_loads_its_file_strictly(tmp_path: Path, name: str, channels: int) -> None:
    encoder = make(name, channels)
    usage = write(encoder, "timm", tmp_path / "e.safetensors")
    _, normalised, wanted = vectors(encoder)
    torch.testing.assert_close(eval(usage)(normalised), wanted)
    beside = json.loads((tmp_path / "e.json").read_text())
    assert beside["architecture"] == name
    assert beside["input_size"] == [channels, 48, 48]
    assert beside["in_chans"] == channels
    assert beside["num_classes"] == 0
    torch.testing.assert_close(torch.tensor(beside["mean"]), encoder.mean.flatten())
    torch.testing.assert_close(torch.tensor(beside["std"]), encoder.std.flatten())


@pytest.mark.parametrize(("name", "channels"), MODELS)
@torch.no_grad()
def test_a_folder_that_timm_and_transformers_load(tmp_path: Path, name: str, channels: int) -> None:
    transformers = pytest.importorskip("transformers")
    encoder = make(name, channels)
    write(encoder, "hf", tmp_path / "hf")
    _, normalised, wanted = vectors(encoder)
    local = f"local-dir:{tmp_path / 'hf'}"
    own = timm.create_model(local, pretrained=True).eval()
    torch.testing.assert_close(own(normalised), wanted)
    classifier = timm.create_model(local, pretrained=True, num_classes=4).eval()
    assert classifier(normalised).shape == (3, 4)
    torch.testing.assert_close(
        classifier.forward_head(classifier.forward_features(normalised), pre_logits=True), wanted
    )
    model, told = transformers.AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(told.values())
    torch.testing.assert_close(model(normalised).pooler_output, wanted)
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(own))
    assert prepare.transforms[0].size == (48, 48)  # squashed as the encoder does it, nothing cropped away


def test_the_card_says_what_it_is_and_where_from(tmp_path: Path) -> None:
    write(make("test_resnet", 1), "hf", tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text()
    for part in ("license: unknown", "Licence: not stated yet", "| method | simclr |", "local-dir:FOLDER", "grey"):
        assert part in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(("name", "channels"), [("resnet10t", 1), ("test_vit", 3)])
def test_onnx_runs_on_any_batch_with_the_normalisation_inside(tmp_path: Path, name: str, channels: int) -> None:
    runtime = pytest.importorskip("onnxruntime")
    encoder = shallow(make(name, channels))
    write(encoder, "onnx", tmp_path / "e.onnx")
    session = runtime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images, _, wanted = vectors(encoder, count)
        found = torch.from_numpy(session.run(["vectors"], {"images": images.numpy()})[0])
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    known = session.get_modelmeta().custom_metadata_map
    assert {key: known[key] for key in ("image_size", "channels", "dim")} == {
        "image_size": "48",
        "channels": str(channels),
        "dim": str(encoder.dim),
    }
    assert "sidelight_version" in known
    content = (tmp_path / "e.onnx").read_bytes()
    assert b"site-packages" not in content  # torch writes where each operation stands in whose source
    assert str(Path.cwd()).encode() not in content


def test_an_export_is_a_start_for_another_encoder_with_its_normalisation(tmp_path: Path) -> None:
    encoder = make("test_resnet", 1)
    write(encoder, "timm", tmp_path / "e.safetensors")
    again = create_encoder("test_resnet", channels=1, image_size=48, initial=tmp_path / "e.safetensors").eval()
    images, _, wanted = vectors(encoder)
    torch.testing.assert_close(again(images), wanted)
    with pytest.raises(EncoderError, match="does not say which architecture"):
        load_encoder(tmp_path / "e.safetensors")
    with safe_open(tmp_path / "e.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"


def test_the_same_encoder_makes_the_same_bytes(tmp_path: Path) -> None:
    encoder = make("test_resnet", 1)
    contents = [tuple(package(encoder, "timm", tmp_path / "e.safetensors").files.values()) for _ in range(8)]
    assert len(set(contents)) == 1


def test_the_encoder_handed_in_stays_as_it_is(tmp_path: Path) -> None:
    encoder = make("test_resnet", 1).train().double()
    package(encoder, "timm", tmp_path / "e.safetensors")
    assert encoder.training
    assert encoder.mean.dtype == torch.float64


def test_an_encoder_that_is_read_in_another_way_is_no_network_of_others(tmp_path: Path) -> None:
    plain = make("test_resnet", 1)
    for encoder, said in (
        (plain.reading(2), "= 2, views = 'one'"),
        (plain.reading(1, "flipped"), "= 1, views = 'flip"),
    ):
        for format, name in (("timm", "e.safetensors"), ("hf", "e")):
            with pytest.raises(EncoderError, match=f"layers {said}.*Choose onnx"):
                package(encoder, format, tmp_path / name)
    pytest.importorskip("onnxruntime")
    difference = package(plain.reading(2, "flipped"), "onnx", tmp_path / "e.onnx").difference
    assert difference is not None and difference < 1e-5


def test_what_gives_other_vectors_is_refused(tmp_path: Path) -> None:
    encoder = make("test_resnet", 1)
    encoder.network.layer1[0].act1 = torch.nn.Identity()  # no weights tell
    torch.nn.init.ones_(encoder.network.layer1[0].bn2.weight)  # 0 at first, which hides the block
    with pytest.raises(EncoderError, match="gives other vectors"):
        package(encoder, "timm", tmp_path / "e.safetensors")
    encoder.network.more = torch.nn.Linear(2, 2)
    with pytest.raises(EncoderError, match=r"timm's test_resnet is not this network: .*more\.weight.*Choose onnx"):
        package(encoder, "timm", tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    ("format", "name", "says"),
    [
        ("onx", "e.onnx", "Did you mean 'onnx'"),
        ("timm", "e.pth", r"called e\.pth.*in \.safetensors"),
        ("onnx", "e", r"in \.onnx"),
    ],
)
def test_formats_and_names_that_do_not_fit(format: str, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        places(format, Path(name))


def test_onnx_without_its_packages_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sidelight\[export\]'"):
        package(make("test_resnet", 1), "onnx", tmp_path / "e.onnx")


def test_without_onnxruntime_a_graph_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_graph", lambda encoder: b"graph")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = package(make("test_resnet", 1), "onnx", tmp_path / "e.onnx")
    assert made.files == {tmp_path / "e.onnx": b"graph"}
    assert made.difference is None
