"""A saved model that is not what was saved predicts nothing for anybody."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import sidelight
from sidelight.cli import main
from sidelight.errors import SidelightError
from sidelight.evaluation.model.model import read_model


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Photographs of 16 patients, those of class b brighter in the middle."""
    folder, rng = tmp_path_factory.mktemp("here"), np.random.default_rng(0)
    for number in range(16):
        pixels = rng.integers(40, 120, (24, 24))
        pixels[8:16, 8:16] += 90 * (number % 2)
        path = folder / "ab"[number % 2] / f"p{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "cohort.toml").write_text(
        'files = "{kind}/{patient}.png"\nlevels = ["patient"]\n[task.kind]\nlabel = "kind"\nunit = "patient"\npositive = ["b"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def judged(here, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    settings = {"seeds": 1, "resamples": 100, "device": "cpu", "image_size": 32, "folds": 2}
    sidelight.evaluate("test_resnet", here, "kind", out=out, random=True, **settings)
    return out / "model"


def copied(judged, folder, change, *, sealed=False):
    """A copy with ``change`` made to what model.json says; unless ``sealed`` as formats before 6 had it, without hashes."""
    shutil.copytree(judged, folder / "model")
    file = folder / "model" / "model.json"
    said = json.loads(file.read_text())
    change(said)
    if not sealed:
        del said["seal"], said["files"]
        said["version"] = 5
    file.write_text(json.dumps(said))
    return folder


def spoil(folder, name, change):
    """Change the first number of a tensor; ``name`` of file and tensor."""
    file, key = folder / "model" / name[0], name[1]
    tensors = load_file(file)
    tensors[key].reshape(-1)[0] = change(tensors[key].reshape(-1)[0])
    save_file(tensors, file)


def command():
    """The exit code of the command in ``sys.argv``."""
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def refused(folder, here, capsys, says):
    """The real command: exit code 2, one line, no file."""
    words = ["sidelight", "predict", str(folder), "--data", str(here), "--out", str(folder / "s.csv")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", words)
        code = command()
    said = capsys.readouterr()
    assert code == 2 and says in said.err and "Traceback" not in said.err, said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (folder / "s.csv").exists()


NAN = float("nan")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("threshold",), NAN, "threshold = nan"),
        (("threshold",), 7, "threshold = 7"),
        (("calibration", "temperature"), NAN, "temperature = nan"),
        (("calibration", "temperature"), 0, "temperature = 0"),
        (("calibration", "shift"), float("inf"), "shift = inf"),
        (("classes",), [], "classes = []"),
        (("classes",), list("abcde"), "2 probabilities for 5 classes"),
    ],
)
def test_a_number_of_a_decision_that_is_none_predicts_nothing(judged, here, tmp_path, capsys, path, value, says):
    def change(said):
        place = said["targets"][""]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    refused(copied(judged, tmp_path, change), here, capsys, says)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("outside", NAN, "outside = nan"),
        ("protocol", "magic", "magic"),
        ("frames", "many", "frames = 'many'"),
        ("version", 99, "newer sidelight"),
        ("wizard", 1, "wizard"),
        ("channels", 2, "channels = 2"),
        ("hashes", {}, "not the one that was judged"),
    ],
)
def test_facts_that_are_none_predict_nothing(judged, here, tmp_path, capsys, key, value, says):
    folder = copied(judged, tmp_path, lambda said: None)
    file = folder / "model" / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    refused(folder, here, capsys, says)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, "\xff"])
def test_model_json_that_is_no_json(judged, here, tmp_path, capsys, text):
    folder = copied(judged, tmp_path, lambda said: None)
    (folder / "model" / "model.json").write_bytes(text.encode("latin-1"))
    refused(folder, here, capsys, "cannot be read")


def test_tensors_of_the_head_that_are_not_finite_or_do_not_fit(judged, here, tmp_path, capsys):
    for number, name in enumerate(("0.weight", "0.bias", "reference", "centre")):
        folder = copied(judged, tmp_path / str(number), lambda said: None)
        spoil(folder, ("head.safetensors", name), lambda value: np.nan)
        refused(folder, here, capsys, "not finite")
    tensors = load_file(judged / "head.safetensors")
    for number, (name, value) in enumerate(
        {"centre": np.zeros(3, np.float32), "0.weight": np.zeros((9, 2), np.float32)}.items()
    ):
        folder = copied(judged, tmp_path / f"shape{number}", lambda said: None)
        save_file({**tensors, name: value}, folder / "model" / "head.safetensors")
        refused(folder, here, capsys, "cannot be read")
    save_file({}, folder / "model" / "head.safetensors")
    refused(folder, here, capsys, "cannot be read")


def test_every_changed_bit_of_a_sealed_model_is_noticed(judged, here, tmp_path, capsys):
    folder = copied(judged, tmp_path / "facts", lambda said: said["targets"][""].update(threshold=0.6), sealed=True)
    refused(folder, here, capsys, "model.json is not what was saved")
    for file in ("head.safetensors", "towers/image.safetensors"):
        folder = tmp_path / file.replace("/", "")
        shutil.copytree(judged, folder / "model")
        raw = bytearray((folder / "model" / file).read_bytes())
        raw[-3] ^= 1
        (folder / "model" / file).write_bytes(raw)
        refused(folder, here, capsys, f"{file} is not what was saved")
    shutil.copytree(judged, tmp_path / "more")
    shutil.copy(judged / "towers/image.safetensors", tmp_path / "more/towers/lesion_metadata.safetensors")
    with pytest.raises(SidelightError, match=r"lesion_metadata\.safetensors is not what was saved"):
        read_model(tmp_path / "more")


def test_an_encoder_of_an_old_model_that_is_not_the_one_that_was_judged(judged, here, tmp_path, capsys):
    folder = copied(judged, tmp_path, lambda said: None)
    shutil.rmtree(folder / "model" / "towers")
    from sidelight.models.image import load_encoder
    from sidelight.models.towers import save_tower

    other = load_encoder("test_resnet", random=True, image_size=32, channels=1, seed=5)
    save_tower(other, folder / "model" / "towers")
    refused(folder, here, capsys, "not the one that was judged")


def test_a_probability_that_is_not_finite_stops_whatever_made_it(judged, here):
    model = read_model(judged)
    object.__setattr__(model, "head", lambda units: np.full((len(units.items), 2), np.nan))
    with pytest.raises(SidelightError, match="16 of 16 units a probability that is not finite"):
        sidelight.predict(model, here, device="cpu", quiet=True, other_kind=True)


def test_words_of_a_model_move_no_cursor_and_calculate_nothing(judged, here, tmp_path, capsys, monkeypatch):
    def change(said):
        said["use"] = "\x1b[2J\x1b]0;owned\x07 Research"
        said["targets"][""]["classes"] = ["=cmd|'/C calc'!A1", "@SUM(1)"]

    folder = copied(judged, tmp_path, change)
    monkeypatch.setattr(
        "sys.argv", ["sidelight", "predict", str(folder), "--data", str(here), "--out", str(tmp_path / "s.csv")]
    )
    assert command() == 0
    said, written = capsys.readouterr().out, (tmp_path / "s.csv").read_text()
    assert "\x1b" not in said + written and "\x07" not in said + written and r"\u001B[2J" in said
    cells = [cell for line in written.splitlines() for cell in line.replace('"', "").split(",")]
    assert not [cell for cell in cells if cell[:1] in ("=", "@", "+")] and "'@SUM(1)" in written
