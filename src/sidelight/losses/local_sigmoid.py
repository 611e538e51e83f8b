r"""Is this sentence said of this image? Asked of every pair by itself, with a sigmoid, and answered by the image's regions.

Zhai, Mustafa, Kolesnikov, Beyer: Sigmoid Loss for Language Image Pre-Training (ICCV 2023) asks it of whole images and texts.
`attended_cosines` lets each sentence pool the regions of an image that are like it; `pair_sigmoid` is the loss of the answers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sidelight.errors import ConfigError
from sidelight.losses import checks
from sidelight.losses.chunks import Chunk, rows_at_a_time, transformed


def attended_cosines(regions: Tensor, sentences: Tensor, *, temperature: float = 0.1, chunk: Chunk = "auto") -> Tensor:
    r"""How near each of T sentences lies to each of N images, by the regions that it attends to.

    With r the regions and s the sentences, all of length 1,

        a_ijk = softmax_k(r_ik . s_j / tau),    c_ij = cos(sum_k a_ijk r_ik, s_j).

    :param regions: float [N, K, D]; ``sentences`` float [T, D].
    :param temperature: tau > 0: near 0 the likest region alone counts, a large one is their mean.
    :param chunk: images computed at a time, and again in the backward pass; "auto" is all of them (``None``) below 512 images.
    :return: float32 (float64 for float64 inputs) [N, T], in [-1, 1].
    :raises ConfigError: for shapes or values that do not fit.

    >>> image = torch.eye(2)[None]  # two regions, of which a sentence is the first
    >>> [round(attended_cosines(image, torch.eye(2)[:1], temperature=t).item(), 4) for t in (0.01, 100.0)]
    [1.0, 0.7106]
    """
    checks.check_vectors("regions", regions, 3)
    checks.check_vectors("sentences", sentences, 2)
    if regions.shape[-1] != sentences.shape[-1]:
        raise ConfigError(
            f"regions is {tuple(regions.shape)} and sentences is {tuple(sentences.shape)}",
            expected="[N, K, D] and [T, D]",
        )
    checks.check_temperature(temperature)
    rows = rows_at_a_time(chunk, len(regions))
    with checks.full_precision(regions):
        each, said = checks.unit(regions, sentences)
        if rows is None:
            return _cosines(each, said, temperature)
        blocks = torch.split(each, rows)
        if not torch.is_grad_enabled() or transformed():
            return torch.cat([_cosines(some, said, temperature) for some in blocks])
        return torch.cat([checkpoint(_cosines, some, said, temperature, use_reentrant=False) for some in blocks])


def pair_sigmoid(
    cosines: Tensor, owners: Tensor, *, scale: float | Tensor, bias: float | Tensor, known: Tensor | None = None
) -> Tensor:
    r"""Each pair of an image and a sentence is a question of its own: is the sentence said of the image?

    With z_ij = 1 where sentence j is of image i and else -1,

        L = -1/T sum_ij log sigmoid( z_ij (t c_ij + b) ):

    the mean over sentences of what they cost over all images.
    Source: Zhai et al., the sigmoid loss, where images and texts are as many (t begins at 10, b at -10).

    :param cosines: c, float [N, T]; ``owners`` integers [T], the image of each sentence.
    :param scale: t, a float or a 0-d tensor, which then receives a gradient; ``bias`` b alike.
    :param known: bool [N, T], False where a pair is not asked about; None asks about all. A sentence and its own image
        always are one.
    :return: a scalar >= 0.
    :raises ConfigError: for shapes, types or values that do not fit.

    >>> round(pair_sigmoid(torch.eye(2), torch.arange(2), scale=0.0, bias=0.0).item(), 5)  # four coins, two sentences: 2 log 2
    1.38629
    """
    checks.check_vectors("cosines", cosines, 2)
    count, said = cosines.shape
    owners = checks.check_integers("owners", owners, (said,)).flatten()
    if checks.true(((owners < 0) | (owners >= count)).any()):
        raise ConfigError("owners has an image that is not there", expected=f"0 to {count - 1}")
    if known is not None and (known.dtype != torch.bool or known.shape != cosines.shape):
        raise ConfigError(f"known is {checks.describe(known)}", expected=f"bool {tuple(cosines.shape)}")
    with checks.full_precision(cosines):
        own = torch.arange(count, device=owners.device)[:, None] == owners
        logits = cosines.to(torch.promote_types(cosines.dtype, torch.float32)) * scale + bias
        each = F.softplus(
            torch.where(own, -logits, logits), threshold=40.0
        )  # beyond it log(1 + exp(x)) is x in float64 too
        asked = torch.ones_like(own) if known is None else known | own
        loss: Tensor = (each * asked).sum() / said
        return loss


def _cosines(regions: Tensor, sentences: Tensor, temperature: float) -> Tensor:
    """Of unit regions [n, K, D] and unit sentences [T, D]: [n, T]."""
    weights = (sentences @ regions.mT / temperature).softmax(-1)  # [n, T, K]
    return (F.normalize(weights @ regions, dim=-1) * sentences).sum(-1)
