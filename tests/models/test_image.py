import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import sidelight
from sidelight.errors import EncoderError
from sidelight.models.image import Encoder, create_encoder, load_encoder, weights_hash
from sidelight.models.towers import save_tower

SMALL = {"channels": 1, "image_size": 32}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return create_encoder("test_resnet", **SMALL)


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 1), ("test_resnet", 3), ("test_vit", 1)])
def test_shapes(name: str, channels: int) -> None:
    encoder = create_encoder(name, channels=channels, image_size=32).eval()
    images = torch.rand(2, channels, 32, 32)
    assert encoder(images).shape == (2, encoder.dim)
    assert encoder(images[:0]).shape == (0, encoder.dim)
    maps = encoder.feature_maps(images)
    assert all(m.ndim == 4 and len(m) == 2 for m in maps)
    assert [m.shape[-1] for m in maps] == sorted((m.shape[-1] for m in maps), reverse=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("shape", [(2, 20, 24), (2, 20, 24, 3), (2, 1, 20, 24), (2, 3, 20, 24), (0, 20, 24)])
@pytest.mark.parametrize("channels", [1, 3])
def test_preprocess(encoder: Encoder, dtype: type, shape: tuple[int, ...], channels: int) -> None:
    net = encoder if channels == 1 else create_encoder("test_resnet", channels=3, image_size=32)
    largest = {np.uint8: 255, np.uint16: 65535, np.int32: 65535, np.float32: 1}[dtype]
    pixels = net.preprocess(np.full(shape, largest, dtype))
    assert pixels.shape == (shape[0], channels, 32, 32)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, torch.ones_like(pixels))


def test_preprocess_says_what_it_cannot_read(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match="shape"):
        encoder.preprocess(torch.zeros(2, 5, 7, 4))
    with pytest.raises(EncoderError, match=r"int64"):
        encoder.preprocess(torch.zeros(2, 5, 7, dtype=torch.int64))


def test_embed_is_forward_in_eval_mode_in_parts(encoder: Encoder) -> None:
    encoder.train()
    images = torch.randint(0, 256, (5, 32, 32), dtype=torch.uint8)
    before = weights_hash(encoder)
    found = encoder.embed(images, batch_size=2)
    assert encoder.training
    assert encoder.network.training
    assert weights_hash(encoder) == before
    encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(found, encoder(images[:, None] / 255), atol=1e-5, rtol=1e-5)
    assert found.dtype == torch.float32
    assert encoder.embed(images[:0]).shape == (0, encoder.dim)


def test_normalisation_is_inside() -> None:
    torch.manual_seed(0)
    encoder = create_encoder("test_resnet", **SMALL, mean=0.18, std=0.24).eval()
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(encoder(images), encoder.network((images - 0.18) / 0.24))
    assert create_encoder("test_resnet", channels=3, image_size=32, mean=0.18).mean.flatten().tolist() == pytest.approx(
        [0.18] * 3
    )
    with pytest.raises(EncoderError, match="2 values"):
        create_encoder("test_resnet", channels=3, image_size=32, mean=[0.1, 0.2])


@pytest.mark.parametrize("role", ["../../out", "CC/L", "C:\\x", "ö 1", ".."])
def test_a_role_leads_out_of_no_folder(tmp_path: Path, role: str) -> None:
    encoder = create_encoder("test_resnet", channels=1, image_size=32)
    run = tmp_path / "a" / "b" / "run"
    path = save_tower(encoder, run / "towers", role=role)
    assert path.parent == run / "towers" and [one for one in tmp_path.rglob("*") if one.is_file()] == [path]
    assert weights_hash(load_encoder(run, role)) == weights_hash(encoder)


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 1), ("test_vit", 3)])
def test_a_tower_comes_back_bit_for_bit(tmp_path: Path, name: str, channels: int) -> None:
    encoder = create_encoder(name, channels=channels, image_size=32, mean=0.3).eval()
    path = save_tower(encoder, tmp_path / "towers")
    assert path == tmp_path / "towers" / "image.safetensors"
    assert [p.name for p in path.parent.iterdir()] == ["image.safetensors"]
    images = torch.rand(3, channels, 32, 32)
    for source in (tmp_path, path, str(path)):
        loaded = load_encoder(source)
        assert weights_hash(loaded) == weights_hash(encoder)
        assert loaded.describe() == encoder.describe()
        assert not loaded.training
        assert torch.equal(loaded(images), encoder(images))
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["sidelight"])
    assert header.keys() == {"version", "name", "channels", "image_size", "dim", "mean", "std", "role", "hash"}


