"""SM3's first loss: the contrast of two photographs of one lesion. The second is :func:`label_cross_entropy`."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from sidelight.errors import TrainingError
from sidelight.losses.contrast import nt_xent

Style = Literal[0, 1, 2]
PAIRED: dict[int, tuple[tuple[int, int], ...]] = {
    0: ((0, 0), (1, 1)),
    1: ((0, 1), (1, 0)),
    2: ((0, 0), (1, 1), (0, 1), (1, 0)),
}
"""Which view of the first photograph meets which of the second, by pairing style."""


def crossed(
    joint: Tensor,
    *,
    temperature: float,
    style: Style = 0,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """The contrast between two photographs: the mean of the NT-Xent of the view pairs that ``style`` names.

    :param joint: float [N, 2, V, D]: lesion, photograph, view; ``groups``, ``weights`` and ``reduction`` as in
        :func:`nt_xent`, over lesions.
    """
    given: dict[str, Any] = {"temperature": temperature, "groups": groups, "weights": weights, "reduction": reduction}
    return torch.stack([nt_xent(joint[:, 0, a], joint[:, 1, b], **given) for a, b in PAIRED[style]]).mean(0)


def modality_terms(
    own: Tensor,
    joint: Tensor,
    *,
    temperature: float,
    style: Style = 0,
    present: Tensor | None = None,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms of SM3's first stage (the class v32 of the published code), each a mean over the lesions that it has.

    "first" and "second" let the two views of one photograph attract, "cross" the two photographs: the mean of the
    NT-Xent of the view pairs that ``style`` names (0: same numbers, 1: crossed, 2: all four).

    :param own: float [N, 2, 2, D]: lesion, photograph, view; the intra-modal projections. ``joint`` alike, the cross-modal.
    :param present: bool or integer [N, 2], which photographs there are; None is all. Rows of absent ones are not read.
    :param groups: integers [N]; lesions of one group are not each other's negatives.
    :param weights: float [N], how much the two photographs of each lesion count in "cross"; None is all alike.
    :return: scalars; a term that fewer than two groups of lesions have is left out.
    """
    there = torch.ones(own.shape[:2], dtype=torch.bool, device=own.device) if present is None else present.bool()
    rows = {"first": there[:, 0], "second": there[:, 1], "cross": there.all(1)}
    terms = {}
    for name, chosen in rows.items():
        kept = None if groups is None else groups[chosen]
        if (int(chosen.sum()) if kept is None else len(torch.unique(kept))) < 2:
            continue
        if name == "cross":
            counted = None if weights is None else weights[chosen]
            shown = joint[chosen]
            terms[name] = crossed(shown, temperature=temperature, style=style, groups=kept, weights=counted)
        else:
            one, two = own[chosen, list(rows).index(name)].unbind(1)
            terms[name] = nt_xent(one, two, temperature=temperature, groups=kept)
    return terms


def modality_contrast(terms: Mapping[str, Tensor], weights: Mapping[str, float] | None = None) -> Tensor:
    r"""SM3's first loss, from :func:`modality_terms`:

        L1 = NT(P_d d_1, P_d d_2) + NT(P_c c_1, P_c c_2) + 1/2 NT(X_d d_1, X_c c_1) + 1/2 NT(X_d d_2, X_c c_2)

    for style 0, with two other pairs for style 1 and four, a quarter each, for style 2 (arXiv 2310.18583; the factors are
    those of the published code).

    :param weights: of "first", "second" and "cross", 1 where not given.
    :raises TrainingError: where no term is left.
    """
    if not terms:
        raise TrainingError(
            "No photograph of this batch has a negative",
            expected="two lesions of different groups",
            do="Enlarge batch_size, or let more items repel each other (repel)",
        )
    given = weights or {}
    return torch.stack([given.get(name, 1.0) * term for name, term in terms.items()]).sum()
