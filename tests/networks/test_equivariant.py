"""Networks on points: they turn, mirror and permute with their atoms, and see nothing else."""

import copy
import warnings

import pytest
import torch
from torch import nn

from scidiff.networks.equivariant import (
    EGNN,
    PointNetConfig,
    Radial,
    point_network,
    separations,
    without_mean,
)
from scidiff.networks.tensor_products import pairs_within

SIZES = [5, 1, 8]
KINDS = ["egnn", "e3"]
MEETS = {torch.float32: 1e-5, torch.float64: 1e-10}


def config(kind="egnn", **changes):
    sizes = {"width": 16, "edge_width": 8, "depth": 2, "heads": 2, "vectors": 4, "radial": 6}
    return PointNetConfig(**{"features": 3, "edge_features": 2, "kind": kind, **sizes, **changes})


def drawn(kind="egnn", dtype=torch.float64, seed=0, **changes):
    """A network whose zero layers say something."""
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)  # e3nn keeps its coupling coefficients in the default type
    net = point_network(config(kind, **changes))
    torch.set_default_dtype(torch.float32)
    for p in net.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.5)
    return net.eval()


def molecules(dtype=torch.float64, seed=1, sizes=SIZES):
    """Positions, features, mask, times and symmetric edges of molecules of several sizes; what
    absent atoms hold is not zero."""
    g = torch.Generator().manual_seed(seed)
    B, N = len(sizes), max(sizes)
    mask = torch.arange(N) < torch.tensor(sizes)[:, None]
    e = torch.randn(B, N, N, 2, generator=g, dtype=torch.float64)
    x = 1.5 * torch.randn(B, N, 3, generator=g, dtype=torch.float64)
    f = torch.randn(B, N, 3, generator=g, dtype=torch.float64)
    t = torch.rand(B, generator=g, dtype=torch.float64)
    x, f, t, e = (part.to(dtype) for part in (x, f, t, e + e.transpose(1, 2)))
    return x, f, mask, t, e


def turn(dtype, mirror=False):
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(7)).double())
    q = q * torch.linalg.det(q).sign()
    return (-q if mirror else q).to(dtype)


