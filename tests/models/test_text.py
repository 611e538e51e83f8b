"""The report encoder: the token budget, sentence vectors, padding, frozen layers, its tower, a model from a folder."""

import json

import pytest
import torch

from sidelight.errors import ConfigError, EncoderError
from sidelight.models import text
from sidelight.models.text import (
    BUDGET,
    ReportEncoder,
    load_report_encoder,
    rebuild_report_encoder,
    small_report_encoder,
    within,
)
from sidelight.models.towers import read_tower, save_tower

REPORTS = [
    ["No effusion.", "The heart is large.", "Stable."],
    ["Nodule in the left lung."],
    ["Clear.", "No nodule in the right lung."],
]


def small(seed=0, **values) -> ReportEncoder:
    torch.manual_seed(seed)
    reports = [report for report in REPORTS for _ in range(20)]
    return small_report_encoder(
        reports, [str(n) for n in range(60)], **{"width": 16, "heads": 2, "layers": 2, **values}
    ).eval()


def test_budget_keeps_whole_leading_sentences():
    long = [list(range(200)), list(range(200)), list(range(200))]
    assert [len(one) for one in within(long)] == [200, 200]
    assert [len(one) for one in within([list(range(110)), list(range(400)), [1]])] == [110, 400]
    assert [len(one) for one in within([list(range(600)), [1]])] == [BUDGET]
    assert within([[], [1, 2], []]) == [[1, 2]]
    assert within([]) == [[]]


def test_five_thousand_words_become_512_tokens_and_as_many_vectors_as_kept_sentences():
    encoder = small()
    tokens = encoder.tokens([["The heart is large."] * 1000])
    kept = BUDGET // 5
    assert tokens.ids.shape == (1, 2 + 5 * kept)
    assert encoder(tokens).shape == (1, kept, 16)


def test_tokens_are_joined_between_the_special_pieces():
    encoder = small()
    tokens = encoder.tokens([["No effusion.", "Stable."], ["Clear."]])
    one = encoder.tokenizer
    assert tokens.ids[0].tolist() == [
        one.cls,
        *(n for s in one.pieces(["No effusion.", "Stable."]) for n in s),
        one.sep,
    ]
    assert tokens.sentence.tolist() == [[-1, 0, 0, 0, 1, 1, -1], [-1, 0, 0, -1, -2, -2, -2]]
    assert tokens.ids[1, 4:].tolist() == [one.pad] * 3
    assert tokens.mask.tolist() == [[True, True], [True, False]]


def test_the_same_sentences_have_the_same_number():
    encoder = small()
    tokens = encoder.tokens([["No effusion.", "Stable."], ["Stable.", "Clear.", "No effusion."], ["Effusion."]])
    first, second, third = tokens.texts.tolist()
    assert first[0] == second[2] and first[1] == second[0] and first[2] == third[1] == third[2] == -1
    assert len({*first[:2], second[1], third[0]}) == 4 and min(*first[:2], *second, third[0]) >= 0
    owner = torch.tensor([[-1, 0, 0, 1, -1, -2], [-1, 0, 1, 1, 2, -1]])  # "7 7" and "7"; "7", "7 7" and "8"
    found = text.Tokens(torch.tensor([[2, 7, 7, 7, 3, 0], [2, 7, 7, 7, 8, 3]]), owner).texts
    assert found[0, 0] == found[1, 1] and found[0, 1] == found[1, 0] and len(found.unique()) == 4


@torch.no_grad()
def test_a_sentence_is_the_maximum_over_its_tokens_and_padding_changes_nothing():
    encoder = small()
    together = encoder(encoder.tokens(REPORTS))
    assert together.shape == (3, 3, 16)
    assert float(together[1, 1:].abs().max()) == 0
    for place, report in enumerate(REPORTS):
        tokens = encoder.tokens([report])
        alone = encoder(tokens)
        torch.testing.assert_close(together[place, : len(report)], alone[0], atol=1e-5, rtol=1e-5)
        hidden = encoder.network(input_ids=tokens.ids).last_hidden_state[0]
        wanted = hidden[tokens.sentence[0] == 0].amax(0)
        torch.testing.assert_close(alone[0, 0], wanted, atol=1e-5, rtol=1e-5)


