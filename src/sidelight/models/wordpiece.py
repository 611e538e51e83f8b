"""A WordPiece vocabulary learnt from the user's own reports, of pieces that many patients share.

Pieces are merged by frequency, as byte-pair encoding does (Sennrich et al., ACL 2016), from words that enough patients' reports
hold; so every piece is part of such a word, and no rare name can be read off the vocabulary. The same counts give the same
vocabulary, in the same order.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LEAST_PATIENTS = 20


def learn_vocabulary(
    words: Mapping[str, int], patients: Mapping[str, int], *, size: int = 4000, least: int = LEAST_PATIENTS
) -> list[str]:
    """The pieces, special ones first, at most ``size`` beside single letters.

    :param words: how often each word occurs; ``patients`` in how many patients' reports.
    :param least: words of fewer patients are not looked at.
    """
    known = {word: count for word, count in words.items() if word and patients.get(word, 0) >= least}
    pieces = {word: [word[0], *(f"##{letter}" for letter in word[1:])] for word in sorted(known)}
    alphabet = sorted({piece for parts in pieces.values() for piece in parts})
    vocabulary = dict.fromkeys([*SPECIAL, *alphabet])
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = defaultdict(set)
    for word, parts in pieces.items():
        _count(word, parts, known[word], pairs, where)
    while len(vocabulary) < size and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        vocabulary[best[0] + best[1].removeprefix("##")] = None
        for word in sorted(where[best]):
            _count(word, pieces[word], -known[word], pairs, where)
            pieces[word] = _merged(pieces[word], best)
            _count(word, pieces[word], known[word], pairs, where)
        del pairs[best]
    return list(vocabulary)


def _count(
    word: str, parts: list[str], times: int, pairs: "Counter[tuple[str, str]]", where: dict[tuple[str, str], set[str]]
) -> None:
    """Add the neighbouring pairs of one word, or take them away."""
    for pair in pairwise(parts):
        pairs[pair] += times
        if pairs[pair] <= 0:
            del pairs[pair]
        (where[pair].add if times > 0 else where[pair].discard)(word)


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part.removeprefix("##")
        else:
            merged.append(part)
    return merged


def word_tokenizer(vocabulary: Iterable[str]) -> str:
    """The tokenizer of a vocabulary as JSON (Hugging Face ``tokenizers``): small letters, accents kept, WordPiece."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    ids = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # from_str reads words in the order of their ids, so equal vocabularies give equal text
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)


def splitter() -> Callable[[str], list[str]]:
    """The words of a sentence as :func:`word_tokenizer` sees them before it looks for pieces."""
    from tokenizers import normalizers, pre_tokenizers

    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    words = pre_tokenizers.BertPreTokenizer()
    return lambda text: [word for word, _ in words.pre_tokenize_str(normalizer.normalize_str(text))]
