"""The label-relation net: its size, its symmetries, and that labels really read each other."""

import torch

from sidelight.models.labels import LabelRelations
from sidelight.models.towers import read_tower, save_tower

LABELS = dict(zip("abcdefgh", (5, 3, 2, 3, 3, 3, 3, 2), strict=True))


def net(**options):
    torch.manual_seed(0)
    return LabelRelations(10, LABELS, width=8, feedforward=6, **options).double()


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_parameters_of_the_paper():
    with torch.device("meta"):
        whole = LabelRelations(4096, LABELS)
    assert count(whole.projectors) == 16_781_312
    assert count(whole.relations) == 1_184_384
    assert count(whole.heads) == 12_288


def test_labels_permute_and_lesions_are_independent():
    model, features = net().eval(), torch.randn(5, 10, dtype=torch.float64)
    tokens = model(features)
    assert tokens.shape == (5, 8, 8)
    torch.testing.assert_close(model(features[[3]]), tokens[[3]])
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    model.projectors = torch.nn.ModuleList(model.projectors[place] for place in order)
    torch.testing.assert_close(model(features), tokens[:, order])


def test_a_label_reads_the_others():
    model, features = net().eval(), torch.randn(3, 10, dtype=torch.float64)
    before = model(features)
    with torch.no_grad():
        model.projectors[2].bias += 1
    changed = (model(features) - before).abs().amax((0, 2))
    assert (changed > 1e-6).all()


def test_attention_rows_sum_to_one_and_are_the_layers_own():
    model, features = net(), torch.randn(4, 10, dtype=torch.float64)
    weights = model.attention(features)
    assert weights.shape == (4, 8, 8)
    torch.testing.assert_close(weights.sum(2), torch.ones(4, 8, dtype=torch.float64))
    torch.testing.assert_close(model.attention(features), weights)  # no dropout, though the net is in training
    assert model.relations.self_attn.training
    layer, tokens = model.eval().relations, model.project(features)
    values = tokens @ layer.self_attn.in_proj_weight[16:].T + layer.self_attn.in_proj_bias[16:]
    mixed = layer.self_attn.out_proj(weights @ values)
    middle = layer.norm1(tokens + mixed)
    torch.testing.assert_close(layer.norm2(middle + layer.linear2(layer.linear1(middle).relu())), model(features))


def test_logits_prototypes_and_file(tmp_path):
    model = net().float().eval()
    tokens = model(torch.randn(4, 10))
    assert [one.shape[1] for one in model.logits(tokens)] == list(LABELS.values())
    model.set_prototypes([torch.eye(8)[:classes] for classes in LABELS.values()])
    torch.testing.assert_close(model.logits(tokens)[2], tokens[:, 2, :2])
    header, tensors = read_tower(save_tower(model, tmp_path, role="labels"), kind="labels")
    again = LabelRelations.of(header, tensors)
    assert list(again.labels) == list(LABELS)
    features = torch.randn(2, 10)
    torch.testing.assert_close(again(features), model(features))
