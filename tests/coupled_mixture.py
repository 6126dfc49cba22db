"""A Gaussian mixture whose components lean on each other, with its exact clean guess and density:
the target that solvers and likelihoods are measured on."""

import torch
from gaussian_targets import Points

from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE, VP, alpha

SCHEDULES = VP(0.1, 20.0), VE(0.01, 5.0)


class CoupledMixture:
    """sum_m w_m N(mean_m, S_m) over X (6) and A (3) together, X noised by VP, A by VE.

    mean ~ N(0, 1), S = L L^T + 0.05 I with L = 0.35 N(0, 1), w = softmax(N(0, 1)).
    """

    def __init__(self, sizes=(6, 3), schedules=SCHEDULES, modes=3, seed=0):
        rng, d = torch.Generator().manual_seed(seed), sum(sizes)
        f64 = dict(generator=rng, dtype=torch.float64)
        self.means, L = torch.randn(modes, d, **f64), 0.35 * torch.randn(modes, d, d, **f64)
        self.covariances = L @ L.mT + 0.05 * torch.eye(d, dtype=torch.float64)
        self.log_weights = torch.randn(modes, **f64).log_softmax(0)
        self.components = tuple(Component(s) for s in schedules)
        self.sizes, self.rows = sizes, 0

    def canvas(self, n, rng):
        return Points(tuple(torch.zeros(n, size, dtype=torch.float64) for size in self.sizes))

    def levels(self, t):
        """alpha and sigma of every coordinate, (..., d)."""
        return tuple(
            torch.cat([self._spread(level(c.schedule), n) for c, n in self._sized()], -1)
            for level in (lambda s: alpha(s, t), lambda s: s.sigma(t))
        )

    def _sized(self):
        return zip(self.components, self.sizes, strict=True)

    def _spread(self, value, n):
        return value[..., None].expand(*value.shape, n)

    def _marginals(self, x, t):
        """Differences (B, M, d), Cholesky factors and log w_m N(x; alpha mean_m, C_m) (B, M)."""
        a, s = (v.expand(len(x), -1)[:, None] for v in self.levels(t))
        C = a[..., None] * self.covariances * a[..., None, :] + torch.diag_embed(s**2)
        gap, factor = x[:, None] - a * self.means, torch.linalg.cholesky(C)
        white = torch.linalg.solve_triangular(factor, gap[..., None], upper=False)[..., 0]
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_norm = log_det + x.shape[1] / 2 * torch.log(torch.tensor(2 * torch.pi))
        return gap, factor, self.log_weights - white.square().sum(-1) / 2 - log_norm

    def log_prob(self, parts, t):
        """log p_t (B,)."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return self._marginals(torch.cat(parts, 1), t)[2].logsumexp(1)

    def __call__(self, x, t):
        """D = (x + sigma^2 score) / alpha."""
        self.rows += len(x)
        y, t = torch.cat(x.parts, 1), t.double()
        a, s = self.levels(t)
        return ((y + s**2 * self.score(y, t)) / a).split(self.sizes, 1)

    def score(self, y, t):
        """The gradient of log p_t at y (B, d)."""
        gap, factor, joint = self._marginals(y, t)
        pulls = -torch.cholesky_solve(gap[..., None], factor)[..., 0]
        return torch.einsum("bm,bmd->bd", joint.softmax(1), pulls)

    def sample(self, n, t, rng):
        """Draw n states at time t."""
        which = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=rng)
        z = torch.randn(2, n, self.means.shape[1], generator=rng, dtype=torch.float64)
        factors = torch.linalg.cholesky(self.covariances)[which]
        x0 = self.means[which] + (factors @ z[0, ..., None])[..., 0]
        a, s = self.levels(torch.tensor(t, dtype=torch.float64))
        return Points((a * x0 + s * z[1]).split(self.sizes, 1))
