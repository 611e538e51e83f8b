"""What LoVT's local losses cost beside the rest of a training step: python benchmarks/local_losses.py [--json FILE]

ResNet-18 at 224 px, batch 64, 49 regions, 12 sentences of a small BERT; one thread unless OMP_NUM_THREADS says otherwise. Seconds
are CPU seconds, so that a busy machine does not count. The limit is 15 % of the step, for the losses alone and for all that they
bring (their projections and the cross-attention too). What they keep for the backward pass is to grow no faster than the batch.
"""

import argparse
import json
import os
from pathlib import Path
from statistics import median
from time import process_time

import torch

from sidelight.losses import global_alignment, local_alignment, spatial_targets
from sidelight.models.image import create_encoder
from sidelight.models.joint import Alignment, align
from sidelight.models.text import ReportEncoder, Tokenizer, Tokens
from sidelight.models.wordpiece import SPECIAL, word_tokenizer

BATCH, SENTENCES, WORDS = 64, 12, 8
LIMIT = 0.15


def model(size: int, with_local: bool):
    """Encoder, report encoder and heads with LoVT's default widths."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = Tokenizer.of(word_tokenizer(SPECIAL))
    config = BertConfig(
        vocab_size=1000, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512
    )
    reports = ReportEncoder(BertModel(config, add_pooling_layer=False), tokenizer)
    shape = {
        "image_dim": 512,
        "report_dim": 128,
        "hidden": 512,
        "dim": 128,
        "norm": True,
        "masked": True,
        **({"local": True, "attend": "shared", "regions": 49, "temperature": 0.1} if with_local else {"local": False}),
    }
    heads = Alignment(**shape, image_pool="attention", report_pool="attention")
    return create_encoder("resnet18", channels=1, image_size=size), reports, heads


def batch(size: int, count: int):
    """Random images, and reports of SENTENCES sentences of WORDS pieces."""
    width = SENTENCES * WORDS + 2
    owner = torch.full((count, width), -1)
    owner[:, 1:-1] = torch.arange(SENTENCES).repeat_interleave(WORDS)
    return torch.rand(count, 1, size, size), Tokens(torch.randint(5, 1000, (count, width)), owner)


def local(found, targets):
    """The four local losses."""
    image = local_alignment(found.image.local, found.attended.regions, weights=found.image.weights, targets=targets)
    report = local_alignment(
        found.report.local, found.attended.sentences, weights=found.report.weights, mask=found.mask
    )
    return sum(image) + sum(report)


def step(parts, images, tokens, targets) -> float:
    """CPU seconds of a step, forward and backward, with the local losses where the model has them."""
    began = process_time()
    found = align(*parts, images, tokens)
    loss = global_alignment(found.image.whole, found.report.whole)
    if found.attended is not None:
        loss = loss + local(found, targets)
    loss.backward()
    return process_time() - began


def alone(count: int, targets) -> tuple[float, int]:
    """CPU seconds of the local losses alone, forward and backward, and the bytes that they keep in between."""
    torch.manual_seed(1)
    regions, sentences = torch.randn(2, count, 49, 128), torch.randn(2, count, SENTENCES, 128)
    leaves = [x.requires_grad_() for x in (*regions, *sentences)]
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    began = process_time()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(local_alignment(*leaves[:2], weights=torch.rand(count, 49), targets=targets))
        loss = loss + sum(local_alignment(*leaves[2:], weights=torch.rand(count, SENTENCES)))
    loss.backward()
    return process_time() - began, sum(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    targets, given = spatial_targets(7, 7), batch(224, BATCH)
    whole, without = (
        median(step(model(224, with_local), *given, targets) for _ in range(asked.repeats))
        for with_local in (True, False)
    )
    losses = median(alone(BATCH, targets)[0] for _ in range(5))
    kept = {count: alone(count, targets)[1] for count in (32, 64, 128, 256)}
    found = {"step_seconds": whole, "without_seconds": without, "local_seconds": losses, "kept_bytes": kept}
    found |= {"share": losses / whole, "share_with_projections": 1 - without / whole, "limit": LIMIT, "batch": BATCH}
    print(f"step {whole:.2f} s, without local losses {without:.2f} s; local losses {losses:.3f} s")
    print(
        f"losses {100 * losses / whole:.2f} % of the step, with projections and attention "
        f"{100 * (1 - without / whole):.1f} % (limit {100 * LIMIT:.0f} %)"
    )
    print("kept for the backward pass, MB by batch:", ", ".join(f"{n}: {size / 2**20:.1f}" for n, size in kept.items()))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))
    if max(found["share"], found["share_with_projections"]) > LIMIT:
        raise SystemExit("the local losses cost more than the limit")
    if kept[256] > 1.05 * 8 * kept[32]:
        raise SystemExit("what the local losses keep grows faster than the batch")


if __name__ == "__main__":
    main()