def test_initial_weights_from_anything(tmp_path: Path, encoder: Encoder) -> None:
    save_tower(encoder, tmp_path / "towers")
    foreign = {f"module.backbone.{key}": value for key, value in encoder.network.state_dict().items()}
    torch.save({"state_dict": foreign | {"module.fc.weight": torch.zeros(9, 96)}}, tmp_path / "w.pth")
    for source in (tmp_path, tmp_path / "towers/image.safetensors", tmp_path / "w.pth"):
        fresh = create_encoder("test_resnet", **SMALL, initial=source)
        assert weights_hash(fresh.network) == weights_hash(encoder.network)
    colour = create_encoder("test_resnet", channels=3, image_size=32, initial=tmp_path / "w.pth")
    key = "conv1.0.weight"
    torch.testing.assert_close(colour.network.state_dict()[key].sum(1, keepdim=True), encoder.network.state_dict()[key])


def test_a_towers_normalisation_comes_with_its_weights(tmp_path: Path) -> None:
    save_tower(create_encoder("test_resnet", **SMALL, mean=0.18, std=0.24), tmp_path)
    fresh = create_encoder("test_resnet", **SMALL, initial=tmp_path)
    assert [fresh.mean.item(), fresh.std.item()] == pytest.approx([0.18, 0.24])


def test_positions_of_a_transformer_are_resampled(tmp_path: Path) -> None:
    donor = create_encoder("test_vit", channels=1, image_size=64)
    save_file(donor.network.state_dict(), tmp_path / "vit.safetensors")
    fresh = create_encoder("test_vit", **SMALL, initial=tmp_path / "vit.safetensors")
    assert fresh.network.pos_embed.shape != donor.network.pos_embed.shape
    torch.testing.assert_close(fresh.network.pos_embed[:, 0], donor.network.pos_embed[:, 0])


