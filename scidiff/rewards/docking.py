"""Docking of molecules with AutoDock Vina (extra `docking`).

    sd.design("moses-smiles", "dock('PARP1')", 10, budget=100, cache="docks.db", workers=2)

The receptors are the 58 of dockstring (Garcia-Ortegon et al. 2022, J. Chem. Inf. Model. 62:3486)
or a file of one's own. A molecule is protonated for a pH, embedded and relaxed with a fixed seed,
and docked as Vina docks: the protocol of dockstring, in this process and without its programs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rdkit.Chem import Mol, MolToMolBlock

from scidiff.chem.conformers import embed
from scidiff.chem.molecules import canonical, parse
from scidiff.messages import nearest
from scidiff.rewards.programs import digest_files
from scidiff.rewards.scores import of_kind
from scidiff.rewards.singly import Refused, Singly, check_seed, package, versions

Point = tuple[float, float, float]
POSES = 9  # kept during a search, of which the best one counts: Vina's default
SECONDS = 12.0  # a molecule of 25 heavy atoms and exhaustiveness 1 on one core


@dataclass(frozen=True)
class Dock(Singly):
    """Binding energy of the best pose that AutoDock Vina finds (Trott and Olson 2010; Eberhardt
    et al. 2021), in kcal/mol with its sign turned: 9.5 is Vina's -9.5, and larger is better.

    A molecule that fits nowhere scores 0, as one that is not bound does.
    target: a receptor of dockstring, such as 'PARP1', 'DRD2', 'JAK2'. Instead `receptor` is a
    PDBQT file of one's own, with `center` and `size` of the box in angstrom.
    exhaustiveness: searches a molecule; its time grows with them. 1 tells good from bad in a
    design loop, 8 is what dockings are reported with.
    seed: of the search and of the structure that it starts from. Another seed is another draw:
    about 0.5 kcal/mol apart at exhaustiveness 1.
    ph: at which acids and bases are charged (Open Babel's rules).
    Raises ExtraMissing, or ValueError for what cannot be docked into.
    """

    target: str = ""
    exhaustiveness: int = 1
    seed: int = 0
    receptor: str = ""
    center: Sequence[float] = ()
    size: Sequence[float] = ()
    ph: float = 7.4
    bounds = (0.0, math.inf)
    floor = 0.0
    version: str = field(init=False, repr=False, compare=False)
    _site: Site = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        site = Site.own(self.receptor, self.center, self.size) if self.receptor else (
            Site.of_target(self.target))
        for module in ("vina", "openbabel"):
            package(module, "docking", "dock")
        made = versions("vina", "openbabel-wheel", "rdkit")
        object.__setattr__(self, "_site", site)
        object.__setattr__(self, "version", f"{made}, receptor {digest_files([site.file])}")

    @property
    def name(self) -> str:
        where = f"receptor={self.receptor!r}" if self.receptor else repr(self.target)
        return f"dock({where}, exhaustiveness={self.exhaustiveness}, seed={self.seed})"

    @property
    def cost(self) -> float:
        return SECONDS * self.exhaustiveness

    def value(self, obj: Mol) -> float:
        """-min(E, 0), E the energy of the best pose in kcal/mol."""
        return max(-self._energy(prepare(obj, self.ph, self.seed)), 0.0)

    def _energy(self, ligand: str) -> float:
        search = _search(self._site, self.seed + 1)  # Vina draws a seed where it is given 0
        try:
            search.set_ligand_from_string(ligand)
        except (TypeError, RuntimeError) as error:  # Vina's own, of several lines
            said = next(filter(None, str(error).splitlines()), "no reason given")
            raise Refused(f"Vina cannot read the molecule: {said}") from error
        search.dock(exhaustiveness=self.exhaustiveness, n_poses=POSES)
        return float(search.energies(n_poses=1)[0][0])


@dataclass(frozen=True)
class Site:
    """Where to dock: the file of a receptor and a box in it."""

    file: Path
    center: Point  # angstrom
    size: Point  # angstrom

    @classmethod
    def of_target(cls, name: str) -> Site:
        """A receptor of dockstring by its name.

        Raises ValueError where there is none.
        """
        folder = package("dockstring", "docking", "dock") / "resources" / "targets"
        known = sorted(f.name.removesuffix("_conf.txt") for f in folder.glob("*_conf.txt"))
        if name not in known:
            hint = nearest(name, known) or f"; {', '.join(known)}"
            raise ValueError(f"dock: dockstring has {len(known)} targets and no {name!r}{hint}")
        box = _box(folder / f"{name}_conf.txt")
        return cls(folder / f"{name}_target.pdbqt", _point(box, "center"), _point(box, "size"))

    @classmethod
    def own(cls, file: str, center: Sequence[float], size: Sequence[float]) -> Site:
        """A file of one's own.

        Raises ValueError where it is no PDBQT file, or the box is no box.
        """
        path = Path(file)
        if path.suffix != ".pdbqt" or not path.is_file():
            what = "is no PDBQT file" if path.is_file() else "does not exist"
            raise ValueError(f"dock: the receptor {file!r} {what}")
        return cls(path.resolve(), _three("center", center), _three("size", size))


def _check(asked: Dock) -> None:
    if bool(asked.target) == bool(asked.receptor):
        raise ValueError("dock: give a target, as in dock('PARP1'), or a file, as in "
                         "dock(receptor='x.pdbqt', center=(1, 2, 3), size=(20, 20, 20))")
    if asked.target and (len(asked.center) or len(asked.size)):
        raise ValueError(f"dock: {asked.target!r} has a box of its own; center and size are for "
                         "a receptor file")
    check_seed(asked.seed, "dock")
    if not isinstance(asked.exhaustiveness, int) or not 1 <= asked.exhaustiveness <= 1024:
        raise ValueError("dock: exhaustiveness must be a whole number from 1 to 1024, "
                         f"got {asked.exhaustiveness!r}")
    if not 0 <= asked.ph <= 14:
        raise ValueError(f"dock: ph must lie in [0, 14], got {asked.ph}")


def _three(name: str, numbers: Sequence[float]) -> Point:
    least = 0.0 if name == "size" else -math.inf
    match numbers:
        case (int() | float() as x, int() | float() as y, int() | float() as z) if all(
                least < v < math.inf for v in (x, y, z)):
            return float(x), float(y), float(z)
    raise ValueError(f"dock: {name} must be three {'positive ' * (name == 'size')}numbers in "
                     f"angstrom, got {numbers!r}")


def _box(file: Path) -> dict[str, float]:
    """Lines "center_x = 26.8" of a Vina configuration."""
    pairs = (line.split("=") for line in file.read_text().splitlines() if "=" in line)
    return {key.strip(): float(value) for key, value in pairs}


def _point(box: Mapping[str, float], name: str) -> Point:
    return box[f"{name}_x"], box[f"{name}_y"], box[f"{name}_z"]


@lru_cache(maxsize=2)  # a receptor's maps take about 0.1 GB
def _search(site: Site, seed: int) -> Any:
    """Vina with its maps of the receptor: seconds, once a process."""
    from vina import Vina

    made = Vina(sf_name="vina", cpu=1, seed=seed, verbosity=0)
    made.set_receptor(str(site.file))
    made.compute_vina_maps(list(site.center), list(site.size))
    return made


# ---------------------------------------------------------------- the ligand


def prepare(mol: Mol, ph: float, seed: int) -> str:
    """Write a molecule as Vina reads it (PDBQT): charged as at a pH, embedded, with its torsions.

    Raises ConformerError, or Refused where Open Babel changes more than hydrogens.
    """
    smiles = str(canonical(mol))
    charged = parse(_protonated(smiles, ph))
    if charged is None or charged.GetNumHeavyAtoms() != mol.GetNumHeavyAtoms():
        raise Refused(f"Open Babel does not protonate {smiles}")
    from openbabel import openbabel

    with _quiet():
        made, files = openbabel.OBMol(), openbabel.OBConversion()
        files.SetInAndOutFormats("mol", "pdbqt")
        files.ReadString(made, MolToMolBlock(embed(charged, seed)))
        return str(files.WriteString(made))


def _protonated(smiles: str, ph: float) -> str:
    from openbabel import openbabel

    with _quiet():
        mol, files = openbabel.OBMol(), openbabel.OBConversion()
        files.SetInAndOutFormats("smi", "can")
        files.ReadString(mol, smiles)
        mol.AddHydrogens(False, True, ph)  # not polar ones only; corrected for the pH
        return str(files.WriteString(mol)).strip()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Open Babel writes warnings to the terminal."""
    from openbabel import openbabel

    openbabel.obErrorLog.StopLogging()
    try:
        yield
    finally:
        openbabel.obErrorLog.StartLogging()


REWARDS = of_kind("molecule", {"dock": Dock})
