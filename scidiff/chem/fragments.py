"""A fragment notation: a molecule cut beside its rings, the pieces joined by labels.

`c1%11ccccc1.N%11C%10=O.C1%10CC1`: "." separates pieces, and a label %nn that stands in two of them
is the single bond between the atoms it follows. So the text is a SMILES like any other, in the
manner of SAFE (Noutahi et al. 2024, arXiv 2310.10773). Here, besides:

- A label stands exactly twice, and is no ring bond of a piece.
- Every piece of a connected molecule, but the first, shares exactly one label with the pieces
  before it: only acyclic bonds are cut. What stands before a "." is one piece with open ends.
- Which piece comes first, the order of the others and the labels are drawn, by default from a seed
  that the molecule gives: any piece may stand anywhere, so a model can be given any.
- What is spelled has been read back as the same molecule.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from random import Random
from zlib import crc32

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scidiff.chem.attachments import Piece, piece
from scidiff.chem.checks import check
from scidiff.chem.molecules import canonical, parse

LABELS = range(10, 100)

_RULES = (
    "[R;!#0;!D1]-;!@[!#0;!D1]",  # what hangs on a ring, unless it is a single atom
    # amides, esters and sulfonamides in chains, but not next to a ring: that bond is cut already
    "[!R;$([#6]=O),$(S(=O)=O);!$(*-[R])]-;!@[#7,#8;!R;!D1;!$(*-[R])]",
)


_DOUBLE, _OPEN = "[!a]=[!a]", "[#0]"


@lru_cache(maxsize=8)
def _pattern(smarts: str) -> Mol:
    return Chem.MolFromSmarts(smarts)


def _found(mol: Mol, smarts: str) -> list[tuple[int, ...]]:
    return list(mol.GetSubstructMatches(_pattern(smarts), maxMatches=10_000))


def cut_bonds(mol: Mol) -> list[int]:
    """Bonds at which a molecule is cut: acyclic single bonds of a ring atom to an atom that has
    other neighbours, and of acyl and sulfonyl groups to N and O in chains.

    Bonds beside a double bond with geometry stay, for they say which; at most 90 are cut.
    """
    pairs = {frozenset(pair) for rule in _RULES for pair in _found(mol, rule)}
    found = {mol.GetBondBetweenAtoms(*pair).GetIdx() for pair in pairs}
    return sorted(found - _beside_geometry(mol))[: len(LABELS)]


def _beside_geometry(mol: Mol) -> set[int]:
    doubles = [mol.GetBondBetweenAtoms(*pair) for pair in _found(mol, _DOUBLE)]
    return {
        bond.GetIdx()
        for double in doubles
        if double.GetStereo() != Chem.BondStereo.STEREONONE
        for atom in (double.GetBeginAtom(), double.GetEndAtom())
        for bond in atom.GetBonds()
    }


def pieces(mol: Mol, cuts: Sequence[int]) -> list[Piece]:
    """Cut a molecule at the bonds `cuts`: end i is bond cuts[i], end -1 - j the j-th dummy atom
    that the molecule has itself, its attachment points.

    Raises ValueError where an end cannot be written as a label.
    """
    ends: list[int | None] = [None] * mol.GetNumAtoms()
    own = [index for (index,) in _found(mol, _OPEN)]
    for j, index in enumerate(own):
        ends[index] = -1 - j
    ends += [i for i in range(len(cuts)) for _ in range(2)]  # as RDKit appends its dummies
    with rdBase.BlockLogs():
        opened = _opened(mol, cuts, own)
        texts = Chem.MolToSmiles(opened).split(".")
    order = iter(opened.GetProp("_smilesAtomOutputOrder")[1:-1].split(","))
    return [piece(text, (ends[int(index)] for index in order)) for text in texts]


def _opened(mol: Mol, cuts: Sequence[int], own: Sequence[int]) -> Mol:
    """The molecule with dummy atoms at both sides of every cut.

    All dummies are alike, so that equal pieces are written alike; only where a chiral centre may
    hang on their difference each pair has its own number.
    """
    chiral = any(a.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED for a in mol.GetAtoms())
    if own:
        mol = Chem.RWMol(mol)
    for j, index in enumerate(own):
        mol.ReplaceAtom(index, Chem.Atom(0))
        mol.GetAtomWithIdx(index).SetIsotope((len(cuts) + 1 + j) * chiral)
    if not cuts:
        return Chem.Mol(mol)
    numbers = [((i + 1) * chiral,) * 2 for i in range(len(cuts))]
    return Chem.FragmentOnBonds(mol, cuts, dummyLabels=numbers)


def connected(parts: Sequence[Piece], rng: Random, first: int | None = None) -> list[Piece]:
    """Order the pieces so that each shares an end with those before it, where the molecule is one;
    `first` or a random one comes first, and each next one is drawn from those that can follow."""
    left = dict(enumerate(parts))
    done = [left.pop(rng.randrange(len(parts)) if first is None else first)]
    reached = set(done[0].ends)
    while left:
        following = [i for i, part in left.items() if reached.intersection(part.ends)]
        chosen = left.pop(rng.choice(following or list(left)))
        reached.update(chosen.ends)
        done.append(chosen)
    return done


def write(mol: Mol, cuts: Sequence[int], rng: Random) -> str:
    """The text of a molecule cut at `cuts`, its order and labels drawn from `rng`.

    Raises ValueError where an end cannot be written or there are more cuts than labels.
    """
    parts = connected(pieces(mol, cuts), rng)
    labels = free_labels(parts, len(cuts))
    rng.shuffle(labels)
    return ".".join(part.text(dict(enumerate(labels))) for part in parts)


def free_labels(parts: Sequence[Piece], n: int, taken: Collection[int] = ()) -> list[int]:
    """The first n labels that are not `taken` and that no ring bond of the pieces has."""
    text = "".join(p for part in parts for p in part.parts if isinstance(p, str))
    free = [i for i in LABELS if i not in taken and f"%{i}" not in text][:n]
    if len(free) < n:
        raise ValueError(f"{n} cuts are more than the {len(free)} labels that are left")
    return free


def spell(smiles: str, seed: int | None = None) -> str:
    """Write a molecule in pieces: the same text for the same molecule, another for another `seed`.

    Read as a SMILES it gives the molecule back, which is checked: one whose pieces would not is
    written whole. Raises ValueError for what is no molecule, has open ends, or is read back as
    another molecule even from RDKit's own SMILES.
    """
    mol = parse(smiles)
    if mol is None:
        raise ValueError(f"{smiles!r} is not a molecule: {check(smiles).message}")
    if "*" in smiles:
        raise ValueError(f"{smiles!r} has an open end, expected a whole molecule")
    key = canonical(mol) or ""
    if key != smiles:
        mol = parse(key) or mol
    rng = Random(crc32(key.encode()) if seed is None else seed)
    try:
        text = write(mol, cut_bonds(mol), rng)
    except ValueError:
        return _whole(key)
    return text if canonical(text) == key else _whole(key)


def _whole(key: str) -> str:
    if canonical(key) != key:
        raise ValueError(f"RDKit reads its own SMILES {key!r} as {canonical(key)!r}")
    return key
