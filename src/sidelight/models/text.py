"""The report encoder: a Hugging Face model, or a small BERT with a vocabulary of the user's own reports; sentences to vectors.

All sentences of a report are read together: [CLS] sentence sentence ... [SEP]. A sentence's vector is the maximum over its
tokens of the last hidden state (LoVT, section 3). The tokenizer lives inside the module, so that whoever holds the tower reads
text as it was trained to.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from safetensors.torch import load
from torch import Tensor, nn

from sidelight.errors import ConfigError, EncoderError, MissingExtra
from sidelight.models.given import HUB
from sidelight.models.shipped import MINILM, MINILM_WEIGHTS
from sidelight.models.towers import VERSION, Description
from sidelight.models.wordpiece import learn_vocabulary, splitter, word_tokenizer

LARGEST_NUMBER = 1 << 20
"""In the configuration of a text model that a file describes; vocabularies are the largest of them."""
BUDGET = 510
"""Tokens of a report beside [CLS] and [SEP]."""
SHORT, TOGETHER = 128, 4
"""Where reports are longer than so many tokens a CPU reads so many at once."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Reports as the text model reads them, padded to the longest.

    :ivar ids: int64 [N, T].
    :ivar sentence: int64 [N, T], to which sentence a token belongs; -1 for [CLS] and [SEP], -2 for padding.
    """

    ids: Tensor
    sentence: Tensor

    def to(self, device: torch.device | str) -> "Tokens":
        """The same on ``device``."""
        return Tokens(self.ids.to(device), self.sentence.to(device))

    @property
    def mask(self) -> Tensor:
        """bool [N, M], which sentences each report has; M is the longest report's count."""
        last = self.sentence.amax(1)
        return torch.arange(int(last.max()) + 1, device=last.device) <= last[:, None]

    @property
    def texts(self) -> Tensor:
        """int64 [N, M], a number of each sentence: the same where two have the same pieces; -1 where a report has none."""
        mask = self.mask
        report, column = (self.sentence >= 0).nonzero(as_tuple=True)
        owner = report * mask.shape[1] + self.sentence[report, column]
        first = column.new_full((mask.numel(),), self.ids.shape[1]).scatter_reduce(0, owner, column, "amin")
        place = column - first[owner]
        pieces = column.new_full((mask.numel(), int(place.max()) + 1), -1)
        pieces[owner, place] = self.ids[report, column]
        numbers: Tensor = torch.unique(pieces, dim=0, return_inverse=True)[1].view(mask.shape)
        return numbers.masked_fill(~mask, -1)


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Text to piece numbers; ``text`` is its JSON (Hugging Face ``tokenizers``)."""

    text: str
    cls: int
    sep: int
    pad: int

    @classmethod
    def of(cls, text: str) -> "Tokenizer":
        """From JSON with BERT's special pieces."""
        made = _tokenizers().Tokenizer.from_str(text)
        ids = [made.token_to_id(piece) for piece in ("[CLS]", "[SEP]", "[PAD]")]
        if None in ids:
            raise EncoderError("The tokenizer has no [CLS], [SEP] and [PAD]", expected="a tokenizer of the BERT family")
        return cls(text, *ids)

    @property
    def size(self) -> int:
        """One more than the largest piece number."""
        pieces: dict[str, int] = _tokenizers().Tokenizer.from_str(self.text).get_vocab(with_added_tokens=True)
        return max(pieces.values()) + 1

    def pieces(self, sentences: Sequence[str]) -> list[list[int]]:
        """Piece numbers of each sentence, without special pieces."""
        made = _tokenizers().Tokenizer.from_str(self.text)
        made.no_truncation()
        made.no_padding()
        return [one.ids for one in made.encode_batch(list(sentences), add_special_tokens=False)]

    def join(self, reports: Sequence[Sequence[Sequence[int]]], budget: int = BUDGET) -> Tokens:
        """Sentences in piece numbers, by report, to padded rows: whole leading sentences within the budget.

        The first sentence that goes beyond it ends the report; a first one that does is cut (LoVT, section 2).
        """
        rows = [_row(within(report, budget), self.cls, self.sep) for report in reports]
        width = max(len(ids) for ids, _ in rows)
        ids, sentence = np.full((len(rows), width), self.pad, np.int64), np.full((len(rows), width), -2, np.int64)
        for place, (row, owner) in enumerate(rows):
            ids[place, : len(row)], sentence[place, : len(row)] = row, owner
        return Tokens(torch.from_numpy(ids), torch.from_numpy(sentence))


def within(report: Sequence[Sequence[int]], budget: int = BUDGET) -> list[Sequence[int]]:
    """The whole leading sentences of a report that fit, without such as have no piece; the first is cut where it must be."""
    kept: list[Sequence[int]] = []
    left = budget
    for sentence in (one for one in report if len(one)):
        if len(sentence) > left:
            return kept or [sentence[:budget]]
        kept.append(sentence)
        left -= len(sentence)
    return kept or [[]]