def test_weights_that_match_nothing_are_refused(tmp_path: Path) -> None:
    save_file({"features.conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(EncoderError, match="None of the 1 tensors"):
        create_encoder("test_resnet", **SMALL, initial=tmp_path / "other.safetensors")
    with pytest.raises(EncoderError, match="does not say which architecture"):
        load_encoder(tmp_path / "other.safetensors")


def test_a_bare_name_has_no_weights() -> None:
    with pytest.raises(EncoderError, match="--random"):
        load_encoder("test_resnet")
    state = torch.random.get_rng_state()
    first, again, other = (load_encoder("test_resnet", random=True, **SMALL, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert weights_hash(first) == weights_hash(again) != weights_hash(other)
    assert load_encoder("test_resnet", random=True).image_size == 160


def test_names_and_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="Did you mean 'resnet18'"):
        load_encoder("resnett18", random=True)
    with pytest.raises(EncoderError, match="no architecture of this name"):
        create_encoder("resnett18", **SMALL)
    with pytest.raises(EncoderError, match="no run or tower"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(EncoderError, match="no encoder has been saved"):
        load_encoder(tmp_path)
    with pytest.raises(EncoderError, match="1 or 3"):
        create_encoder("test_resnet", channels=2, image_size=32)
    with pytest.raises(EncoderError, match="cannot be made"):
        create_encoder("test_resnet.no_such_tag", **SMALL)


@pytest.mark.parametrize("name", ["resnet18", "regnetx_002", "resnetv2_50", "tf_efficientnet_lite0"])
def test_no_branch_of_a_fresh_network_is_switched_off(name: str) -> None:
    """timm starts the last norm of residual branches at 0: of a ResNet-18 98 % of the weights would take no part."""
    network = create_encoder(name, channels=1, image_size=32).network
    scales = [p for key, p in network.named_parameters() if p.ndim == 1 and key.endswith("weight")]
    assert scales and all(p.abs().min() > 0 for p in scales)


def test_a_random_network_depends_on_all_of_its_convolutions() -> None:
    net = load_encoder("resnet18", random=True, channels=1, image_size=64)
    sizes = {name: p.numel() for name, p in net.network.named_parameters()}
    branches = sum(size for name, size in sizes.items() if re.match(r"layer\d\.\d\.(conv|bn)\d", name))
    assert branches / sum(sizes.values()) == pytest.approx(0.98, abs=0.005)
    images = torch.rand(2, 1, 64, 64)
    before = net(images)
    with torch.no_grad():
        net.network.layer3[1].conv1.weight.normal_(0, 0.1)
    assert (net(images) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "part", "still"),
    [
        ("resnet18", "layer3", {"conv1", "bn1", "layer1", "layer2"}),
        ("resnet18", "layer3.1", {"conv1", "bn1", "layer1", "layer2", "layer3.0"}),
        ("tf_efficientnet_lite0", "blocks.3", {"conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2"}),
        ("test_vit", "blocks.1", {"cls_token", "pos_embed", "patch_embed", "blocks.0"}),
    ],
)
def test_what_stands_before_a_part_is_neither_trained_nor_moved(name: str, part: str, still: set[str]) -> None:
    net = create_encoder(name, channels=1, image_size=32)
    names = [key for key, _ in net.network.named_parameters()]
    net.freeze_before(part)
    net.train()
    assert {n for n, p in net.network.named_parameters() if not p.requires_grad} == {
        n for n in names if any(n == s or n.startswith(f"{s}.") for s in still)
    }
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net(torch.rand(4, 1, 32, 32)).sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1).step()
    moved = {key.removeprefix("network.") for key, value in net.state_dict().items() if not value.equal(before[key])}
    assert moved and not any(m == s or m.startswith(f"{s}.") for m in moved for s in still)


def test_a_part_that_there_is_not_is_answered_with_those_there_are() -> None:
    with pytest.raises(EncoderError, match=r"no part 'layer9'.*layer"):
        create_encoder("test_resnet", **SMALL).freeze_before("layer9")


def test_depths_count_layers_from_the_end() -> None:
    net = create_encoder("test_vit", channels=1, image_size=32)
    depth = net.depths()
    of = {name: depth[id(p)] for name, p in net.network.named_parameters()}
    assert of["norm.weight"] == 0 < of["blocks.1.attn.qkv.weight"] < of["blocks.0.attn.qkv.weight"]
    assert max(of.values()) == of["patch_embed.proj.weight"]


def test_plain_weights_are_an_encoder_once_their_architecture_is_named(tmp_path: Path, encoder: Encoder) -> None:
    torch.save({"state_dict": encoder.network.state_dict()}, tmp_path / "w.pth")
    found = load_encoder(tmp_path / "w.pth", architecture="test_resnet", **SMALL)
    assert all(a.equal(b) for a, b in zip(found.network.parameters(), encoder.network.parameters(), strict=True))
    with pytest.raises(EncoderError, match=r"does not say which architecture.*--encoder"):
        load_encoder(tmp_path / "w.pth")


def test_a_folder_of_hugging_face_names_its_architecture(tmp_path: Path, encoder: Encoder) -> None:
    save_file(encoder.network.state_dict(), tmp_path / "model.safetensors")
    said = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.2], "std": [0.3]}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    found = load_encoder(tmp_path, **SMALL)
    assert found.name == "test_resnet" and found.mean.item() == pytest.approx(0.2)
    assert all(a.equal(b) for a, b in zip(found.network.parameters(), encoder.network.parameters(), strict=True))
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(EncoderError, match=r"names no architecture of timm.*vit"):
        load_encoder(tmp_path)


