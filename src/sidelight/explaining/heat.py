"""Where in a series a head sees a label: Grad-CAM of each slice on the slice's own map, and the attention over slices.

Selvaraju et al., ICCV 2017, per slice. Unlike on the output of a recurrent layer, whose last step alone reaches the head, every
slice that the head uses has a gradient here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols.series.planes import Plane
from sidelight.models.image import Encoder
from sidelight.models.series import GatedAttention

FINE = 6
"""Side in pixels from which a map is fine enough to point with; the last such map is used."""


@dataclass(frozen=True, eq=False)
class Heat:
    """One series: heat [L, K, h, w] >= 0 for L outputs and K slices, and the attention [L, K], or None without one."""

    maps: NDArray[np.float32]
    attention: NDArray[np.float32] | None

    def peak(self, output: int, size: int) -> tuple[int, int, int]:
        """Slice, row and column of the greatest heat in pixels of slices of side ``size``."""
        own = self.maps[output]
        at = np.unravel_index(int(own.argmax()), own.shape)
        centre = [(int(place) + 0.5) * size / side for place, side in zip(at[1:], own.shape[1:], strict=True)]
        return int(at[0]), int(centre[0]), int(centre[1])


def heat_of(encoder: Encoder, plane: Plane, pixels: Pixels, row: int) -> Heat:
    """Heat and attention of all slices of one series.

    :param plane: what :func:`sidelight.evaluation.protocols.series.series.fit_series` learnt from vectors
        (not maps) of this plane.
    :raises ConfigError: for a plane that reads maps, or a network that does not give its maps.
    """
    network: Any = encoder.network
    if plane.mean.ndim > 1 or not hasattr(network, "forward_head"):
        raise ConfigError(
            f"Grad-CAM of {encoder.name} with a head of this kind", do="Use series.aggregator=attention or max"
        )
    slices = torch.from_numpy(pixels.read(row, range(pixels.frames_of(row))))
    ready = encoder.preprocess(slices).to(encoder.mean.device)
    mode = encoder.training
    encoder.eval()
    plane.net.to(ready.device).eval()
    with torch.enable_grad():
        last, maps = network.forward_intermediates((ready - encoder.mean) / encoder.std)
        chosen = next((one for one in reversed(maps) if min(one.shape[-2:]) >= FINE), maps[0])
        vectors = network.forward_head(last, pre_logits=True)
        mean, scale = (torch.as_tensor(part, device=ready.device) for part in (plane.mean, plane.scale))
        ready_vectors = ((vectors - mean) / scale)[None]
        mask = torch.ones(1, len(slices), dtype=torch.bool, device=ready.device)
        logits = plane.net(ready_vectors, mask)[0]
        found = [_cam(logit, chosen) for logit in logits]
    attention = None
    if isinstance(plane.net, GatedAttention):
        attention = plane.net.attention(ready_vectors, mask)[0].T.detach().cpu().numpy()
    encoder.train(mode)
    return Heat(torch.stack(found).cpu().numpy(), attention)


def _cam(logit: Tensor, maps: Tensor) -> Tensor:
    """ReLU of the channels [K, C, h, w] weighted by the mean of their gradients: [K, h, w]."""
    (gradient,) = torch.autograd.grad(logit, maps, retain_graph=True)
    return (gradient.mean((2, 3), keepdim=True) * maps).sum(dim=1).relu().detach()
