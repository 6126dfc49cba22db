"""Write the missing part of a molecule, and ask how likely the model finds each one."""

import scidiff as sd

model = sd.load("moses-smiles", dtype="bfloat16")
linkers = model.infill("CC(=O)N[*]c1ccccc1", n=8, seed=0)
texts = sorted(set(linkers.texts))
print(model.log_likelihood(texts, block_size=1).sort_values("log_likelihood", ascending=False))
