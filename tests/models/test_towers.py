"""A tower whose file is damaged, or names what nobody typed, is refused in one sentence."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sidelight.errors import EncoderError
from sidelight.models.image import create_encoder, load_encoder
from sidelight.models.towers import read_tower, save_tower


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    return save_tower(create_encoder("test_resnet", channels=1, image_size=32), tmp_path_factory.mktemp("run"))


def changed(tower, folder, said=None, tensors=None, *, text=None, keep_hash=False):
    """A copy of the tower with other words or tensors; without its hash, as an older version wrote it."""
    file = folder / "image.safetensors"
    with safe_open(tower, "pt") as opened:
        words = json.loads(opened.metadata()["sidelight"])
    if not keep_hash:
        del words["hash"]
    words.update(said or {})
    save_file({**load_file(tower), **(tensors or {})}, file, {"sidelight": json.dumps(words) if text is None else text})
    return file


def test_a_tower_is_read_as_it_was_saved_with_and_without_a_hash(tower, tmp_path):
    assert len(read_tower(tower)[0]["hash"]) == 64
    old = changed(tower, tmp_path)
    for file in (tower, old):
        torch.testing.assert_close(load_encoder(file).state_dict(), load_file(tower), check_stride=False)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"name": "hf-hub:attacker/model"}, "names the network 'hf-hub:attacker/model'"),
        ({"name": "hf_hub:attacker/model"}, "names the network"),
        ({"name": "local-dir:/etc"}, "names the network"),
        ({"name": "../image"}, "names the network"),
        ({"name": 7}, r"name = 7 \(expected: a valid string\)"),
        ({"image_size": -1}, "image_size = -1"),
        ({"image_size": "large"}, "image_size = 'large'"),
        ({"image_size": 10**9}, "image_size = 1000000000"),
        ({"channels": 2}, "channels = 2"),
        ({"channels": 3, "mean": [0.1], "std": [0.1]}, "cannot be rebuilt"),
        ({"std": [0.0]}, "std"),
        ({"mean": [float("nan")]}, "mean"),
        ({"version": "one"}, "version = 'one'"),
        ({"version": 99}, "newer sidelight"),
        ({"kind": "table"}, "a tower for table"),
        ({"layers": 99}, "Ask for fewer"),
    ],
)
def test_a_description_that_is_wrong_is_one_sentence(tower, tmp_path, said, says):
    """No name in it opens a connection: the tests fail where one is tried."""
    with pytest.raises(EncoderError, match=says) as raised:
        load_encoder(changed(tower, tmp_path, said))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "not names with values"),
        ("{", "not JSON"),
        ("[" * 100_000, "too deep"),
        ('{"version": 1}', "name is missing"),
    ],
)
def test_a_description_that_is_none(tower, tmp_path, text, says):
    with pytest.raises(EncoderError, match=says):
        load_encoder(changed(tower, tmp_path, text=text))


def test_tensors_that_are_not_those_that_were_saved(tower, tmp_path):
    first = next(name for name in load_file(tower) if name.endswith("conv1.weight"))
    weight = load_file(tower)[first]
    spoilt = weight.clone()
    spoilt.view(-1)[0] *= -40
    with pytest.raises(EncoderError, match="not what was saved"):
        load_encoder(changed(tower, tmp_path, tensors={first: spoilt}, keep_hash=True))
    with pytest.raises(EncoderError, match="not what was saved"):
        load_encoder(changed(tower, tmp_path, {"std": [0.3]}, keep_hash=True))
    for value in (float("nan"), float("inf")):
        spoilt.view(-1)[0] = value
        with pytest.raises(EncoderError, match=f"{first}.*not finite"):
            load_encoder(changed(tower, tmp_path, tensors={first: spoilt}))
        with pytest.raises(EncoderError, match="not finite"):  # and as weights to start from
            create_encoder("test_resnet", channels=1, image_size=32, initial=tmp_path / "image.safetensors")
    with pytest.raises(EncoderError, match="cannot be rebuilt"):
        load_encoder(changed(tower, tmp_path, tensors={"extra": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"architecture": "hf-hub:attacker/model"}, "names the network"),
        ({"architecture": "test_resnet", "pretrained_cfg": {"mean": "abc"}}, "mean = 'abc'"),
        ({"architecture": ["test_resnet"]}, "no architecture of timm"),
    ],
)
def test_a_folder_of_hugging_face_names_nothing_to_fetch(tower, tmp_path, said, says):
    shutil.copy(tower, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(EncoderError, match=says):
        load_encoder(tmp_path)
