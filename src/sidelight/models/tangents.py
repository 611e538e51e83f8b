"""Forward-mode derivatives of a network for less than a forward and a backward pass.

A plain forward-mode pass repeats the whole primal pass and differentiates batch normalisation through a dozen elementwise
operations. Two facts save about 40 % of it:

- the primal pass has run before, at the same parameters, so the outputs of its convolutions can be kept (:class:`Tape`);
- the Jacobian of batch normalisation with respect to its input is symmetric up to the scale, so the fused backward kernel
  computes the tangent too.

Everything else goes through ``torch.autograd.forward_ad`` unchanged.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

Tensors = Mapping[str, Tensor]


class Tape(TorchFunctionMode):
    """Remembers the outputs of the convolutions that run inside ``with tape:``, in order, without copying them."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: deque[tuple[Tensor, int]] = deque()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is torch.conv2d:
            self.outputs.append((output.detach(), output._version))
        return output

    def take(self) -> Tensor | None:
        """The next output; None where there is none or where an operation in place has changed it since."""
        output, version = self.outputs.popleft() if self.outputs else (None, 0)
        return output if output is not None and output._version == version else None


def jvp(function: Callable[[Tensors], Tensor], parameters: Tensors, tangents: Tensors, tape: Tape | None = None) -> Tensor:
    """The derivative of ``function`` at ``parameters`` in direction ``tangents``, in the shape of its value.

    :param function: of named tensors; buffers that it changes in place must be its own copies.
    :param tape: recorded while ``function`` ran at the same parameters; it is used up.
    """
    faster = _Replay(tape) if tape is not None else nullcontext()
    with torch.no_grad(), forward_ad.dual_level(), faster:
        value = function({name: forward_ad.make_dual(p, tangents[name]) for name, p in parameters.items()})
        tangent = forward_ad.unpack_dual(value).tangent
    return torch.zeros_like(value) if tangent is None else tangent


class _Replay(TorchFunctionMode):
    """Inside it convolutions take their values from the tape and compute tangents only; so does batch normalisation."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d:
            value = self.tape.take()
            return func(*args, **kwargs) if value is None else _convolution(value, *args, **kwargs)
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _convolution(value: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None, *how: Any, **named: Any) -> Tensor:
    """Product rule: conv(x', w) + conv(x, w') + b'."""
    (x, dx), (weight, dw) = forward_ad.unpack_dual(x), forward_ad.unpack_dual(weight)
    db = None if bias is None else forward_ad.unpack_dual(bias).tangent
    parts = [torch.conv2d(x, dw, db, *how, **named)] if dw is not None else []
    parts += [torch.conv2d(dx, weight, None, *how, **named)] if dx is not None else []
    tangent = sum(parts[1:], parts[0]) if parts else None
    return value if tangent is None else forward_ad.make_dual(value, tangent)


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """With g = weight, s = 1 / sd: tangent = J x' + g' x_hat + b', where J = g s (1 - 1 1^T / n - x_hat x_hat^T / n) = J^T."""
    (value, dx), duals = forward_ad.unpack_dual(x), [None if p is None else forward_ad.unpack_dual(p) for p in (weight, bias)]
    if not training or dx is None or duals[0] is None or duals[1] is None:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    (g, dg), (b, db) = duals
    out, mean, inverse = torch.native_batch_norm(value, g, b, None, None, True, momentum, eps)
    tangent = torch.ops.aten.native_batch_norm_backward(
        dx, value, g, None, None, mean, inverse, True, eps, [True, False, False]
    )[0]
    if dg is not None and db is not None:
        shape = (1, -1, *[1] * (value.ndim - 2))
        slope = dg * inverse
        tangent = tangent.add_((db - slope * mean).view(shape)).addcmul_(slope.view(shape), value)
    return forward_ad.make_dual(out, tangent)


