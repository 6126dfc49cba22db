"""Desirability curves: from a property in its own units to a score in [0, 1], torch only.

The idea of Harrington 1965 and Derringer and Suich 1980. Every curve takes the property (any
shape, float64) and its parameters, and is defined for all real numbers.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

STEEP = 2 * math.log(19)  # logistic slope that goes from .05 to .95 over one unit


def window(x: Tensor, low: float, high: float, width: float | None = None) -> Tensor:
    """1 inside [low, high], outside exp(-(distance / width)^2 / 2); width 0 is a hard edge.

    `width` defaults to a quarter of the window, so a property half a window out scores .14.
    """
    _increasing("window", low, high)
    width = (high - low) / 4 if width is None else width
    if width < 0:
        raise ValueError(f"window needs width >= 0, got {width}")
    distance = (low - x).clamp(min=0) + (x - high).clamp(min=0)
    if width == 0:
        return (distance == 0).to(x.dtype)
    return (-0.5 * (distance / width) ** 2).exp()


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """(x - low) / (high - low) clipped to [0, 1]; falls where low > high."""
    _different("ramp", low, high)
    return ((x - low) / (high - low)).clamp(0, 1)


def sigmoid(x: Tensor, low: float, high: float) -> Tensor:
    """Logistic curve, .05 at `low` and .95 at `high`; falls where low > high."""
    _different("sigmoid", low, high)
    return torch.sigmoid(STEEP * ((x - low) / (high - low) - 0.5))


def double_sigmoid(x: Tensor, low: float, high: float, width: float | None = None) -> Tensor:
    """Product of a rise around `low` and a fall around `high`, each from .05 to .95 over `width`.

    `width` defaults to a fifth of high - low.
    """
    _increasing("double_sigmoid", low, high)
    width = (high - low) / 5 if width is None else width
    if width <= 0:
        raise ValueError(f"double_sigmoid needs width > 0, got {width}")
    return torch.sigmoid(STEEP * (x - low) / width) * torch.sigmoid(STEEP * (high - x) / width)


def step(x: Tensor, at: float, falling: float = 0) -> Tensor:
    """1 from `at` upwards, else 0; with falling=1, 1 up to `at`."""
    return ((x <= at) if falling else (x >= at)).to(x.dtype)


def piecewise(x: Tensor, *points: float) -> Tensor:
    """Straight lines through points x1, y1, x2, y2, ... (x rising, y in [0, 1]), level outside:
    any curve of one's own."""
    at, heights = points[::2], points[1::2]
    if len(points) < 4 or len(points) % 2:
        raise ValueError(f"piecewise needs pairs x, y, at least two, got {len(points)} numbers")
    if any(a >= b for a, b in pairwise(at)) or any(not 0 <= y <= 1 for y in heights):
        raise ValueError(f"piecewise needs rising x and y in [0, 1], got x {at} and y {heights}")
    out = torch.full_like(x, heights[0])
    for (a, b), (low, high) in zip(pairwise(at), pairwise(heights), strict=True):
        share = ((x - a) / (b - a)).clamp(0, 1)
        out = out + (high - low) * share
    return out.clamp(0, 1)  # sums of steps round


def gaussian(x: Tensor, mu: float, sigma: float) -> Tensor:
    """exp(-((x - mu) / sigma)^2 / 2)."""
    if sigma <= 0:
        raise ValueError(f"gaussian needs sigma > 0, got {sigma}")
    return (-0.5 * ((x - mu) / sigma) ** 2).exp()


def _increasing(name: str, low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"{name} needs low < high, got low={low} and high={high}")


def _different(name: str, low: float, high: float) -> None:
    if low == high:
        raise ValueError(f"{name} needs low and high to differ, got {low} twice")


CURVES = {"window": window, "ramp": ramp, "sigmoid": sigmoid, "double_sigmoid": double_sigmoid,
          "gaussian": gaussian, "step": step, "piecewise": piecewise}
