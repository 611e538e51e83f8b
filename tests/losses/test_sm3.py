"""SM3's losses: numbers worked by hand, which terms a change moves, and negatives of the same modality."""

import pytest
import torch

from sidelight.errors import ConfigError, TrainingError
from sidelight.losses import info_nce
from sidelight.losses.labels import label_cross_entropy
from sidelight.losses.sm3 import modality_contrast, modality_terms

D1, D2 = [(1, 0), (0, 1)], [(0.8, 0.6), (0, 1)]
C1, C2 = [(0.6, 0.8), (-0.6, 0.8)], [(0.96, 0.28), (-0.28, 0.96)]


def worked():
    """[lesion, photograph, view, 2] in float64."""
    views = torch.tensor([[D1, D2], [C1, C2]], dtype=torch.float64)
    return views.permute(2, 0, 1, 3)


def loss(vectors, **options):
    return modality_contrast(modality_terms(vectors, vectors, **options))


@pytest.mark.parametrize(
    ("tau", "totals"), [(1.0, (2.218284, 2.158977, 2.188630)), (0.1, (0.473833, 0.233445, 0.353639))]
)
def test_the_three_styles_by_hand(tau, totals):
    for style, total in enumerate(totals):
        assert loss(worked(), temperature=tau, style=style).item() == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize(
    ("tau", "first", "second", "pairs"),
    [
        (1.0, 0.758774, 0.694839, (0.800588, 0.728754, 0.575252, 0.835475)),
        (0.1, 0.069151, 0.041942, (0.708269, 0.017212, 0.000626, 0.244077)),
    ],
)
def test_each_term_by_hand(tau, first, second, pairs):
    terms = [modality_terms(worked(), worked(), temperature=tau, style=style) for style in (0, 1, 2)]
    for one in terms:
        assert one["first"].item() == pytest.approx(first, abs=1e-6)
        assert one["second"].item() == pytest.approx(second, abs=1e-6)
    same, crossed = pairs[:2], pairs[2:]
    for one, chosen in zip(terms, (same, crossed, pairs), strict=True):
        assert one["cross"].item() == pytest.approx(sum(chosen) / len(chosen), abs=1e-6)


def vectors(lesions=5, seed=0):
    return torch.randn(lesions, 2, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_symmetries():
    own, joint = vectors(), vectors(seed=1)
    for style in (0, 1, 2):
        plain = modality_terms(own, joint, temperature=0.3, style=style)
        swapped = modality_terms(own.flip(1), joint.flip(1), temperature=0.3, style=style)
        assert swapped["first"].item() == pytest.approx(plain["second"].item())
        assert swapped["cross"].item() == pytest.approx(plain["cross"].item())
        order = torch.tensor([3, 1, 4, 0, 2])
        moved = modality_terms(own[order], joint[order], temperature=0.3, style=style)
        views = modality_terms(own.flip(2), joint.flip(2), temperature=0.3, style=style)
        for other in (moved, views):
            assert modality_contrast(other).item() == pytest.approx(modality_contrast(plain).item())


def test_photographs_of_the_same_kind_repel():
    """A contrast with negatives of the other modality alone is another number."""
    joint = vectors(2)
    terms = modality_terms(joint, joint, temperature=0.5)
    one, two = joint[:, 0, 0], joint[:, 1, 0]
    clip = (info_nce(one, two, temperature=0.5) + info_nce(two, one, temperature=0.5)) / 2
    assert abs(terms["cross"].item() - clip.item()) > 0.05


def test_an_absent_photograph_leaves_the_others_term():
    own, joint = vectors(), vectors(seed=1)
    present = torch.tensor([[1, 1], [1, 1], [1, 0], [0, 1], [1, 1]])
    broken = own.clone(), joint.clone()
    for tensor in broken:
        tensor[2, 1], tensor[3, 0] = float("nan"), float("nan")
    terms = modality_terms(*broken, temperature=0.3, present=present)
    first, both = torch.tensor([0, 1, 2, 4]), torch.tensor([0, 1, 4])
    assert terms["first"].item() == modality_terms(own[first], joint[first], temperature=0.3)["first"].item()
    assert terms["cross"].item() == modality_terms(own[both], joint[both], temperature=0.3)["cross"].item()
    only = torch.tensor([[1, 0]] * 5)
    assert set(modality_terms(own, joint, temperature=0.3, present=only)) == {"first"}
    with pytest.raises(TrainingError, match="No photograph of this batch has a negative"):
        modality_contrast(modality_terms(own[:1], joint[:1], temperature=0.3))


def test_groups_and_weights():
    own, joint = vectors(), vectors(seed=1)
    groups = torch.tensor([0, 0, 1, 2, 2])
    plain, grouped = (modality_terms(own, joint, temperature=0.3, groups=g) for g in (None, groups))
    assert all(grouped[name] < plain[name] for name in plain)
    assert modality_terms(own, joint, temperature=0.3, groups=torch.zeros(5, dtype=torch.long)) == {}
    weighted = modality_contrast(plain, {"cross": 0.0, "second": 2.0})
    assert weighted.item() == pytest.approx((plain["first"] + 2 * plain["second"]).item())


def test_gradients_are_right():
    own, joint = (one[:3, :, :, :2].clone().requires_grad_() for one in (vectors(), vectors(seed=1)))
    for style in (0, 1, 2):
        torch.autograd.gradcheck(
            lambda a, b, style=style: modality_contrast(modality_terms(a, b, temperature=0.7, style=style)),
            (own, joint),
        )


def test_the_cross_entropy_of_several_labels():
    logits = [torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])]
    targets = torch.tensor([[0, 1], [1, -100]])
    first = (torch.log1p(torch.tensor(-2.0).exp()) + torch.log1p(torch.tensor(-1.0).exp())) / 2
    expected = (first + torch.log(torch.tensor(3.0))) / 2
    assert label_cross_entropy(logits, targets).item() == pytest.approx(expected.item())
    assert label_cross_entropy(logits, torch.tensor([[0, -100], [1, -100]])).item() == pytest.approx(first.item() / 2)
    assert label_cross_entropy(logits, targets, weights=[0.0, 2.0]).item() == pytest.approx(1.0986123)
    with pytest.raises(ConfigError, match="2 heads and targets of 3 labels"):
        label_cross_entropy(logits, torch.zeros(2, 3, dtype=torch.long))
