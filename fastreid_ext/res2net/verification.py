"""Whether two descriptors show one person (section II.D, eq. 3 to 5); plain tensors, neither cfg nor FastReID."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.precision import at_least_float32, without_autocast

SAME = 0  # q_1 = 1 where both images show the same person; the other class is 1


class PairVerification(nn.Module):
    """The square layer (eq. 3) and the two-way linear layer behind it (eq. 4), in float32 or better.

    Args:
        dim: D, length of the descriptor.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, 2)
        # So small that squares of any size start near a probability of 1/2.
        nn.init.normal_(self.linear.weight, std=0.001)
        nn.init.zeros_(self.linear.bias)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Descriptors (P, D) and (P, D) of P pairs -> logits (P, 2), of "same" and of "different"."""
        with without_autocast(first):
            square = (at_least_float32(first) - at_least_float32(second)).square()
            return F.linear(square, self.linear.weight.to(square.dtype), self.linear.bias.to(square.dtype))

    def probability(self, first: Tensor, second: Tensor) -> Tensor:
        """Descriptors (P, D) and (P, D) -> probability (P,) that a pair shows the same person (eq. 4)."""
        return self(first, second).softmax(dim=1)[:, SAME]

    @torch.no_grad()
    def log_odds(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Return log(q_1 / q_2) of each query (Q, D) with each gallery image (G, D), (Q, G) in float64.

        The square is multiplied out, which makes it a product of two matrices: memory is that of the result. The terms
        cancel where two descriptors are close, hence float64.
        """
        queries, gallery = queries.double(), gallery.double()
        weight, bias = (x.double().to(queries.device) for x in (self.linear.weight, self.linear.bias))
        weight, bias = weight[SAME] - weight[1 - SAME], bias[SAME] - bias[1 - SAME]
        squares = [x.square() @ weight for x in (queries, gallery)]
        return torch.addmm(squares[0][:, None] + squares[1] + bias, queries * weight, gallery.T, alpha=-2)


def verification_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Cross entropy of the two classes (eq. 5), the mean over the pairs.

    Args:
        logits: (P, 2) of :class:`PairVerification`, any float type; computed in float32 or better.
        same: (P,) bool, True where both images show one person. All pairs may be of one kind.

    Returns:
        A scalar.

    Raises:
        ValueError: no pair, or shapes that do not fit.
    """
    if logits.dim() != 2 or logits.shape[1] != 2 or same.shape != logits.shape[:1] or logits.shape[0] == 0:
        raise ValueError(
            f"expected logits (P, 2) and same (P,) with P > 0, got {tuple(logits.shape)} and {tuple(same.shape)}"
        )
    with without_autocast(logits):
        return F.cross_entropy(at_least_float32(logits), torch.where(same.bool(), SAME, 1 - SAME))
