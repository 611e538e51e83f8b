"""Training steps of an encoder on the CPU: images/s by precision, memory format, and the first part that is trained.

    python benchmarks/precision.py --encoder tf_efficientnet_lite0 resnet18 --size 112

The settings' own choice is ``auto`` and channels last; contestants take turns, one thread unless OMP_NUM_THREADS says otherwise.
"""

import argparse
import time

import torch

from sidelight.models.image import create_encoder
from sidelight.train.device import has_fast_bf16

PARTS = {"tf_efficientnet_lite0": "blocks.3", "resnet18": "layer3"}


def pace(name: str, size: int, *, last: bool, bf16: bool, part: str | None, images: int = 48, steps: int = 4) -> float:
    torch.manual_seed(0)
    net = create_encoder(name, channels=3, image_size=size).train()
    net.network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    if part:
        net.freeze_before(part)
    batch = torch.rand(images, 3, size, size)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-4)
    for step in range(steps + 1):
        if step == 1:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = net(batch).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return images * steps / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--encoder", nargs="+", default=list(PARTS))
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(
        f"bfloat16 instructions: {'yes' if has_fast_bf16(torch.device('cpu')) else 'no'}; {torch.get_num_threads()} threads\n"
    )
    print("| encoder | precision | channels last | trained from | images/s |\n|---|---|---|---|---:|")
    for name in given.encoder:
        kinds = [(False, False, None), (True, False, None), (True, True, None), (True, False, PARTS.get(name))]
        paces: list[list[float]] = [[] for _ in kinds]
        for _ in range(given.rounds):
            for own, (last, bf16, part) in zip(paces, kinds, strict=True):
                own.append(pace(name, given.size, last=last, bf16=bf16, part=part))
        for own, (last, bf16, part) in zip(paces, kinds, strict=True):
            words = ("bf16" if bf16 else "float32", "yes" if last else "no", part or "the first")
            print(f"| {name} | {' | '.join(words)} | {sorted(own)[len(own) // 2]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
