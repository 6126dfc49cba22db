"""A system of SDEs on node features and adjacency of a graph (GDSS; Jo et al. 2022)."""

from __future__ import annotations

from scidiff.processes.gaussian import Component, GaussianProcess, iid, symmetric
from scidiff.processes.schedules import Schedule


def graph_components(schedule_x: Schedule, schedule_a: Schedule) -> tuple[Component, Component]:
    """Components of (X, A): free noise on the features of present nodes, symmetric noise on the
    edges between them."""
    return Component(schedule_x, iid), Component(schedule_a, symmetric)


def graph_sde(schedule_x: Schedule, schedule_a: Schedule, t_min: float = 1e-5) -> GaussianProcess:
    """The process of GDSS: dX = f_X X dt + g_X dw and dA = f_A A dt + g_A dw, coupled through
    their scores only.

    Its loss is eq. 6 of Jo et al. 2022, 1/2 |sigma_X s_X + z_X|^2 + 1/2 |sigma_A s_A + z_A|^2
    summed over N x F and over N x N (each pair counts twice). Each term has gradients in its own
    network only, so their sum trains both.
    """
    return GaussianProcess(graph_components(schedule_x, schedule_a), t_min)
