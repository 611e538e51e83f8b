"""Log-sum-exp over rows of a similarity matrix that is never whole in memory.

A contrast of N anchors with M keys needs one number per row of the N x M matrix of similarities. The rows are computed
a few at a time and, in the backward pass, once more (non-reentrant checkpointing), so that memory is O(rows x M), not
O(N x M). Among the views of one contrast (:func:`log_sum_exp_of_views`) the matrix is symmetric and half of it will do,
which makes up for computing it twice. It is ordinary autograd throughout: double backward passes through the recomputation.

Limits: inside ``torch.func`` transforms and forward-mode levels nothing is recomputed, because checkpointing's hooks
are refused there (``torch.func.grad``) or would recompute without the tangents (``jvp``, ``dual_level``). A pure
forward-mode pass keeps no matrix anyhow; reverse mode inside such a transform takes the memory of the plain form. The
first recomputed block of a process imports torch's compiler, as any checkpointing does: a second or two, 150 MB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sidelight.errors import ConfigError

Chunk = int | Literal["auto"] | None
Block = tuple[slice, slice]

PLAIN_BELOW = 512  # pairs; under this the whole matrix is small and as fast
ROWS = 256  # at 4,096 pairs the fastest on a CPU; 512 is as fast and takes more memory, 64 loses time on every block
WIDEST = 40.0  # exp(x - 40) is a normal float32 for every similarity x in [-40, 40]: temperatures from 0.025
EVERYTHING: Block = (slice(None), slice(None))


def rows_at_a_time(chunk: Chunk, pairs: int) -> int | None:
    """Rows per block that ``chunk`` asks for, ``None`` for the plain form; :raises ConfigError: if it is neither."""
    if chunk is None:
        return None
    if isinstance(chunk, int) and not isinstance(chunk, bool) and chunk > 0:
        return chunk
    if chunk == "auto":
        return None if pairs < PLAIN_BELOW else ROWS
    raise ConfigError(f"chunk={chunk!r}", expected='"auto", None (plain), or a positive number of rows')


def floor(dtype: torch.dtype) -> float:
    """What an excluded similarity sinks to: finite, so that a row without any key has gradient 0 and not NaN."""
    return torch.finfo(dtype).min / 4


@dataclass(frozen=True)
class Excluded:
    """The keys that stay out of each row's sum: any of the three kinds, together.

    ``own`` int64 [L, N, k] names k columns per row; ``groups`` [L, N] and ``key_groups`` [L, M] exclude keys of the
    row's own group; ``allowed`` bool [L, N, M] excludes where it is False. The first two never make an N x M mask.
    """

    own: Tensor | None = None
    groups: Tensor | None = None
    key_groups: Tensor | None = None
    allowed: Tensor | None = None

    def penalty(self, block: Block, like: Tensor, keys: int) -> Tensor:
        """``floor`` where a key is excluded and else 0, [l, n, M], for the rows ``block`` of the whole."""
        penalty, low = like.new_zeros(*like.shape[:2], keys), floor(like.dtype)
        if self.groups is not None and self.key_groups is not None:
            same = self.groups[block].unsqueeze(-1) == self.key_groups[block[0]].unsqueeze(-2)
            penalty = penalty.masked_fill_(same, low)
        if self.allowed is not None:
            penalty = penalty.masked_fill_(~self.allowed[block], low)
        return penalty if self.own is None else penalty.scatter_(-1, self.own[block], low)


def log_sum_exp(queries: Tensor, keys: Tensor, excluded: Excluded, rows: int | None) -> Tensor:
    """``log sum_j exp(q_i . k_j)`` over the keys j that are not excluded for i.

    :param queries: float [L, N, D], already divided by the temperature. ``keys``: float [L, M, D].
    :param rows: rows of the L*N computed at a time; ``None`` computes all at once and keeps them for backward.
    :return: float [L, N]; below ``floor(dtype) / 2`` exactly where every key is excluded.
    """
    if rows is None:
        return _row_sums(queries, keys, excluded, EVERYTHING).reshape(queries.shape[:-1])
    if not torch.is_grad_enabled() or transformed():
        parts = [_row_sums(some, theirs, excluded, block) for some, theirs, block in _blocks(queries, keys, rows)]
    else:
        parts = [
            checkpoint(_row_sums, some, theirs, excluded, block, use_reentrant=False, preserve_rng_state=False)
            for some, theirs, block in _blocks(queries, keys, rows)
        ]
    return torch.cat(parts).reshape(queries.shape[:-1])


def log_sum_exp_of_views(anchors: Tensor, views: Tensor, groups: Tensor | None, bound: float, rows: int) -> Tensor:
    """``log sum_j exp(a_i . v_j)`` over the views j of other pairs: half the work where a_i . v_j = a_j . v_i.

    Strip by strip, only similarities on and above the diagonal are computed; each counts in its row and in its column.
    All of them share one constant, so that ``bound`` may be ``WIDEST`` at most. Not inside transforms.

    :param anchors: float [2N, D], the views over the temperature; ``views`` float [2N, D]; view i and i + N are a pair.
    :param groups: integers [2N], whose members are left out, or ``None``: the pair itself.
    :param bound: no similarity is larger. :return: as :func:`log_sum_exp`, [2N].
    """
    total = anchors.new_zeros(len(views))
    for start in range(0, len(views), rows):
        strip = (anchors[start : start + rows], views[start:], None if groups is None else groups[start:], bound)
        sums = checkpoint(_strip_sums, *strip, len(views) // 2, use_reentrant=False, preserve_rng_state=False)
        total = total + functional.pad(sums, (start, 0))
    log = total.clamp_min(torch.finfo(total.dtype).tiny).log() + bound
    return torch.where(total == 0, floor(total.dtype), log)  # not <= 0: a NaN stays one


def _strip_sums(anchors: Tensor, views: Tensor, groups: Tensor | None, bound: float, pairs: int) -> Tensor:
    """Sums of exp(a.v - bound) that the strip [n, M] adds to its own rows and, by symmetry, to the columns after them."""
    count = len(anchors)
    logits = views.new_full((count, len(views)), -bound)
    if groups is None:
        for offset in (0, pairs, -pairs):
            logits.diagonal(offset).fill_(floor(logits.dtype))
    else:
        logits.masked_fill_(groups[:count, None] == groups, floor(logits.dtype))
    each = logits.addmm_(anchors, views.T).exp_()
    return torch.cat([each.sum(1), each[:, count:].sum(0)])


def _row_sums(queries: Tensor, keys: Tensor, excluded: Excluded, block: Block) -> Tensor:
    """The block's rows in one line, [l * n]."""
    logits = _add_product(excluded.penalty(block, queries, keys.shape[1]), queries, keys)
    # In place, so that a block keeps one matrix. The maximum may be a constant: the sum does not depend on it.
    top = logits.detach().amax(-1, keepdim=True)
    return (logits.sub_(top).exp_().sum(-1).log() + top.squeeze(-1)).flatten()


