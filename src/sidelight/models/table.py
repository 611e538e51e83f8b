"""The tabular tower: a transformer over attribute tokens, saved with the vocabulary that its codes need.

After TRACE (Christopoulos et al., github DionysisChristopoulos/TRACE). Token order: [CLS], then one token per column.
No positions: identity comes from each column's own tables. Two recipes differ in how cells become tokens:

``trace``
    Numbers through one joint network R^n -> d -> n x d (SELU), a token set to zero where its number is 0; so a missing
    number and a true 0 are one, and a missing number still reaches the others. A missing category is a row that is
    never trained; missing tokens stay in attention. Pooling is the mean of all tokens but [CLS].
``columns``
    A number is its column's vector times the z-score plus the column's own; a cell that is missing, asked in vain or
    unseen is a learned vector of its column; missing tokens are masked out of attention unless ``missing = "embed"``.
    Pooling is [CLS].
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from sidelight.data.cohort.metadata import ASKED, KNOWN, MISSING, UNSEEN, Codes, Vocabulary
from sidelight.models.heads import mlp
from sidelight.models.towers import VERSION, Description, Width, read_tower, rebuilding

Recipe = Literal["columns", "trace"]
KIND = "table"


class TableDescription(Description):
    """What :meth:`TableEncoder.describe` gives."""

    width: Width
    depth: Width
    heads: Width
    projection: Width
    recipe: Recipe
    missing: Literal["mask", "embed"]
    vocabulary: dict[str, Any]


class Tokens(nn.Module):
    """Codes of N rows with K columns to tokens [N, K, d]: everything that belongs to one set of columns."""

    offset: Tensor
    spread: Tensor
    blank: Tensor

    def __init__(self, vocabulary: Vocabulary, width: int, recipe: Recipe) -> None:
        super().__init__()
        self.recipe, columns = recipe, vocabulary.columns
        kinds = [column.kind for column in columns]
        sizes = [len(column.values) if column.kind == "categorical" else 0 for column in columns]
        offsets = torch.tensor([0, *sizes]).cumsum(0)[:-1]
        self.register_buffer("offset", offsets, persistent=False)
        for kind in ("numeric", "categorical", "checkbox"):
            place = torch.tensor([at for at, one in enumerate(kinds) if one == kind], dtype=torch.int64)
            self.register_buffer(f"{kind}_at", place, persistent=False)
        boxes = [at for at, one in enumerate(kinds) if one == "checkbox"]
        owners = [place for place, at in enumerate(boxes) for _ in columns[at].values]
        spread = torch.zeros(len(owners), len(boxes))
        spread[torch.arange(len(owners)), torch.tensor(owners, dtype=torch.int64)] = 1.0
        self.register_buffer("spread", spread, persistent=False)
        scale = 0.02 if recipe == "trace" else width**-0.5
        self.values = nn.Parameter(scale * torch.randn(max(sum(sizes), 1), width))
        self.options = nn.Parameter(scale * torch.randn(max(len(owners), 1), width))
        numbers = kinds.count("numeric")
        if recipe == "trace":
            first, second = nn.Linear(max(numbers, 1), width), nn.Linear(width, numbers * width)
            for part in (first, second):
                nn.init.normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
            self.joint = nn.Sequential(first, nn.SELU(), second)
            self.register_buffer("blank", torch.empty(len(columns), width).uniform_(-scale, scale))
        else:
            self.slope = nn.Parameter(scale * torch.randn(max(numbers, 1), width))
            self.column = nn.Parameter(scale * torch.randn(len(columns), width))
            self.states = nn.Parameter(scale * torch.randn(3, len(columns), width))

    def forward(self, codes: Codes) -> Tensor:
        """Tokens [N, K, d] in the order of the columns."""
        count, columns = codes.state.shape
        parts = self.values.new_zeros(count, columns, self.values.shape[1])
        known = (codes.state == KNOWN).to(parts.dtype)[..., None]
        categorical, numeric, boxes = (getattr(self, f"{kind}_at") for kind in ("categorical", "numeric", "checkbox"))
        if len(categorical):
            looked_up = self.values[(codes.value + self.offset)[:, categorical]]
            parts = parts.index_copy(1, categorical, looked_up.to(parts.dtype))
        if len(boxes):
            ticked = (codes.ticks[:, :, None] * self.options).transpose(1, 2) @ self.spread
            parts = parts.index_copy(1, boxes, ticked.transpose(1, 2).to(parts.dtype))
        if self.recipe == "trace":
            return self._trace(codes, parts, known, numeric)
        if len(numeric):
            parts = parts.index_copy(1, numeric, (codes.number[:, numeric, None] * self.slope).to(parts.dtype))
        tokens: Tensor = parts * known + self.column
        for place, state in enumerate((MISSING, ASKED, UNSEEN)):
            tokens = tokens + (codes.state == state).to(parts.dtype)[..., None] * self.states[place]
        return tokens

    def _trace(self, codes: Codes, parts: Tensor, known: Tensor, numeric: Tensor) -> Tensor:
        tokens = parts * known + self.blank * (1 - known)
        if not len(numeric):
            return tokens
        numbers = codes.number[:, numeric]
        joint = self.joint(numbers).view(len(numbers), len(numeric), -1) * (numbers != 0)[..., None]
        whole: Tensor = tokens.index_copy(1, numeric, joint.to(tokens.dtype))
        return whole


class TableEncoder(nn.Module):
    """Codes to features [N, d] (:meth:`forward`) and to the joint space (:meth:`project`)."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        recipe: Recipe = "columns",
        missing: Literal["mask", "embed"] = "mask",
        projection: int = 128,
    ) -> None:
        super().__init__()
        self.vocabulary, self.recipe, self.missing = vocabulary, recipe, missing
        self.shape = {"width": width, "depth": depth, "heads": heads, "projection": projection}
        self.dim = width
        self.tokens = Tokens(vocabulary, width, recipe)
        self.start = nn.Parameter(width**-0.5 * torch.randn(width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=recipe == "columns"
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width) if recipe == "columns" else nn.Identity()
        self.projector = nn.Linear(width, projection) if recipe == "trace" else mlp(width, width, projection)

    def forward(self, codes: Codes) -> Tensor:
        """Codes of N rows (tensors) to float [N, d]."""
        tokens, mask = self._tokens(codes)
        for block in self.blocks:
            tokens = block(tokens, src_key_padding_mask=mask)
        pooled = tokens[:, 1:].mean(dim=1) if self.recipe == "trace" else self.norm(tokens[:, 0])
        return torch.as_tensor(pooled)

    def project(self, features: Tensor) -> Tensor:
        """Features [N, d] into the joint space [N, projection], not normalised."""
        return torch.as_tensor(self.projector(features))

    @torch.no_grad()
    def attention(self, codes: Codes) -> Tensor:
        """How much each column is attended to: float [N, K], rows sum to 1.

        Mean over heads and blocks; from [CLS] where that is pooled, else the mean over all tokens; [CLS] left out.
        """
        tokens, mask = self._tokens(codes)
        found = tokens.new_zeros(len(tokens), tokens.shape[1] - 1)
        for block in self.blocks:
            given: Any = block
            read = given.norm1(tokens) if given.norm_first else tokens
            _, weights = given.self_attn(read, read, read, key_padding_mask=mask, need_weights=True)
            found += (weights[:, 1:].mean(dim=1) if self.recipe == "trace" else weights[:, 0])[:, 1:]
            tokens = block(tokens, src_key_padding_mask=mask)
        return found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def describe(self) -> dict[str, Any]:
        """What rebuilding needs beside the tensors, as JSON."""
        own = {"recipe": self.recipe, "missing": self.missing, "vocabulary": self.vocabulary.to_json()}
        return {"version": VERSION, "kind": KIND, **self.shape, **own}

    def _tokens(self, codes: Codes) -> tuple[Tensor, Tensor | None]:
        """Tokens [N, 1 + K, d] with [CLS], and which of them attention leaves out."""
        tokens = self.tokens(codes)
        start = self.start.to(tokens.dtype).expand(len(tokens), 1, -1)
        whole = torch.cat([start, tokens], dim=1)
        if self.recipe == "trace" or self.missing == "embed":
            return whole, None
        gone = codes.state == MISSING
        return whole, torch.cat([torch.zeros_like(gone[:, :1]), gone], dim=1)


def load_table(path: Any, role: str) -> TableEncoder:
    """The tabular tower ``role`` of a run, in eval mode; :raises EncoderError: where there is none."""
    header, tensors = read_tower(path, role, kind=KIND, form=TableDescription)
    names = ("width", "depth", "heads", "projection", "recipe", "missing")
    with rebuilding(path, role):
        encoder = TableEncoder(Vocabulary.from_json(header["vocabulary"]), **{name: header[name] for name in names})
        encoder.load_state_dict(tensors)
        return encoder.eval()
