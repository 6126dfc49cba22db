"""What a grammar does to guesses of the end and to guidance that scores them, on a masked model of
SMILES: the share of valid guesses on the way, then designs at equal looks. Times are those of this
thread on the CPU.

    python benchmarks/grammar.py --model runs/qm9-smiles-masked/model --reward qed
"""

from __future__ import annotations

import argparse
import json
import time

import torch

import scidiff as sd
from scidiff.api.card import table
from scidiff.core import seeded
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import per_parent, smc
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.scoring import Scorer
from scidiff.samplers.automata import ended
from scidiff.samplers.grammar import GrammarLookahead, GrammarSampler
from scidiff.samplers.smiles_grammar import smiles

SHARES = (0.0, 0.25, 0.5, 0.75)
SAMPLERS = ("plain", "guesses", "guesses and steps")
RULES = {"unguided": (per_parent, 1), "svdd": (per_parent, 4), "smc": (smc(0.5), 1)}


def variants(model, args):
    """The plain sampler, with guesses by the grammar, and with steps by the grammar as well."""
    plain = model.sampler()
    grammar = ended(smiles(model.engine.vocabulary, depth=args.depth, memory=args.memory))
    print(f"grammar of {len(grammar)} states")
    made = {
        "plain": plain,
        "guesses": GrammarLookahead(plain, grammar),
        "guesses and steps": GrammarSampler(plain, grammar),
    }
    return {name: made[name] for name in args.samplers}


def guesses(model, name, sampler, n, seed):
    """Share of valid guesses at each share of the way, and at the end."""
    x, rng, row = sampler.init(n, seeded(seed)), seeded(seed, 1), {"sampler": name}
    looks = {round(share * sampler.num_steps): share for share in SHARES}
    start = time.thread_time()
    for k in range(sampler.num_steps):
        if k in looks:
            records = model.domain.decode(sampler.predict_clean(x, k, rng))
            row[f"valid guesses at {looks[k]:.0%}"] = sum(r.valid for r in records) / n
        x = sampler.step(x, k, rng)
    row["valid ends"] = sum(r.valid for r in model.domain.decode(x)) / n
    return {**row, "CPU s": round(time.thread_time() - start, 1)}


def designs(model, name, sampler, rule, args):
    """One guided run: what it reached, what it asked."""
    select, branch = RULES[rule]
    scorer = Scorer(resolve_reward(args.reward), key=model.domain.key)
    start = time.thread_time()
    run = guided_sample(
        sampler, Decoded(model.domain, scorer), args.n, seeded(args.seed, 2),
        select=select, branch=branch, every=args.every, strength=args.strength,
    )  # fmt: skip
    values, records = run.scores / args.strength, model.domain.decode(run.x)
    return {
        "method": rule,
        "sampler": name,
        "mean": float(values.mean()),
        "median": float(values.median()),
        "standard error": float(values.std() / args.n**0.5),
        "top 10 %": float(values.sort().values[-max(1, args.n // 10) :].mean()),
        "valid": sum(r.valid for r in records) / args.n,
        "unique": len({model.domain.key(r) for r in records if r.valid}) / args.n,
        "ess": float(run.ess.mean()) / args.n,
        "objects asked": scorer.asked,
        "network rows": run.ledger.network_rows,
        "CPU s": round(time.thread_time() - start, 1),
    }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a masked model of SMILES")
    parser.add_argument("--reward", default="qed")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("-n", type=int, default=256)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--strength", type=float, default=20.0)
    parser.add_argument("--depth", type=int, default=2, help="branches that may be open at a time")
    parser.add_argument("--memory", type=int, default=0, help="atoms remembered behind branches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="also write the rows to this file")
    args = parser.parse_args()
    model = sd.load(args.model)
    samplers = variants(model, args)
    told = [guesses(model, name, s, args.n, args.seed) for name, s in samplers.items()]
    print(table(told), flush=True)
    found = []
    for rule in args.rules:
        for name, sampler in samplers.items():
            found.append(designs(model, name, sampler, rule, args))
            print(found[-1], flush=True)
    print(table(found))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"guesses": told, "designs": found}, file, indent=1)


if __name__ == "__main__":
    main()
