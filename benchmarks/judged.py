"""Do 5'UTRs meet the load they were asked for, and are peptides taken for antimicrobial ones?

    scidiff data get utr-mrl && python benchmarks/judged.py utr      utr-rna by `utr-judge`
    python benchmarks/judged.py amp                                  amp-peptide by Macrel

The laws of letters are `scidiff evaluate FILE --suite rna` and `--suite peptide`, perplexities
`benchmarks/perplexity.py`. Intervals are 95 %.
"""

import argparse
from collections.abc import Sequence

import numpy as np

import scidiff as sd
from scidiff.api.card import table
from scidiff.data import datasets
from scidiff.data.alphabets import RNA
from scidiff.evaluation.counts import proportion
from scidiff.evaluation.fidelity import agreement
from scidiff.evaluation.intervals import mean_interval
from scidiff.rewards.learned import Oracle
from scidiff.rewards.peptides import amp, charge, gravy, haemolytic, hydrophobic_moment

ASKED, WEIGHTS, RESIDUES = (3.0, 5.0, 7.0, 8.0), (1.0, 2.0, 3.0), "ACDEFGHIKLMNPQRSTVWY"
UNSEEN = (1, 2)  # rows modulo 20 that the judge was not trained on (recipes/oracles.py)


def between(values: Sequence[float]) -> str:
    low, high = mean_interval(list(values))
    return f"{np.mean(values):.2f} [{low:.2f}, {high:.2f}]"


def utr_row(name: str, judge: Oracle, rows: Sequence[str], loads: Sequence[float],
            groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """Agreement over rows of many loads, and the judged mean of rows of each of ASKED."""
    r = agreement(rows, loads, judge)
    slope = np.polyfit(loads, judge.predict(rows)[:, 0], 1)[0]
    start = ["AUG" in s for s in groups[0]]
    return {"rows": name, "n": f"{len(rows):,}", "r": f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]",
            "slope": f"{slope:.2f}", f"upstream AUG at {ASKED[0]:g}": f"{np.mean(start):.2f}",
            **{f"judged at {a:g}": between(judge.predict(g)[:, 0]) for a, g in
               zip(ASKED, groups, strict=True)}}


def utrs(model: str, n: int) -> list[dict[str, str]]:
    made, judge = sd.load(model, dtype="bfloat16"), Oracle.load("utr-judge")
    data = datasets.load("utr-mrl")
    measured = [(RNA.spell(s), y) for i, (s, y) in
                enumerate(zip(data.objects(), data.values("rl"), strict=True)) if i % 20 in UNSEEN]
    loads = [y for _, y in measured][:n]
    found = []
    for weight in WEIGHTS:
        groups = [made.sample(max(4, n // 5), 1, condition={"rl": a}, weight=weight).texts
                  for a in ASKED]
        rows = made.sample(len(loads), 1, condition={"rl": loads}, weight=weight).texts
        found.append(utr_row(f"weight {weight:g}", judge, rows, loads, groups))
    real = [[s for s, y in measured if abs(y - a) < 0.5] for a in ASKED]
    return [*found, utr_row("measured, unseen by the judge", judge, [s for s, _ in measured],
                            [y for _, y in measured], real)]


def peptides(model: str, n: int) -> list[dict[str, str]]:
    data, rng = datasets.load("peptides"), np.random.default_rng(0)
    part = zip(data.objects(), data.values("set"), data.values("label"), strict=True)
    kept = [(s, label) for s, kind, label in part if kind == "AMPvsUniProt"]
    active, other = ([s for s, label in kept if label == wanted] for wanted in (1, 0))
    held = [active[i] for i in rng.permutation(len(active))[:200]]  # those of the recipe
    letters = np.array(list("".join(active)))
    sets = {
        model: sd.load(model, dtype="bfloat16").sample(n, 1).texts, "held-out ones": held,
        "the same, residues shuffled": ["".join(rng.permutation(list(s))) for s in held],
        "residues drawn one by one": ["".join(rng.choice(letters, len(s))) for s in held],
        "other peptides of UniProt": other[::4],
    }
    return [peptide_row(name, rows) for name, rows in sets.items()]


def peptide_row(name: str, rows: Sequence[str]) -> dict[str, str]:
    found = {"peptides": name, "n": f"{len(rows):,}"}
    for reward in (amp, haemolytic):
        m = proportion(reward.name, sum(v > 0.5 for v in reward(rows)), len(rows), "")
        found[m.name] = f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]"
    means = {"charge": charge, "GRAVY": gravy, "moment": hydrophobic_moment}
    return found | {what: f"{np.mean(f(rows)):.2f}" for what, f in means.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("utr", "amp"))
    parser.add_argument("--model", help="default: the shipped one")
    parser.add_argument("-n", type=int, default=1_000)
    typed = parser.parse_args()
    make, model = {"utr": (utrs, "utr-rna"), "amp": (peptides, "amp-peptide")}[typed.what]
    print(table(make(typed.model or model, typed.n)))


if __name__ == "__main__":
    main()