def _add_product(penalty: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """``penalty + queries keys^T``, [l, n, M] or, of one contrast, [n, M].

    An excluded entry is lost in the rounding of its penalty and has gradient exp(floor - top) = 0: backward needs no
    mask, and one matrix less than masked_fill.
    """
    if torch._C._are_functorch_transforms_active():
        return penalty + queries @ keys.mT  # vmap cannot write a batch into the penalty
    if len(queries) == 1:  # in a batch of one the product would be slower
        return penalty[0].detach().addmm_(queries[0], keys[0].mT)
    return penalty.baddbmm_(queries, keys.mT)


def _blocks(queries: Tensor, keys: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor, Block]]:
    """Blocks of about ``rows`` rows in row-major order: several small contrasts, or a part of a large one."""
    count = queries.shape[1]
    step = max(1, rows // count)
    contrasts = zip(torch.split(queries, step), torch.split(keys, step), strict=True)
    for first, (some, theirs) in zip(range(0, len(queries), step), contrasts, strict=True):
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            # Here a slice, not split: its gradient is summed as the keys' is, into one tensor. The small ones that split
            # keeps until the end land in the holes that the keys' gradients leave, and the heap grows at every block.
            yield some[:, part], theirs, (slice(first, first + step), part)


def transformed() -> bool:
    """Whether a ``torch.func`` transform or a forward-mode level is at work, where nothing can be recomputed."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