def test_long_reports_of_like_length_are_read_together_and_one_at_a_time_is_the_same(monkeypatch):
    monkeypatch.setattr(text, "SHORT", 0)
    encoder, seen = small().double(), []
    reports = [REPORTS[n % 3] * (1 + 7 * n % 11) for n in range(9)]
    tokens = encoder.tokens(reports)
    each = [encoder(encoder.tokens([report])) for report in reports]
    encoder.network.register_forward_hook(
        lambda module, given, kept, found: seen.append(tuple(kept["input_ids"].shape)), with_kwargs=True
    )
    encoder(tokens).square().sum().backward()
    lengths = sorted((tokens.sentence != -2).sum(1).tolist())
    assert seen == [(4, lengths[3]), (4, lengths[7]), (1, lengths[8])]
    found, gradient = encoder(tokens), encoder.network.embeddings.word_embeddings.weight.grad.clone()
    for own, alone in zip(found, each, strict=True):
        torch.testing.assert_close(own[: alone.shape[1]], alone[0])
        assert not own[alone.shape[1] :].any()
    encoder.zero_grad()
    sum(one.square().sum() for one in each).backward()
    torch.testing.assert_close(gradient, encoder.network.embeddings.word_embeddings.weight.grad)


def test_frozen_layers_have_no_gradient():
    encoder = small()
    frozen = ReportEncoder(encoder.network, encoder.tokenizer, freeze=1)
    frozen(frozen.tokens(REPORTS)).sum().backward()
    still = [name for name, p in frozen.network.named_parameters() if p.grad is None]
    assert still == [
        n for n, _ in frozen.network.named_parameters() if n.startswith(("embeddings.", "encoder.layer.0."))
    ]
    with pytest.raises(ConfigError, match="at most the model's 2"):
        ReportEncoder(encoder.network, encoder.tokenizer, freeze=3)


def test_the_tower_reads_as_it_was_trained_to(tmp_path):
    encoder = small()
    save_tower(encoder, tmp_path, role="report")
    said, tensors = read_tower(tmp_path, "report", kind="report")
    again = rebuild_report_encoder(said).eval()
    again.load_state_dict(tensors)
    with torch.no_grad():
        assert torch.equal(again(again.tokens(REPORTS)), encoder(encoder.tokens(REPORTS)))
    with pytest.raises(EncoderError, match="is a tower for report"):
        read_tower(tmp_path, "report")


class Evil:
    """Unpickled, it writes a file."""

    def __reduce__(self):
        return exec, ("open('ran.txt', 'w').close()",)


def test_no_code_of_a_folder_or_a_tower_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder, folder = small(), tmp_path / "model"
    encoder.network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(encoder.tokenizer.text)
    (folder / "evil.py").write_text("open('ran.txt', 'w').close()")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config", "AutoTokenizer": "evil.Tokens"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="code from a file is never run"):
        load_report_encoder(str(folder))
    said = encoder.describe()
    said["config"] |= {"auto_map": config["auto_map"], "_name_or_path": str(folder)}
    rebuild_report_encoder(said)
    assert not (tmp_path / "ran.txt").exists()


def test_a_tokenizer_that_does_not_fit_the_network_is_refused():
    large, little = small(), small()
    little.network.config.vocab_size = 5
    with pytest.raises(EncoderError, match="trained with"):
        ReportEncoder(little.network, large.tokenizer)


def test_a_hugging_face_folder(tmp_path):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    encoder = small()
    encoder.network.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(encoder.tokenizer.text),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk")},
    ).save_pretrained(tmp_path)
    again = load_report_encoder(str(tmp_path), freeze=1).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(again.tokens(REPORTS)), encoder(encoder.tokens(REPORTS)))
    for name, match in ((str(tmp_path / "no"), "no text model"), (str(tmp_path.parent), "cannot be loaded")):
        with pytest.raises(EncoderError, match=match):
            load_report_encoder(name)
