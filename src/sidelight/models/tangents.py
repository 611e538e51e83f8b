"""Forward-mode derivatives of a network for less than a forward and a backward pass.

A plain forward-mode pass repeats the whole primal pass and differentiates batch normalisation through a dozen
elementwise operations. Two facts save about 40 % of it:

- the primal pass has run before, at the same parameters, so the outputs of its convolutions can be kept
  (:class:`Tape`);
- the Jacobian of batch normalisation with respect to its input is symmetric up to the scale, so the fused backward
  kernel computes the tangent too.

Everything else goes through ``torch.autograd.forward_ad`` unchanged.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
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


def jvp(
    function: Callable[[Tensors], Tensor], parameters: Tensors, tangents: Tensors, tape: Tape | None = None
) -> Tensor:
    """The derivative of ``function`` at ``parameters`` in direction ``tangents``, in the shape of its value.

    :param function: of named tensors; buffers that it changes in place must be its own copies.
    :param tape: recorded while ``function`` ran at the same parameters; it is used up.
    """
    faster = _Replay(tape) if tape is not None else nullcontext()
    with torch.no_grad(), forward_ad.dual_level(), faster:
        value, tangent = _parts(function({name: _dual(p, tangents[name]) for name, p in parameters.items()}))
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


def _convolution(
    value: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None, *how: Any, **named: Any
) -> Tensor:
    """Product rule: conv(x', w) + conv(x, w') + b'."""
    (x, dx), (weight, dw) = _parts(x), _parts(weight)
    db = None if bias is None else _parts(bias)[1]
    terms = [] if dw is None else [torch.conv2d(x, dw, db, *how, **named)]
    terms += [] if dx is None else [torch.conv2d(dx, weight, None, *how, **named)]
    return _dual(value, sum(terms[1:], terms[0])) if terms else value


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
    """J x' + w' x_hat + b', where J = (w / sd) (1 - 1 1^T / n - x_hat x_hat^T / n) = J^T: J x' is a backward pass."""
    value, dx = _parts(x)
    if not training or dx is None or weight is None or bias is None:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    (weight, dw), (bias, db) = _parts(weight), _parts(bias)
    out, mean, inverse = torch.native_batch_norm(value, weight, bias, None, None, True, momentum, eps)
    tangent: Tensor = torch.ops.aten.native_batch_norm_backward(
        dx, value, weight, None, None, mean, inverse, True, eps, [True, False, False]
    )[0]
    shape = (1, -1, *[1] * (value.ndim - 2))
    slope = torch.zeros_like(mean) if dw is None else dw * inverse
    shift = -slope * mean if db is None else db - slope * mean
    return _dual(out, tangent.add_(shift.view(shape)).addcmul_(slope.view(shape), value))


def _parts(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    value, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return value, tangent


def _dual(value: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return dual