def test_a_hub_without_a_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    make = timm.create_model

    def unreachable(name: str, **options: object) -> object:
        if name.startswith("hf-hub:"):
            raise OSError("cannot find the requested files\nsecond line")
        return make(name, **options)

    monkeypatch.setattr("sidelight.models.given.timm.create_model", unreachable)
    for call in (
        lambda: load_encoder("hf-hub:timm/x"),
        lambda: create_encoder("test_resnet", initial="hf-hub:timm/x", **SMALL),
    ):
        with pytest.raises(
            EncoderError, match=r"^hf-hub:timm/x cannot be fetched: cannot find the requested files\. "
        ) as e:
            call()
        assert "second line" not in str(e.value)


@pytest.mark.parametrize(("name", "width"), [("test_resnet", 192), ("test_vit", 64), ("tf_efficientnet_lite0", 112)])
def test_more_layers_stand_beside_the_last_one(name: str, width: int) -> None:
    net = create_encoder(name, channels=1, image_size=32).eval()
    wide, images = net.reading(layers=2), torch.rand(2, 1, 32, 32)
    found = wide(images)
    assert found.shape == (2, wide.dim) and wide.dim == net.dim + width
    torch.testing.assert_close(found[:, : net.dim], net(images))
    torch.testing.assert_close(found[:, net.dim :], net.feature_maps(images)[-2].mean(dim=(2, 3)))
    assert weights_hash(wide) != weights_hash(net)
    with pytest.raises(EncoderError, match="Ask for fewer"):
        net.reading(layers=40)


@pytest.mark.parametrize("views", ["flipped", "turned"])
def test_views_make_a_vector_that_does_not_depend_on_them(tmp_path: Path, encoder: Encoder, views: str) -> None:
    net, images = encoder.reading(views=views).eval(), torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(net(images), net(images.flip(3)))
    if views == "turned":
        torch.testing.assert_close(net(images), net(images.rot90(1, (2, 3))))
    torch.testing.assert_close(net.train()(images), encoder.train()(images))
    save_tower(net, tmp_path)
    torch.testing.assert_close(load_encoder(tmp_path / "image.safetensors")(images), net.eval()(images))


def test_pil_images_of_any_kind_and_size_are_embedded(encoder: Encoder) -> None:
    """As the arrays that they hold; EXIF turns a photograph upright."""
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 255, (40, 50), np.uint8), rng.integers(0, 255, (32, 32, 3), np.uint8)
    deep = grey.astype(np.uint16) * 257
    pictures = [
        Image.fromarray(grey),
        Image.fromarray(colour),
        Image.fromarray(deep),
        Image.fromarray(grey).convert("1"),
    ]
    found = encoder.embed(pictures)
    assert found.shape == (4, encoder.dim)
    torch.testing.assert_close(found[0], encoder.embed(grey[None])[0])
    torch.testing.assert_close(found[2], found[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(encoder.embed(Image.fromarray(grey)), found[:1])
    torch.testing.assert_close(encoder.embed([grey, torch.from_numpy(grey)]), found[[0, 0]])
    assert encoder.embed([]).shape == (0, encoder.dim)
    with pytest.raises(EncoderError, match="type str"):
        encoder.embed(["a.png"])
    with pytest.raises(EncoderError, match=r"no fixed range\. Save them as 8 or 16 bit"):
        encoder.embed([Image.fromarray(grey.astype(np.float32))])


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("runs/none", "no run or tower at"),
        ("none.pth", "no run or tower at"),
        ("resnot18", "Did you mean"),
        ("resnet18", "--random"),
    ],
)
def test_what_is_not_there_is_said_before_data_are_looked_at(tmp_path: Path, named: str, says: str) -> None:
    with pytest.raises(EncoderError, match=says):
        sidelight.evaluate(named, tmp_path / "no data", "task")
    with pytest.raises(EncoderError, match="has no tower"):
        sidelight.evaluate(tmp_path, tmp_path / "no data", "task")
