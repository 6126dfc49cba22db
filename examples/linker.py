"""Join two fragments of a molecule by what a model writes; both stay as they are given."""

import scidiff as sd

rows = sd.linker("moses-fragments", ["[*]c1ccc(F)cc1", "[*]N1CCOCC1"], n=8, seed=0)
print(rows.to_frame()[["canonical", "valid", "kept"]])
print(sd.evaluate(rows, "fragment", fcd=False))
