"""Given atoms that keep their shape in space, while the rest is drawn around them."""

from __future__ import annotations

from typing import Generic, TypeVar

from torch import Tensor

from scidiff.processes.gaussian import Component, Continuous, ContinuousDenoiser, Parts

X = TypeVar("X", bound=Continuous)


class HeldShape(Generic[X]):
    """Keep the shape f of given atoms: their clean guess is f_i + mean_j (D_j - f_j) over them.

    A chain in the centred subspace cannot hold places, since where the centre of all atoms comes
    to lie is for it to say: the given atoms keep distances and orientation exactly, and move as
    one. Their mean guess is that of the network, so the whole stays centred. As with
    `inpaint.Scaffold` the rest is drawn given noisy neighbours, which is close to the conditional
    law. Component 0 of the state must be places (B, N, 3).

    shape: (1, N, 3), anything where not `given` (1, N) bool, which must have an atom.
    """

    def __init__(self, denoiser: ContinuousDenoiser[X], shape: Tensor, given: Tensor) -> None:
        if shape.shape != (1, *given.shape[1:], 3) or not bool(given.any()):
            raise ValueError(
                "shape must be (1, N, 3) for given (1, N) with at least one atom, got "
                f"{tuple(shape.shape)}, {tuple(given.shape)} and {int(given.sum())} atoms"
            )
        self.denoiser, self.given = denoiser, given[..., None]
        centre = (shape * self.given).sum(1, keepdim=True) / self.given.sum(1, keepdim=True)
        self.shape = (shape - centre) * self.given
        self.components: tuple[Component, ...] = denoiser.components

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        return self.denoiser.rows

    def __call__(self, x: X, t: Tensor, /) -> Parts:
        places, *others = self.denoiser(x, t)
        given = self.given.to(places)
        centre = (places * given).sum(1, keepdim=True) / given.sum(1, keepdim=True)
        held = places * (1 - given) + (self.shape.to(places) + centre) * given
        return held, *others