def far(found, expected):
    """The largest difference in units of what is said."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if b is not None]
    return max(((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in pairs)


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("dtype", MEETS, ids=["float32", "float64"])
@pytest.mark.parametrize("mirror", [False, True], ids=["rotation", "reflection"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_turns_with_the_atoms(kind, mirror, dtype):
    net, (x, f, mask, t, e), q = drawn(kind, dtype), molecules(dtype), turn(dtype, mirror)
    moved, said, bonds = net(x, f, mask, t, e)
    assert moved.abs().max() > 0.1 and said.abs().max() > 0.1  # not equal because it is nothing
    assert far(net(x @ q.T, f, mask, t, e), (moved @ q.T, said, bonds)) < MEETS[dtype]


@pytest.mark.parametrize("dtype", MEETS, ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_where_the_molecule_is_does_not_matter(kind, dtype):
    net, (x, f, mask, t, e) = drawn(kind, dtype), molecules(dtype)
    shift = torch.tensor([0.5, -2.0, 1.0], dtype=dtype)
    assert far(net(x + shift, f, mask, t, e), net(x, f, mask, t, e)) < MEETS[dtype]


@pytest.mark.parametrize("dtype", MEETS, ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_atoms_does_not_matter(kind, dtype):
    net, (x, f, mask, t, e) = drawn(kind, dtype), molecules(dtype)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(3))
    moved, said, bonds = net(x, f, mask, t, e)
    found = net(x[:, order], f[:, order], mask[:, order], t, e[:, order][:, :, order])
    expected = moved[:, order], said[:, order], bonds[:, order][:, :, order]
    assert far(found, expected) < MEETS[dtype]


# ---------------------------------------------------------------- rows and absent atoms


@pytest.mark.parametrize("kind", KINDS)
def test_a_molecule_is_read_alone(kind):
    net, (x, f, mask, t, e) = drawn(kind), molecules()
    together = net(x, f, mask, t, e)
    for row, n in enumerate(SIZES):
        r = slice(row, row + 1)
        alone = net(x[r, :n], f[r, :n], mask[r, :n], t[r], e[r, :n, :n])
        cut = together[0][r, :n], together[1][r, :n], together[2][r, :n, :n]
        assert far(alone, cut) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_of_absent_atoms(kind):
    moved, said, bonds = drawn(kind)(*molecules())
    mask = molecules()[2]
    assert not moved[~mask].any() and not said[~mask].any()
    assert not bonds[~(mask[:, :, None] & mask[:, None])].any()
    assert moved.sum(1).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_where_atoms_coincide_or_are_alone(kind):
    net, (x, f, mask, t, e) = drawn(kind), molecules()
    x[0, 1] = x[0, 0]
    x.requires_grad_()
    moved, said, bonds = net(x, f, mask, t, e)
    (moved.square().sum() + said.square().sum() + bonds.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert x.grad.isfinite().all() and x.grad[mask].any() and not x.grad[~mask].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_atoms_says_nothing_and_has_finite_gradients(kind):
    net, (x, f, mask, t, e) = drawn(kind), molecules()
    mask[1] = False
    said = net(x, f, mask, t, e)
    sum(part.square().sum() for part in said).backward()
    assert not any(part[1].any() for part in said)
    assert all(p.grad.isfinite().all() for p in net.parameters())


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_is_told_is_heard(kind):
    net, (x, f, mask, t, e) = drawn(kind, conditions=((0.0, 1.0),)), molecules()
    c = torch.ones(3, 1, dtype=x.dtype)
    shown = torch.tensor([True, True, False])
    first = net(x, f, mask, t, e, c, shown)
    others = {
        "features": net(x, f + 1, mask, t, e, c, shown),
        "time": net(x, f, mask, t + 0.1, e, c, shown),
        "edges": net(x, f, mask, t, e + 1, c, shown),
        "condition": net(x, f, mask, t, e, c + 1, shown),
    }
    for name, other in others.items():
        assert not torch.allclose(first[0][0], other[0][0]), name
    hidden = net(x, f, mask, t, e)[0]
    assert torch.equal(others["condition"][0][2], hidden[2])  # not shown to the third row
    assert torch.equal(net(x, f, mask, t, e, c)[0][:2], first[0][:2])


@pytest.mark.parametrize("kind", KINDS)
def test_edges_are_symmetric_and_may_be_left_out(kind):
    x, f, mask, t, e = molecules()
    bonds = drawn(kind)(x, f, mask, t, e)[2]
    assert torch.allclose(bonds, bonds.transpose(1, 2), atol=1e-12)
    assert drawn(kind, edge_features=0)(x, f, mask, t)[2] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_network_says_zero(kind):
    net = point_network(config(kind)).double()
    assert not any(part.any() for part in net(*molecules()))


@pytest.mark.parametrize("kind", KINDS)
def test_left_out_edges_of_a_network_that_reads_them_are_an_error(kind):
    with pytest.raises(ValueError, match=r"edges must be \(B, N, N, 2\)"):
        drawn(kind)(*molecules()[:4])


def test_mirror_images_of_a_bent_chain_look_the_same_to_scalars():
    # the light network hears lengths and angles only, so it is of E(3) and not only of SE(3)
    net, (x, f, mask, t, e) = drawn(), molecules()
    assert torch.allclose(net(x, f, mask, t, e)[1], net(-x, f, mask, t, e)[1], atol=1e-12)


def test_angles_are_heard_and_not_only_distances_of_the_first_layer():
    # two pairs of points with equal sorted distances from each atom would fool one layer
    x = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [-1, 0, 0]], [[0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    f, mask = torch.ones(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)
    said = drawn(dtype=torch.float32, edge_features=0)(x, f, mask, torch.zeros(2))[1]
    assert not torch.allclose(said[0, 0], said[1, 0], atol=1e-3)


# ---------------------------------------------------------------- spherical tensors


@pytest.mark.parametrize("reflections", [True, False], ids=["mirrors", "turns only"])
@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_every_degree_turns_with_the_atoms(lmax, reflections):
    net = drawn("e3", lmax=lmax, reflections=reflections)
    (x, f, mask, t, e), q = molecules(), turn(torch.float64)
    moved, said, bonds = net(x, f, mask, t, e)
    assert moved.abs().max() > 0.01
    assert far(net(x @ q.T, f, mask, t, e), (moved @ q.T, said, bonds)) < 1e-10


def test_mirror_images_are_told_apart_where_asked():
    net, (x, f, mask, t, e) = drawn("e3", reflections=False), molecules()
    moved, said, bonds = net(x, f, mask, t, e)
    assert far(net(-x, f, mask, t, e), (-moved, said, bonds)) > 1e-3


def test_neighbours_are_all_pairs_within_the_cutoff():
    distance = torch.tensor([[[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    b, i, j = pairs_within(distance, mask, 2.5)
    assert not b.any() and i.tolist() == [0, 1, 1, 2] and j.tolist() == [1, 0, 2, 1]
    mask[0, 0] = False
    assert pairs_within(distance, mask, 2.5)[1].tolist() == [1, 2]


def test_a_neighbour_fades_out_before_it_is_not_seen():
    net = drawn("e3", edge_features=0, cutoff=3.0)
    f, mask, t = torch.ones(1, 3, 3).double(), torch.ones(1, 3, dtype=torch.bool), torch.zeros(1)

    def first_atom(reach):
        x = torch.tensor([[[0.0, 0, 0], [reach, 0, 0], [0, 1, 0]]], dtype=torch.float64)
        return net(x, f, mask, t.double())[1][0, 0]

    edge = (3.0**2 - 0.01) ** 0.5
    assert torch.allclose(first_atom(edge - 1e-5), first_atom(edge + 1e-5), atol=1e-6)
    assert torch.equal(first_atom(edge + 1e-5), first_atom(edge + 1))
    assert not torch.allclose(first_atom(edge - 1), first_atom(edge + 1), atol=1e-3)


def test_lone_atoms_have_no_pairs_and_finite_gradients():
    net = drawn("e3")
    moved, said, bonds = net(*molecules(sizes=[1, 1]))
    (moved.square().sum() + said.square().sum() + bonds.square().sum()).backward()
    assert said.any() and all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_a_copy_says_the_same():  # averages of weights are kept in one
    net, inputs = drawn("e3"), molecules()
    assert far(copy.deepcopy(net)(*inputs), net(*inputs)) == 0


def test_tensors_run_under_a_compiler():  # its neighbours are data, so not as one graph
    net, inputs = drawn("e3", dtype=torch.float32), molecules(torch.float32)
    with warnings.catch_warnings():  # dynamo's own, of the list of neighbours
        warnings.simplefilter("ignore")
        found = torch.compile(net, backend="eager")(*inputs)
    assert far(found, net(*inputs)) < 1e-6


# ---------------------------------------------------------------- pieces


def test_separations_are_smooth_unit_vectors():
    x = torch.tensor([[[0.0, 0, 0], [0, 0, 1.5], [0, 0, 0]]], dtype=torch.float64)
    distance, direction = separations(x)
    assert abs(float(distance[0, 0, 1, 0]) - (2.25 + 0.01) ** 0.5) < 1e-12
    assert abs(float(direction[0, 1, 0, 2]) - 1.5 / (2.25 + 0.01) ** 0.5) < 1e-12
    assert not direction[0, 0, 2].any() and float(distance[0, 0, 2, 0]) == 0.1


def test_radial_features_are_gaussians_and_a_logarithm():
    phi = Radial(3, 4.0).double()(torch.tensor([[2.0]], dtype=torch.float64))
    e = torch.tensor([-0.5, 0.0, -0.5], dtype=torch.float64).exp()
    assert torch.allclose(phi[0], torch.cat([e, torch.tensor([2.0]).double().log()]))


def test_the_mean_is_that_of_the_atoms_that_are_there():
    x = torch.tensor([[[1.0, 0, 0], [3, 0, 0], [9, 9, 9]]])
    mask = torch.tensor([[True, True, False]])
    assert without_mean(x, mask).tolist() == [[[-1.0, 0, 0], [1, 0, 0], [0, 0, 0]]]


def test_the_light_network_compiles_as_one_graph():
    net, inputs = drawn(dtype=torch.float32), molecules(torch.float32)
    whole = torch.compile(net, backend="eager", fullgraph=True)
    assert far(whole(*inputs), net(*inputs)) < 1e-6


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "gnn"}, {"features": 0}, {"heads": 3}, {"radial": 1}, {"conditions": ((0, 0),)}],
    ids=["kind", "features", "heads", "radial", "conditions"],
)
def test_a_config_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        point_network(config(**wrong))


def test_a_condition_nobody_asked_for_is_refused():
    with pytest.raises(ValueError, match="without conditions"):
        drawn()(*molecules(), torch.ones(3, 1).double())


def test_point_network_makes_the_light_one_by_default():
    assert isinstance(point_network(PointNetConfig(3)), EGNN)
