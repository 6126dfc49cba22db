"""Fragment tasks around parts of approved drugs, and molecules from nothing, beside GenMol.

    python benchmarks/fragments.py -n 100             rows a drug and task, an hour on one core
    python benchmarks/fragments.py -n 2 --de-novo 20  a look

Every attempt is a row: nothing is filtered or tried again. A drug is cut by the rules of the
notation (`chem.fragments.cut_bonds`): `linker` is given what is left without its smallest inner
piece, `scaffold_morphing` without its largest one, `motif_extension` its largest end,
`scaffold_decoration` its largest piece, `superstructure` the same piece with hydrogens.
Drugs that are in the model's training set, or have no such piece, are left out and counted.
Published: quality of GenMol V1 and V2 (Lee et al. 2025), on other drugs and a model of 89 M.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rdkit import Chem

import scidiff as sd
from scidiff.api import tasks
from scidiff.api.card import table
from scidiff.chem.fragments import cut_bonds
from scidiff.chem.molecules import canonical, parse

DRUGS = {
    "celecoxib": "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "losartan": "CCCCc1nc(Cl)c(CO)n1Cc1ccc(-c2ccccc2-c2nnn[nH]2)cc1",
    "erlotinib": "C#Cc1cccc(Nc2ncnc3cc(OCCOC)c(OCCOC)cc23)c1",
    "linezolid": "CC(=O)NC[C@H]1CN(c2ccc(N3CCOCC3)c(F)c2)C(=O)O1",
    "rivaroxaban": "O=C(NC[C@H]1CN(c2ccc(N3CCOCC3=O)cc2)C(=O)O1)c1ccc(Cl)s1",
    "zolpidem": "Cc1ccc(-c2nc3ccc(C)cn3c2CC(=O)N(C)C)cc1",
    "ondansetron": "Cc1nccn1CC1CCc2c(c3ccccc3n2C)C1=O",
    "pioglitazone": "CCc1ccc(CCOc2ccc(CC3SC(=O)NC3=O)cc2)nc1",
    "omeprazole": "COc1ccc2[nH]c(S(=O)Cc3ncc(C)c(OC)c3C)nc2c1",
    "haloperidol": "O=C(CCCN1CCC(O)(c2ccc(Cl)cc2)CC1)c1ccc(F)cc1",
    "tofacitinib": "C[C@@H]1CCN(C(=O)CC#N)C[C@@H]1N(C)c1ncnc2[nH]ccc12",
}
GENMOL = {
    "de_novo": "84.6 / 89.7",
    "linker": "21.9 / 18.4",
    "motif_extension": "30.1 / 49.0",
    "scaffold_decoration": "31.8 / 39.7",
    "superstructure": "34.8 / 39.0",
}
COLUMNS = ("valid", "unique", "quality", "diversity")


def pieces(smiles: str) -> list[tuple[str, list[str]]]:
    """Every piece of a drug with its attachment points, and what is left without it."""
    mol = parse(smiles)
    cuts = cut_bonds(mol)
    opened = Chem.FragmentOnBonds(mol, cuts, dummyLabels=[(0, 0)] * len(cuts))
    n, found = mol.GetNumAtoms(), []
    for atoms in Chem.GetMolFrags(opened):
        around = [cuts[(atom - n) // 2] for atom in atoms if atom >= n]
        split = Chem.FragmentOnBonds(mol, around, dummyLabels=[(0, 0)] * len(around))
        parts = Chem.GetMolFrags(split, asMols=True), Chem.GetMolFrags(split)
        texts = [(Chem.MolToSmiles(p), min(atoms) in at) for p, at in zip(*parts, strict=True)]
        own = next(text for text, is_it in texts if is_it)
        found.append((own, [text for text, is_it in texts if not is_it]))
    return sorted(found, key=lambda piece: len(piece[0]))


def closed(smiles: str) -> str:
    """A piece with hydrogens in place of its attachment points."""
    mol = parse(smiles)
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetAtomicNum(1)
    return Chem.MolToSmiles(Chem.RemoveHs(mol))


def asked(smiles: str) -> dict[str, tuple[Callable[..., Any], Any]]:
    """The tasks that a drug gives, each with what is given."""
    found = pieces(smiles)
    inner = [rest for _, rest in found if len(rest) > 1]
    ends = [own for own, rest in found if len(rest) == 1]
    largest = found[-1][0]
    out: dict[str, tuple[Callable[..., Any], Any]] = {}
    if inner:
        out["linker"] = tasks.linker, inner[0]
        out["scaffold_morphing"] = tasks.scaffold_morphing, inner[-1]
    if ends:
        out["motif_extension"] = tasks.motif_extension, ends[-1]
    if found[-1][1]:
        out["scaffold_decoration"] = tasks.scaffold_decoration, largest
        out["superstructure"] = tasks.superstructure, closed(largest)
        out["lead_optimisation"] = tasks.lead_optimisation, smiles
    return out


def measured(task: str, settings: dict, records: list, kept: list[bool], seconds: float) -> dict:
    """One line of the table."""
    found = {m.name: m for m in sd.evaluate(records, "fragment", fcd=False).metrics}
    shown = {name: f"{found[name].value:.3f} [{found[name].low:.3f}, {found[name].high:.3f}]"
             for name in COLUMNS if name in found}  # fmt: skip
    return {
        "task": task, "settings": ", ".join(f"{k}={v}" for k, v in settings.items()) or "default",
        "rows": len(records), **shown, "kept": f"{sum(kept) / len(kept):.3f}",
        "quality of GenMol, %": GENMOL.get(task, ""),
        "CPU s / 100": f"{100 * seconds / len(records):.0f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="moses-fragments")
    parser.add_argument("-n", type=int, default=100, help="rows a drug and task")
    parser.add_argument("--de-novo", type=int, default=1000, help="rows from nothing a setting")
    parser.add_argument("--drugs", type=int, default=len(DRUGS), help="the first so many")
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0])
    parser.add_argument("--tokens-per-step", type=int, nargs="+", default=[1])
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    model = sd.load(args.model, dtype=args.dtype)
    grid = [{"temperature": t, "tokens_per_step": k}
            for t in args.temperature for k in args.tokens_per_step]  # fmt: skip
    for settings in grid:
        report(model, args, settings)


def report(model: Any, args: argparse.Namespace, settings: dict) -> None:
    rows, reasons = [], Counter()
    if args.de_novo:
        start = time.process_time()
        drawn = tasks.de_novo(model, args.de_novo, **settings)
        reasons.update(r.reason for r in drawn.records if not r.valid)
        rows.append(measured("de_novo", settings, list(drawn.records), drawn.columns["kept"],
                             time.process_time() - start))  # fmt: skip
        print(rows[-1], flush=True)
    known = model.novelty.contains([canonical(s) for s in DRUGS.values()])
    drugs = [d for d, old in zip(DRUGS.items(), known, strict=True) if not old][: args.drugs]
    gathered: dict[str, list] = {}
    for name, smiles in drugs:
        for task, (draw, given) in asked(smiles).items() if args.n else ():
            start = time.process_time()
            try:
                drawn = draw(model, given, args.n, **settings)
            except ValueError as error:
                print(f"{name}, {task} of {given}: {error}", flush=True)
                continue
            records, kept, used = gathered.setdefault(task, [[], [], [0.0]])
            records += drawn.records
            kept += drawn.columns["kept"]
            used[0] += time.process_time() - start
            reasons.update(r.reason for r in drawn.records if not r.valid)
            lost = [r.text for r, k in zip(drawn.records, drawn.columns["kept"], strict=True)
                    if r.valid and not k]  # fmt: skip
            print(f"{name}, {task}: {sum(drawn.columns['kept'])} of {args.n} kept", *lost[:3],
                  flush=True)  # fmt: skip
    rows += [measured(task, settings, r, k, s[0]) for task, (r, k, s) in gathered.items()]
    print(table(rows))
    print(f"{len(drugs)} drugs; reasons of invalidity: {dict(reasons)}")


if __name__ == "__main__":
    main()
