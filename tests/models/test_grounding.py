"""Maps of phrases: cosines by hand, the mean over phrases, and LoVT's local space as its loss compares it."""

import pytest
import torch
import torch.nn.functional as F

from pointing_toys import PLAIN, Words, untouched
from sidelight.errors import ConfigError
from sidelight.models.grounding import PhraseMaps, check_space, phrase_vectors
from sidelight.models.joint import Alignment, Joint

LOCAL = {**PLAIN, "image_dim": 8, "report_dim": 8, "hidden": 16, "dim": 4, "norm": True, "local": True}


def test_a_map_is_the_mean_cosine_of_the_phrases_enlarged():
    words = Words({"bright": torch.tensor([2.0, 0.0]), "dark": torch.tensor([0.0, 3.0])})
    joint = Joint(torch.nn.Identity(), words, untouched())
    vectors = phrase_vectors(joint, [["bright", "dark"], ["bright"]], "whole")
    assert vectors.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    maps = PhraseMaps(joint.alignment, "whole", vectors)
    last = torch.tensor([[[[5.0, 0.3]], [[0.0, 0.4]]]])  # regions (5, 0) and (0.3, 0.4)
    assert maps.coarse(last).tolist() == [[[[0.5, pytest.approx(0.7)]], [[1.0, pytest.approx(0.6)]]]]
    found = maps(last, 4)  # [1, 2, 4, 4]
    assert found[0, 1, 2].tolist() == pytest.approx([1.0, 0.9, 0.7, 0.6])
    less = PhraseMaps(joint.alignment, "whole", vectors, maps.coarse(last)[0])
    assert float(less(last, 4).abs().max()) == 0


def test_the_local_space_is_what_the_local_loss_compares():
    torch.manual_seed(0)
    made, last, sentence = Alignment(**LOCAL, attend="own", regions=6), torch.randn(2, 8, 2, 3), torch.randn(8)
    mask = torch.ones(2, 1, dtype=torch.bool)
    made(last.flatten(2).mT, sentence.expand(2, 1, 8), mask)  # counts statistics once
    made.eval()
    image, _, attended = made(last.flatten(2).mT, sentence.expand(2, 1, 8), mask)
    wanted = F.cosine_similarity(image.local, attended.regions, dim=-1).view(2, 1, 2, 3)
    joint = Joint(torch.nn.Identity(), Words({"one": sentence}), made)
    found = PhraseMaps(made, "local", phrase_vectors(joint, [["one"]], "local")).coarse(last)
    torch.testing.assert_close(found, wanted.detach())


def test_without_cross_attention_regions_meet_the_projected_sentence():
    torch.manual_seed(0)
    made, last, sentence = Alignment(**LOCAL, attend="none", regions=6), torch.randn(2, 8, 2, 3), torch.randn(8)
    mask = torch.ones(2, 1, dtype=torch.bool)
    made(last.flatten(2).mT, sentence.expand(2, 1, 8), mask)  # counts statistics once
    made.eval()
    image, report, attended = made(last.flatten(2).mT, sentence.expand(2, 1, 8), mask)
    assert attended is None and made.attention is None
    wanted = F.cosine_similarity(image.local, report.local, dim=-1).view(2, 1, 2, 3)
    joint = Joint(torch.nn.Identity(), Words({"one": sentence}), made)
    found = PhraseMaps(made, "local", phrase_vectors(joint, [["one"]], "local")).coarse(last)
    torch.testing.assert_close(found, wanted.detach())


def test_who_has_no_local_space_says_so():
    with pytest.raises(ConfigError, match=r"no local space .*lovt"):
        check_space(untouched(), "local")
