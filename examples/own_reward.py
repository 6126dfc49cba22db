"""Steer with your own black box: any function from a list of molecules to a list of numbers."""

import scidiff as sd


def few_carbons(mols):
    """Share of heavy atoms that are not carbon."""
    return [sum(a.GetSymbol() != "C" for a in m.GetAtoms()) / m.GetNumHeavyAtoms() for m in mols]


model = sd.load("moses-smiles", dtype="bfloat16")
hits = sd.design(model, few_carbons, n=8, budget=120, floor=0.0, seed=1)
print(hits.to_frame()[["smiles", "score"]].head())
