"""What LoVT's local losses cost beside the rest of a training step: python benchmarks/local_losses.py [--json FILE]

ResNet-18 at 224 px, batch 64, 49 regions, 12 sentences of a small BERT; one thread unless OMP_NUM_THREADS says otherwise. The
limit is 15 % of the step.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from sidelight.losses import global_alignment, local_alignment, spatial_targets
from sidelight.models.image import create_encoder
from sidelight.models.joint import Alignment, align
from sidelight.models.text import ReportEncoder, Tokenizer, Tokens
from sidelight.models.wordpiece import SPECIAL, word_tokenizer

BATCH, SENTENCES, WORDS = 64, 12, 8
LIMIT = 0.15


def model(size: int):
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
        "local": True,
        "norm": True,
        "masked": True,
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


def seconds(parts, images, tokens, targets, repeats: int) -> tuple[float, float]:
    """Median of a whole step, and of the local losses alone, forward and backward."""
    whole, alone = [], []
    for _ in range(repeats):
        began = perf_counter()
        found = align(*parts, images, tokens)
        loss = global_alignment(found.image.whole, found.report.whole) + local(found, targets)
        loss.backward()
        whole.append(perf_counter() - began)
        leaves = [x.detach().requires_grad_() for x in (found.image.local, found.report.local)]
        again = found._replace(
            image=found.image._replace(local=leaves[0]), report=found.report._replace(local=leaves[1])
        )
        attended = again.attended._replace(
            regions=again.attended.regions.detach().requires_grad_(),
            sentences=again.attended.sentences.detach().requires_grad_(),
        )
        began = perf_counter()
        local(again._replace(attended=attended), targets).backward()
        alone.append(perf_counter() - began)
    return median(whole), median(alone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    parts, targets = model(224), spatial_targets(7, 7)
    whole, alone = seconds(parts, *batch(224, BATCH), targets, asked.repeats)
    found = {"step_seconds": whole, "local_seconds": alone, "share": alone / whole, "limit": LIMIT, "batch": BATCH}
    print(f"step {whole:.2f} s, local losses {alone:.3f} s: {100 * alone / whole:.2f} % (limit {100 * LIMIT:.0f} %)")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))
    if alone / whole > LIMIT:
        raise SystemExit("the local losses cost more than the limit")


if __name__ == "__main__":
    main()