def _row(report: Sequence[Sequence[int]], cls: int, sep: int) -> tuple[list[int], list[int]]:
    ids, owner = [cls], [-1]
    for number, sentence in enumerate(report):
        ids += sentence
        owner += [number] * len(sentence)
    return [*ids, sep], [*owner, -1]


class ReportEncoder(nn.Module):
    """Tokens to sentence vectors; ``dim`` is their length."""

    def __init__(self, network: nn.Module, tokenizer: Tokenizer, *, freeze: int = 0) -> None:
        """:param freeze: lower layers, with the embeddings, that are not trained; 0 trains all.

        :raises EncoderError: where the tokenizer has pieces that the network has no vector for.
        """
        super().__init__()
        self.network, self.tokenizer, self.freeze = network, tokenizer, freeze
        config: Any = network.config
        self.dim = int(config.hidden_size)
        self.budget = min(BUDGET, int(config.max_position_embeddings) - 2)
        if tokenizer.size > int(config.vocab_size):
            raise EncoderError(
                f"The tokenizer has {tokenizer.size} pieces and the text model vectors for {config.vocab_size}",
                do="Use the tokenizer that the model was trained with",
            )
        if freeze:
            layers: Any = network.encoder.layer  # type: ignore[union-attr]
            if freeze > len(layers):
                raise ConfigError(f"freeze = {freeze}", expected=f"at most the model's {len(layers)} layers")
            for part in (network.embeddings, *layers[:freeze]):
                part.requires_grad_(False)

    def forward(self, tokens: Tokens) -> Tensor:
        """Vectors of sentences [N, M, D]; those that a report does not have are 0.

        On a CPU long reports are read together with those of like length: padding costs as much there as words do.
        """
        count = tokens.mask.shape[1]
        if tokens.ids.device.type != "cpu" or tokens.ids.shape[1] <= SHORT:
            return self._read(tokens, count)
        lengths = (tokens.sentence != -2).sum(1)
        order = lengths.argsort(stable=True)
        parts = []
        for start in range(0, len(order), TOGETHER):
            rows = order[start : start + TOGETHER]
            width = int(lengths[rows[-1]])
            parts.append(self._read(Tokens(tokens.ids[rows, :width], tokens.sentence[rows, :width]), count))
        return torch.cat(parts)[order.argsort()]

    def _read(self, tokens: Tokens, count: int) -> Tensor:
        """Vectors [N, ``count``, D] of reports that are read at once."""
        hidden = self.network(input_ids=tokens.ids, attention_mask=(tokens.sentence != -2).long()).last_hidden_state
        owner = torch.where(tokens.sentence < 0, count, tokens.sentence)
        vectors = hidden.new_full((len(hidden), count + 1, hidden.shape[-1]), float("-inf"))
        index = owner[..., None].expand_as(hidden)
        vectors = vectors.scatter_reduce(1, index, hidden, "amax", include_self=True)[:, :count]
        missing = torch.arange(count, device=owner.device) > tokens.sentence.amax(1)[:, None]
        kept: Tensor = vectors.masked_fill(missing[..., None], 0)
        return kept

    def tokens(self, reports: Sequence[Sequence[str]]) -> Tokens:
        """Reports, each a list of sentences, to tokens."""
        flat = iter(self.tokenizer.pieces([one for report in reports for one in report]))
        return self.tokenizer.join([[next(flat) for _ in report] for report in reports], self.budget)

    def describe(self) -> dict[str, Any]:
        """As a tower: what rebuilding needs beside the weights, as JSON."""
        config: Any = self.network.config
        special = {name: getattr(self.tokenizer, name) for name in ("cls", "sep", "pad")}
        kept = {key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "name_or_path")}
        said = {"version": VERSION, "kind": "report", "config": kept}
        return {**said, "tokenizer": self.tokenizer.text, "freeze": self.freeze, **special}


class ReportDescription(Description):
    """What :meth:`ReportEncoder.describe` gives; of the network the configuration that ``transformers`` knows."""

    config: dict[str, Any]
    tokenizer: str
    cls: int = Field(ge=0)
    sep: int = Field(ge=0)
    pad: int = Field(ge=0)
    freeze: int = Field(ge=0)

    @field_validator("config")
    @classmethod
    def _of_a_text_model(cls, config: dict[str, Any]) -> dict[str, Any]:
        """A configuration of pictures may name a network of the hub, which is fetched as it is rebuilt."""
        outside = [
            name
            for name, value in config.items()
            if "backbone" in name or (isinstance(value, dict) and "model_type" in value)
        ]
        large = [name for name, value in config.items() if isinstance(value, int) and value > LARGEST_NUMBER]
        if outside or large:
            raise ValueError(f"a text model's, without {', '.join(map(repr, outside + large))}")
        return config


