"""Heat, surroundings and anatomy: hand-made cases, and a whole page from a run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mr_writing
import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.protocols.series.planes import Plane
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.explaining.content import Question
from sidelight.explaining.heat import Heat, heat_of
from sidelight.explaining.sslm import _labelled_patches, _lesions, _taught, anatomy, random_like, surroundings
from sidelight.models.image import create_encoder
from sidelight.models.series import make_aggregator

TINY = {
    "encoder": "test_resnet", "image_size": 48, "working_size": 48, "patch_size": 33, "permutations": 24, "steps": 4,
    "batch_size": 8, "max_frames": 6, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    cohort = Cohort.open("phantom:knee?exams=12&slices=6&size=48&difficulty=0")
    return sidelight.pretrain("sslm", cohort, folder / "run", quiet=True, cache=str(folder), **TINY), cohort, folder


def opened(cohort, folder):
    return open_pixels(cohort, 48, EvaluateSettings.model_validate({"cache": str(folder)}), quiet=True)


@pytest.mark.parametrize("kind", ["attention", "max"])
@pytest.mark.parametrize("name", ["test_resnet", "nine_branches_tiny"])
def test_heat_is_there_on_several_slices_and_is_the_slices_own(run, kind, name) -> None:
    _, cohort, folder = run
    pixels = opened(cohort, folder)
    torch.manual_seed(0)
    encoder = create_encoder(name, channels=1, image_size=48)
    net = make_aggregator(kind, (encoder.dim,), 3, 8)
    plane = Plane(net, np.zeros(encoder.dim, np.float32), np.ones(encoder.dim, np.float32))
    heat = heat_of(encoder, plane, pixels, 4)
    assert heat.maps.shape[:2] == (3, 6) and heat.maps.min() >= 0
    assert ((heat.maps.max(axis=(2, 3)) > 0).sum(axis=1) > 1).any()
    assert (heat.attention is None) == (kind == "max")
    if kind == "attention":
        np.testing.assert_allclose(heat.attention.sum(axis=1), 1, atol=1e-5)


def test_the_heat_of_a_linear_head_by_hand() -> None:
    """One channel that is the picture itself, one slice: the heat is the picture where the weight is positive."""

    class Seeing(torch.nn.Module):
        scale = torch.ones(1, requires_grad=True)

        def forward_intermediates(self, images):
            images = images * self.scale
            return images, [images]

        def forward_head(self, maps, pre_logits=True):
            return maps.mean((2, 3))

    class One:
        network, mean, std, name, training = Seeing(), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), "seeing", False

        def preprocess(self, images):
            return images

        def eval(self):
            return self

        def train(self, mode):
            return self

    class Picture:
        def frames_of(self, row):
            return 1

        def read(self, row, at):
            return np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)

    net = make_aggregator("max", (1,), 2, 1)
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[2.0], [-2.0]]))
    heat = heat_of(One(), Plane(net, np.zeros(1, np.float32), np.ones(1, np.float32)), Picture(), 0)
    np.testing.assert_allclose(heat.maps[0, 0], np.arange(64).reshape(8, 8) * 2 / 64)
    assert not heat.maps[1].any() and heat.peak(0, 80) == (0, 75, 75)


def test_the_peak_is_found_in_pixels() -> None:
    maps = np.zeros((2, 3, 4, 4), np.float32)
    maps[1, 2, 0, 3] = 1
    assert Heat(maps, None).peak(1, 40) == (2, 5, 35)


def test_surroundings_of_an_encoder_that_sees_patches_alone(run) -> None:
    """A network whose field of view is one pixel cannot know the surroundings: cosine 1."""
    made, cohort, folder = run

    class Pixelwise(torch.nn.Module):
        num_features = 3

        def forward_intermediates(self, images, intermediates_only=True):
            return [torch.cat([images, images**2, (images > 0.2).float()], 1)]

    encoder = create_encoder("test_resnet", channels=1, image_size=48)
    encoder.network = Pixelwise()
    question = Question(made, cohort, opened(cohort, folder), np.arange(2), ("a",) * 36)
    table = surroundings(question, {"pixelwise": encoder}).table
    assert table["same patch, other slice"][0] == pytest.approx(1, abs=1e-4)
    assert table["other patch, same slice"][0] < 0.9


def test_a_page_of_a_run(run, tmp_path) -> None:
    made, cohort, folder = run
    page = sidelight.explain(made, cohort, tmp_path / "out", items=2, cache=str(folder), quiet=True)
    text = page.read_text()
    for words in ("Puzzles", "Surroundings", "What speaks for a label", "of 200 puzzles", "data:image"):
        assert words in text, words
    hits = pd.read_csv(next((tmp_path / "out").glob("what-speaks*.csv")))
    assert {"abnormal", "meniscus"} <= set(hits["label"]) and set(hits["encoder"]) == {"this encoder", "random"}
    near = pd.read_csv(tmp_path / "out" / "nearest-items-of-other-patients.csv")
    assert set(near["label"]) == {"abnormal", "acl", "meniscus"} and set(near["class"]) == {"no", "yes"}
    shares = hits[["in the lesion", "by chance", "on its slices", "slices by chance"]]
    assert ((shares >= 0) & (shares <= 1)).all().all()
    assert (hits["by chance"] < hits["slices by chance"]).all()


def test_anatomy_from_masks(run, tmp_path) -> None:
    """ACDC's layout with pictures that are their masks: the read-out knows the structure."""
    pytest.importorskip("nibabel", reason="needs the extra 'nifti'")
    patients = {f"patient{number:03d}": ("NOR" if number % 2 else "DCM", 1, 9, 4) for number in range(1, 13)}
    root = mr_writing.acdc(tmp_path / "acdc", patients)
    import nibabel

    for path in root.rglob("*_gt.nii.gz"):
        mask = np.zeros((48, 48, 4), np.uint8)
        mask[16:32, 16:32] = 1
        mask[34:46, 4:16] = 2
        for name, values in ((path, mask), (path.with_name(path.name.replace("_gt", "")), mask * 80 + 20)):
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1.5, 1.5, 10, 1])), name)
    cohort = Cohort.open(root, preset="acdc")
    pixels = opened(cohort, tmp_path / "cache")
    encoder = random_like(create_encoder("test_resnet", channels=1, image_size=48), 0)
    question = Question(run[0], cohort, pixels, np.arange(2), ("a",) * len(pixels))
    table = anatomy(question, {"random": encoder}).table
    assert table["AUROC"][0] > 0.8  # of grey values alone


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_the_structure_of_a_patch_is_where_the_mask_lies_in_the_square(tmp_path, fit) -> None:
    """Slices three times as wide as high: 80 above, where the mask is 1, and 200 below, where it is 2."""
    mask = np.repeat(np.array([[1], [2]], np.uint8), 16, axis=0).repeat(96, axis=1)
    for kind, values in (("images", mask * 120 - 40), ("masks", mask)):
        (tmp_path / kind).mkdir()
        for number in range(12):
            Image.fromarray(values).save(tmp_path / kind / f"p{number}.png")
    (tmp_path / "cohort.toml").write_text(
        'files = "images/{patient}.png"\nlevels = ["patient"]\n[companions]\nmasks = "masks/{patient}.png"\n'
        f'[images]\nchannels = 1\nfit = "{fit}"\n'
    )
    cohort = Cohort.open(tmp_path)
    question = Question(None, cohort, opened(cohort, tmp_path / "cache"), np.arange(1), ())
    slices, corners, label, _ = _labelled_patches(question)
    rows, columns = (corners * 36 + 6).astype(int).T  # of the centre of a patch of 12 in a square of 48
    grey = slices[np.arange(len(slices)), 0, rows, columns]
    assert set(label.tolist()) == {1, 2} and min(np.bincount(label)[1:]) >= 30
    blend = 15  # where the two meet; the padding's 0 is 80 away
    assert np.abs(grey.astype(int) - (label * 120 - 40)).max() <= blend


def test_a_series_of_a_view_that_no_head_has_seen_is_said_not_to_be_shown(run) -> None:
    made, cohort, folder = run
    pixels = opened(cohort, folder)
    names = tuple("a" * len(pixels))
    question = Question(made, cohort, pixels, np.arange(len(pixels)), names, "diagnosis")
    alone = int(np.flatnonzero(~_taught(question))[0])
    index = pixels.index.assign(view=[*pixels.index["view"][:alone], "oblique", *pixels.index["view"][alone + 1 :]])
    shown = np.array([alone, (alone + 1) % len(pixels)])
    question = replace(question, pixels=replace(pixels, index=index), rows=shown)
    (part,) = _lesions(question, {"this encoder": made.encoder(), "random": random_like(made.encoder(), 0)})
    labels = len(cohort.tasks["diagnosis"].classes)
    assert len(part.pictures) == labels and not any("oblique" in one.sentence for one in part.pictures)
    assert part.facts[-1] == "1 series not shown: the heads have learnt from none of such a view."
