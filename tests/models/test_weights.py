from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sidelight.errors import EncoderError
from sidelight.models.weights import adapt_channels, fit_weights, hash_tensors, read_weights


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(6)))


@pytest.mark.parametrize(
    "prefix", ["", "module.", "encoder.", "module.encoder.", "backbone.", "features.", "model.network."]
)
def test_prefixes_are_stripped_when_that_helps(prefix: str) -> None:
    state = net().state_dict()
    found = {prefix + key: value for key, value in state.items()} | {"projector.0.weight": torch.zeros(2, 2)}
    fitted = fit_weights(found, state, source="file", name="net")
    assert fitted.keys() == state.keys()
    assert all(torch.equal(fitted[key], state[key]) for key in state)


def test_no_matching_key_is_an_error() -> None:
    state = net().state_dict()
    with pytest.raises(EncoderError, match=r"None of the 12 tensors of file fits net"):
        fit_weights({f"layer{key}": value for key, value in state.items()}, state, source="file", name="net")
    with pytest.raises(EncoderError, match="None of the"):
        fit_weights({key: torch.zeros(3, 3) for key in state}, state, source="file", name="net")


def test_many_missing_keys_are_an_error_and_few_are_told() -> None:
    state = net().state_dict()
    with pytest.raises(EncoderError, match=r"Only 10 of the 12 .* missing are '5.weight', '5.bias'"):
        fit_weights({key: value for key, value in state.items() if key[0] != "5"}, state, source="file", name="net")
    found = {key: value for key, value in state.items() if key != "5.bias"}
    with pytest.warns(UserWarning, match=r"11 of the 12 .* 1 stay random: '5.bias'"):
        assert len(fit_weights(found, state, source="file", name="net")) == 11


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_files_are_read_without_running_code(tmp_path: Path, wrapper: str | None) -> None:
    state = dict(net().state_dict())
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert read_weights(tmp_path / name).keys() == state.keys()
    torch.save({"state_dict": net()}, tmp_path / "code.pt")
    with pytest.raises(EncoderError, match="more than tensors"):
        read_weights(tmp_path / "code.pt")


@pytest.mark.parametrize("name", ["absent.pt", "rubbish.pt", "rubbish.safetensors", "empty.pt"])
def test_unreadable_files(tmp_path: Path, name: str) -> None:
    for suffix in (".pt", ".safetensors"):
        (tmp_path / f"rubbish{suffix}").write_bytes(b"not a tensor in sight")
    torch.save({"epoch": 1}, tmp_path / "empty.pt")
    with pytest.raises(EncoderError, match=name):
        read_weights(tmp_path / name)


def test_first_convolution_keeps_the_response_to_grey() -> None:
    colour, grey = torch.randn(4, 3, 5, 5), torch.randn(4, 1, 5, 5)
    image = torch.randn(2, 1, 9, 9)
    three = image.expand(-1, 3, -1, -1)
    conv = nn.functional.conv2d
    torch.testing.assert_close(conv(image, adapt_channels(colour, 1)), conv(three, colour), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(conv(three, adapt_channels(grey, 3)), conv(image, grey), atol=1e-4, rtol=1e-4)
    assert adapt_channels(colour, 3) is colour


def test_hash_depends_on_every_part() -> None:
    base = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    same = {"b": torch.tensor(3), "a": torch.tensor([1.0, 2.0])}
    assert hash_tensors(base) == hash_tensors(same)
    others = [
        {**base, "a": torch.tensor([1.0, 2.1])},
        {**base, "a": torch.tensor([[1.0, 2.0]])},
        {"c": base["a"], "b": base["b"]},
    ]
    assert len({hash_tensors(tensors) for tensors in [base, *others]}) == 4