def rebuild_report_encoder(said: dict[str, Any]) -> ReportEncoder:
    """The encoder that :meth:`ReportEncoder.describe` told of, with fresh weights."""
    from transformers import AutoConfig, AutoModel

    plain = {name: value for name, value in said["config"].items() if name != "auto_map" and not name.startswith("_")}
    config = AutoConfig.for_model(**plain)
    tokenizer = Tokenizer(said["tokenizer"], said["cls"], said["sep"], said["pad"])
    network: Any = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    return ReportEncoder(_without_pooler(network), tokenizer, freeze=said["freeze"])


def load_report_encoder(name: str, *, freeze: int = 0) -> ReportEncoder:
    """A Hugging Face model with its weights and tokenizer.

    :param name: a folder, ``minilm`` (an installed package's), or ``hf-hub:owner/model``, the only form that opens a network
        connection.
    :raises EncoderError: where there is none, or none that is read here.
    """
    _tokenizers()
    if name == MINILM and not Path(name).is_dir():
        return _minilm(freeze)
    from transformers import AutoModel, AutoTokenizer

    hub = name.startswith(HUB)
    if not hub and not Path(name).is_dir():
        raise EncoderError(f"There is no text model at {name}", expected="a folder, minilm, or hf-hub:owner/model")
    place = name.removeprefix(HUB) if hub else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=not hub, trust_remote_code=False)
        network = AutoModel.from_pretrained(
            place, local_files_only=not hub, trust_remote_code=False, weights_only=True
        )  # code in a model's folder or in its weights is never run
    except (OSError, ValueError) as error:
        raise EncoderError(f"The text model {name} cannot be loaded: {str(error).splitlines()[0]}") from None
    except Exception as error:  # of whichever pickle torch uses
        if type(error).__name__ != "UnpicklingError":
            raise
        raise EncoderError(
            f"The text model {name} cannot be loaded: its weights hold more than tensors, and code from a file is never run",
            do="Save them as safetensors",
        ) from None
    ids = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    if not getattr(tokenizer, "is_fast", False) or None in ids:
        raise EncoderError(
            f"The tokenizer of {name} is of a kind that is not read", expected="a fast one of the BERT family"
        )
    return ReportEncoder(_without_pooler(network), Tokenizer(tokenizer.backend_tokenizer.to_str(), *ids), freeze=freeze)


def _minilm(freeze: int) -> ReportEncoder:
    """all-MiniLM-L6-v2 out of its package's zip."""
    from transformers import BertConfig, BertModel

    with ZipFile(MINILM_WEIGHTS.path()) as files:
        said, tokenizer = json.loads(files.read("config.json")), files.read("tokenizer.json").decode()
        tensors = load(files.read("model.safetensors"))
    network = BertModel(BertConfig(**said), add_pooling_layer=False)
    network.load_state_dict(
        {
            name: value
            for name, value in tensors.items()
            if not name.startswith("pooler.") and "position_ids" not in name
        }
    )
    return ReportEncoder(network, Tokenizer.of(tokenizer), freeze=freeze)


def small_report_encoder(
    reports: Sequence[Sequence[str]],
    groups: Sequence[str] | NDArray[Any],
    *,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
    vocabulary: int = 4000,
    dropout: float = 0.1,
) -> ReportEncoder:
    """A BERT with random weights (torch's global generator) and a vocabulary learnt from ``reports``.

    :param reports: lists of sentences; ``groups`` the patient of each: no piece comes from a word of fewer than 20 patients.
    :raises ConfigError: where no word is shared by so many.
    """
    _tokenizers()
    from transformers import BertConfig, BertModel

    if width % heads:
        raise ConfigError(f"width = {width} and heads = {heads}", expected="a width that the heads share evenly")
    split, counts = splitter(), Counter[str]()
    owners: dict[str, set[str]] = {}
    for report, group in zip(reports, groups, strict=True):
        words = [word for sentence in report for word in split(sentence)]
        counts.update(words)
        for word in words:
            owners.setdefault(word, set()).add(str(group))
    pieces = learn_vocabulary(counts, {word: len(own) for word, own in owners.items()}, size=vocabulary)
    tokenizer = Tokenizer.of(word_tokenizer(pieces))
    if len(pieces) == 5:
        raise ConfigError(
            f"No word stands in the reports of 20 patients ({len(set(map(str, groups)))} have reports)",
            do="Give a text model: --set text.model=FOLDER or hf-hub:owner/model",
        )
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=tokenizer.pad,
    )
    return ReportEncoder(BertModel(config, add_pooling_layer=False), tokenizer)


def _without_pooler(network: Any) -> Any:
    """The network without BERT's pooler, which nothing here reads or trains."""
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return network


def _tokenizers() -> Any:
    """The package; :raises MissingExtra: where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise MissingExtra("transformers", "text", "Learning from reports") from None
    return tokenizers
