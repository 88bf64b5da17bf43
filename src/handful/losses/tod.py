"""TOD's unsupervised loss: a network's outputs stay near those of its own average over time.

Source: S. Huang, T. Wang, H. Xiong, J. Huan, D. Dou, "Semi-supervised active learning with
temporal output discrepancy", ICCV 2021.  With logits f of the student w, f~ of its teacher w~
(constant), on a labelled batch S and an unlabelled one U of b images and c classes::

    w~  <-  a_t w~ + (1 - a_t) w,   a_t = min(1 - 1 / (t + 1), alpha)    after step t = 1, 2, ...
    mse(f, g) = 1 / (b c) sum_i ||f_i - g_i||^2
    L_U = mse(f_S, f~_S) + mse(f_U, f~_U)
    L_U = mse(f_S, g_S) + mse(f_U, g_U) + mse(g_S, f~_S) + mse(g_U, f~_U)    two heads f and g

While the ramp is on, w~ is the mean of all w so far.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["ema_decay", "output_mse", "two_head_loss", "unsupervised_loss"]


def ema_decay(step: int, alpha: float) -> float:
    """``a_t = min(1 - 1 / (t + 1), alpha)`` after optimiser step t = 1, 2, ..."""
    return min(1 - 1 / (step + 1), alpha)


def output_mse(f: Tensor, g: Tensor) -> Tensor:
    """Mean over images and classes of ``(f - g)^2``, both ``(b, c)``; 0 for an empty batch."""
    return F.mse_loss(f, g) if len(f) else f.sum()


def unsupervised_loss(student: Tensor, teacher: Tensor, labelled: int) -> Tensor:
    """L_U of logits ``(b, c)`` whose first ``labelled`` rows are S, the rest U."""
    teacher = teacher.detach()
    return output_mse(student[:labelled], teacher[:labelled]) + output_mse(
        student[labelled:], teacher[labelled:]
    )


def two_head_loss(student: Tensor, second: Tensor, teacher: Tensor, labelled: int) -> Tensor:
    """L_U of the authors' code: head f against head g, and g against the teacher's f.

    All ``(b, c)``, the first ``labelled`` rows S, the rest U; f gets a gradient, too.
    """
    between = output_mse(student[:labelled], second[:labelled]) + output_mse(
        student[labelled:], second[labelled:]
    )
    return between + unsupervised_loss(second, teacher, labelled)
