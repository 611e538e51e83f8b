"""What a random network is worth with and without its residual branches: linear probes of frozen features, three seeds.

timm starts the last norm of each residual branch of a ResNet at 0, so that the branches add nothing; sidelight starts it at 1.
Small pixels (16 x 16) and ImageNet weights stand beside them.

    python benchmarks/random_start.py --data FOLDER --preset pad_ufes_20 --task malignant_filled
"""

import argparse

import torch
from torch import nn

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.models.image import Encoder, create_encoder


def random_encoder(channels: int, size: int, seed: int, *, branches: bool) -> Encoder:
    torch.manual_seed(seed)
    encoder = create_encoder("resnet18", channels=channels, image_size=size).eval()
    if not branches:
        for name, part in encoder.network.named_modules():
            if name.startswith("layer") and name.endswith(".bn2"):
                nn.init.zeros_(part.weight)
    return encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--data", required=True)
    parser.add_argument("--preset")
    parser.add_argument("--task", required=True)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--cache")
    given = parser.parse_args()
    cohort = Cohort.open(given.data, preset=given.preset)
    shared = {"seeds": 1, "resamples": 500, "image_size": given.size, "cache": given.cache, "subgroups": []}
    rows: dict[str, list[tuple[object, dict]]] = {
        "random, branches at 0": [(random_encoder(cohort.channels or 3, given.size, s, branches=False), {}) for s in range(3)],
        "random": [(random_encoder(cohort.channels or 3, given.size, s, branches=True), {}) for s in range(3)],
        "pixels": [(random_encoder(cohort.channels or 3, given.size, 0, branches=True), {"inputs": {"kind": "pixels"}})],
        "imagenet": [("imagenet", {})],
    }  # fmt: skip
    print("| encoder | AUROC, linear probe, by seed |\n|---|---|", flush=True)
    for name, encoders in rows.items():
        said = []
        for encoder, more in encoders:
            found = sidelight.evaluate(encoder, cohort, given.task, **shared, **more).results
            row = found[(found["metric"] == "auroc") & found["all_labels"] & (found["target"] == "")].iloc[0]
            said.append(f"{row['value']:.3f} [{row['low']:.2f}, {row['high']:.2f}]")
        print(f"| {name} | {', '.join(said)} |", flush=True)


if __name__ == "__main__":
    main()
