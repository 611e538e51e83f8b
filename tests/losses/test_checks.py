import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.losses import info_nce, nt_xent

X, Y = torch.randn(4, 3), torch.randn(4, 3)
WRONG = [
    (nt_xent, (X, Y[:3]), {}, r"left is \(4, 3\) and right is \(3, 3\)"),
    (nt_xent, (X[None], Y[None]), {}, r"left is float32 \(1, 4, 3\)"),
    (nt_xent, (X.long(), Y), {}, r"left is int64"),
    (nt_xent, (X[:0], Y[:0]), {}, "not empty"),
    (nt_xent, (X, Y), {"temperature": 0.0}, "positive number"),
    (nt_xent, (X, Y), {"temperature": float("nan")}, "positive number"),
    (nt_xent, (X, Y), {"temperature": torch.ones(1)}, "0-d float tensor"),
    (nt_xent, (X, Y), {"weights": torch.ones(3)}, r"weights is float32 \(3,\). Expected: shape \(4,\)"),
    (nt_xent, (X, Y), {"weights": torch.ones(())}, "weights is"),
    (nt_xent, (X, Y), {"weights": torch.tensor([1.0, 1, 1, -1])}, "weights has negative"),
    (nt_xent, (X, Y), {"weights": torch.zeros(4)}, "only zeros"),
    (nt_xent, (X, Y), {"groups": torch.ones(4)}, "groups is float32"),
    (nt_xent, (X, Y), {"groups": torch.arange(8)}, r"groups is int64 \(8,\)"),
    (nt_xent, (X, Y), {"reduction": "max"}, "reduction='max'"),
    (nt_xent, (X, Y), {"chunk": 0}, "chunk=0"),
    (nt_xent, (X, Y), {"chunk": "all"}, "chunk='all'"),
    (nt_xent, (X, Y), {"chunk": True}, "chunk=True"),
    (info_nce, (X[0], Y[0]), {}, "queries is"),
    (info_nce, (X, Y[:, :2]), {}, r"keys is \(4, 2\)"),
    (info_nce, (X.expand(2, 4, 3), Y.expand(3, 4, 3)), {}, "queries is"),
    (info_nce, (X, Y[:3]), {}, "as many keys as queries"),
    (info_nce, (X, Y), {"targets": torch.tensor([0, 1, 2, 4])}, "0 to 3"),
    (info_nce, (X, Y), {"targets": torch.tensor([0, 1, 2, -1])}, "0 to 3"),
    (info_nce, (X, Y), {"targets": torch.arange(3)}, r"targets is int64 \(3,\)"),
    (info_nce, (X, Y), {"targets": torch.ones(4)}, r"targets is float32 \(4,\)"),
    (info_nce, (X, Y), {"targets": torch.diag(torch.tensor([1.0, 1, 0, 1]))}, "row of zeros"),
    (info_nce, (X, Y), {"targets": -torch.ones(4, 4)}, "negative value"),
    (info_nce, (X, Y), {"key_groups": torch.arange(4)}, "key_groups without groups"),
    (info_nce, (X, Y[:3]), {"groups": torch.arange(4), "targets": torch.zeros(4).long()}, "key_groups too"),
    (info_nce, (X, Y), {"mask": torch.ones(4, 4)}, "mask is float32"),
    (info_nce, (X, Y), {"mask": torch.ones(4, 3).bool()}, r"mask is bool \(4, 3\)"),
]


@pytest.mark.parametrize(("loss", "tensors", "options", "message"), WRONG)
def test_what_does_not_fit_is_named(loss, tensors, options, message):
    with pytest.raises(ConfigError, match=message):
        loss(*tensors, **{"temperature": 0.5} | options)
