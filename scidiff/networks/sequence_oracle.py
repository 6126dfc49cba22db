"""Small predictors on sequences: a convolutional network, and k-mer counts with linear weights.

Both map letters (B, L) int64, -1 behind the end of a row, to outputs (B, C): logits of classes or
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class SequenceOracleConfig:
    """`frames` > 1 pools positions by reading frame, counted from the 3' end, as ribosomes do."""

    letters: int
    outputs: int
    width: int = 64
    kernel: int = 11  # of the first convolution: the motifs
    pool: int = 4  # positions that one of the later layers sees as one
    depth: int = 2  # residual convolutions, dilated by 1, 2, 4, ...
    frames: int = 1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.frames > 1 and self.pool > 1:
            raise ValueError("reading frames need single positions: pool must be 1, "
                             f"got {self.pool}")


class SequenceOracle(nn.Module):
    """Convolution, pooling, dilated residual convolutions, mean and maximum, one hidden layer."""

    def __init__(self, config: SequenceOracleConfig) -> None:
        super().__init__()
        self.config = c = config
        self.stem = nn.Conv1d(c.letters, c.width, c.kernel, padding=c.kernel // 2)
        self.layers = nn.ModuleList(
            nn.Conv1d(c.width, c.width, 5, padding=2 * 2**i, dilation=2**i)
            for i in range(c.depth))
        self.gains = nn.ParameterList(torch.ones(c.width, 1) for _ in range(c.depth))
        self.hidden = nn.Linear(2 * c.width * c.frames, c.width)
        self.out = nn.Linear(c.width, c.outputs)
        self.drop = nn.Dropout(c.dropout)

    def features(self, letters: Tensor) -> Tensor:
        """Activations (B, width) that the outputs are linear in."""
        there = (letters >= 0)[:, None]  # (B, 1, L)
        x = F.one_hot(letters.clamp_min(0), self.config.letters).mT.float() * there
        h = F.relu(self.stem(x)) * there
        if self.config.pool > 1:
            h = F.max_pool1d(h, self.config.pool, ceil_mode=True)
            there = F.max_pool1d(there.float(), self.config.pool, ceil_mode=True) > 0
        for gain, layer in zip(self.gains, self.layers, strict=True):
            # over channels alone: over positions, padding would weigh
            size = (h.square().mean(1, keepdim=True) + 1e-6).rsqrt()
            h = (h + F.relu(layer(h * size * gain))) * there
        return F.relu(self.hidden(self.drop(self._pooled(h, there))))

    def _pooled(self, h: Tensor, there: Tensor) -> Tensor:
        """Mean and maximum over the positions of every frame: (B, 2 frames width)."""
        B, _, L = h.shape
        frames, parts = reading_frames(there[:, 0], self.config.frames), []
        for frame in range(self.config.frames):
            here = there & (frames == frame)[:, None]
            total = here.sum(2).clamp_min(1)
            parts += [(h * here).sum(2) / total, (h * here).amax(2)]  # h is at least 0
        return torch.cat(parts, 1)

    def forward(self, letters: Tensor) -> Tensor:
        return self.out(self.drop(self.features(letters)))


def reading_frames(there: Tensor, frames: int) -> Tensor:
    """Which frame each position (B, L) is in: how many positions follow, modulo `frames`."""
    return (there.flip(1).cumsum(1).flip(1) - 1).remainder(frames)


@dataclass(frozen=True)
class KmerOracleConfig:
    letters: int
    outputs: int
    k: int = 5  # counts of all k-mers from 1 to k
    frames: int = 1  # counted apart by the reading frame of their first letter


class KmerOracle(nn.Module):
    """Linear in the square roots of k-mer counts, k = 1 .. K, each on a common scale."""

    def __init__(self, config: KmerOracleConfig) -> None:
        super().__init__()
        self.config = config
        width = config.frames * sum(config.letters**k for k in range(1, config.k + 1))
        self.out = nn.Linear(width, config.outputs)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def counts(self, letters: Tensor) -> Tensor:
        """Square roots of k-mer counts (B, width): the root keeps repeats from ruling."""
        V, turns, parts = self.config.letters, self.config.frames, []
        frames = reading_frames(letters >= 0, turns)
        for k in range(1, self.config.k + 1):
            windows = letters.unfold(1, k, 1) if letters.shape[1] >= k else letters[:, :0, None]
            powers = V ** torch.arange(k - 1, -1, -1, device=letters.device)
            whole = (windows >= 0).all(2)
            words = (windows * powers[:windows.shape[2]]).sum(2)
            codes = words * turns + frames[:, :whole.shape[1]]
            table = torch.zeros(len(letters), turns * V**k, device=letters.device)
            parts.append(table.scatter_add_(1, codes.where(whole, 0), whole.float()))
        return torch.cat(parts, 1).sqrt()

    def features(self, letters: Tensor) -> Tensor:
        """What the outputs are linear in, (B, width), mean 0 and variance 1 in training."""
        return (self.counts(letters) - self.mean) / self.scale

    def forward(self, letters: Tensor) -> Tensor:
        return self.out(self.features(letters))

    @torch.no_grad()
    def fit(self, letters: Tensor, target: Tensor, task: Literal["classes", "number"],
            ridge: float = 1e-3, iterations: int = 100) -> None:
        """Fit the weights: a convex problem, so the answer has no seed.

        min mean loss + ridge / 2 |W|^2, the loss cross-entropy with class indices (B,) or half the
        squared error of numbers (B, C), by L-BFGS from 0.
        """
        x = torch.cat([self.counts(part) for part in letters.split(4_096)])
        self.mean.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp_min(1e-3))
        x.sub_(self.mean).div_(self.scale)  # in place: it may be a gigabyte
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        steps = torch.optim.LBFGS(self.out.parameters(), max_iter=iterations, history_size=20,
                                  line_search_fn="strong_wolfe")

        def objective() -> Tensor:
            steps.zero_grad()
            found = self.out(x)
            loss = (F.cross_entropy(found, target) if task == "classes"
                    else F.mse_loss(found, target) / 2)
            loss = loss + ridge / 2 * self.out.weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            steps.step(objective)
