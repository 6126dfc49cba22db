"""Models of token rows, strings or graphs: how a config becomes a sampler, a likelihood and an
infilling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from scidiff.api.asking import asked_rows
from scidiff.api.classifiers import ClassifierRequest
from scidiff.api.ends import BeforeTheEnd
from scidiff.api.energy import EnergyRequest
from scidiff.api.guides import GuideRequest
from scidiff.api.infilling import infill_rows
from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.api.rows import ROWS, Rows, StringRows, blank
from scidiff.api.settings import ConditionRequest, TokenSettings, choose, chosen
from scidiff.api.token_bounds import block_bound, length_log_prob, masked_bound
from scidiff.api.token_sampling import MethodSettings, TokenSampler, standing, token_sampler
from scidiff.core import Rng, ScidiffError, seeded
from scidiff.data.conditions import Asked
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.messages import nearest
from scidiff.networks.approximate_cache import ApproximateDenoiser, Refresh
from scidiff.networks.size_policy import load_size_policy
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer
from scidiff.processes.block import BlockProcess
from scidiff.processes.block_sizes import check_block_size
from scidiff.processes.discrete_flow import eligible
from scidiff.samplers.block_sizes import LearnedSizes
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.energy import EnergySampler
from scidiff.samplers.grammar import GrammarSampler
from scidiff.samplers.guided_unmasking import GuidedUnmasking
from scidiff.samplers.masked import MaskedSampler, TokenPredictor
from scidiff.samplers.orders import Sequential
from scidiff.samplers.paces import Fixed, Scheduled
from scidiff.samplers.strided import steps_until

TYPICAL = 0.95  # of the rows
PILOT = 64  # rows drawn to see how many steps they take


def policies(folder: Path) -> list[Path]:
    """The policies of block sizes that lie beside a model."""
    return sorted((folder / "block_policies").glob("*.safetensors"))


@dataclass(frozen=True)
class TokenEngine:
    """A token network with its vocabulary and config: makes samplers, likelihoods and
    infillings."""

    network: TokenTransformer
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32
    folder: Path | None = None  # where policies of block sizes lie beside the model

    unit = "tokens"

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def block_causal(self) -> bool:
        """True for a network trained left to right (autoregressive or block); it writes its own
        end."""
        return self.config["process"]["kind"] != "masked"

    @cached_property
    def rows(self) -> Rows:
        """What the rows hold."""
        kind = ROWS.get(self.vocabulary.notation, StringRows)
        return kind(self.vocabulary, self.config, self.network.config.max_length)

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, the config's with the user's on top, and what is asked beyond them."""
        s, method, energy, guide, classifier, *requests = self._chosen(overrides)
        rest = [chosen(record) for record in (method, *requests)]
        told = (vars(s), *rest, energy.told, guide.told, classifier.told)
        return {k: v for record in told for k, v in record.items()}

    def _chosen(self, overrides: Mapping[str, Any]) -> list[Any]:
        records = (
            TokenSettings, MethodSettings, EnergyRequest, GuideRequest, ClassifierRequest,
            ConditionRequest, *self.rows.requests,
        )  # fmt: skip
        usual = standing(self.config.get("sampling", {}), overrides)
        return choose(records, {**usual, **overrides})

    def sampler(
        self, canvas: Canvas | None = None, **overrides: Any
    ) -> TokenSampler | GrammarSampler | EnergySampler | GuidedUnmasking:
        """Build the sampler of the config's settings, with any of them overridden.

        A masked model is told by its canvas where a row ends, so it writes symbols only. What is
        asked of strings is an automaton, within which the sampler looks ahead.
        """
        s, method, energy, guide, classifier, asked, *request = self._chosen(overrides)
        self._check_block(s)
        condition = asked_rows(self.config, asked.condition, 1, self.device)
        automaton = self.rows.automaton(*request) if request else None
        denoiser = self._denoiser(
            s.block_size, method.prefix_cache, condition, asked.weight, method.approximate_cache
        )
        sampler = token_sampler(
            s if guide.guide is None else replace(s, tokens_per_step=1),
            method,
            classifier.around(denoiser, self.vocabulary),
            canvas or self.canvas(*request),
            constraints=self.rows.constraints(*request) if request else (),
            condition=condition,
            compact=self.device.type == "cpu",
            sizes=self._policy(method.block_policy),
            blocks=1 if s.block_size is None else self.typical_blocks(s.block_size),
        )
        around = {"constraints on strings": automaton, "an energy": energy.energy,
                  "a guide": guide.guide}  # fmt: skip
        given = [name for name, what in around.items() if what is not None]
        if not given:
            return sampler
        if not isinstance(sampler, MaskedSampler):
            raise ValueError(
                "constraints on strings, energies and guides choose token by token: leave remask "
                "and schedule = 'ancestral' out"
            )
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} cannot be asked together")
        if guide.guide is not None:
            return guide.around(
                sampler, self.vocabulary, s.tokens_per_step, self.block_causal
            )
        if automaton is None:
            return energy.around(sampler, self.vocabulary)
        return GrammarSampler(sampler, automaton)

    def _denoiser(
        self,
        block_size: int | None,
        cache: bool | None,
        condition: Tensor | None,
        weight: float,
        approximate: str | None = None,
    ) -> TokenPredictor:
        """The network as it is asked; with a weight, guided by what it says unasked."""
        told = self._told(block_size, cache, approximate, shown=condition is not None)
        if condition is None or weight == 1:
            return told
        plain = self._told(block_size, cache, approximate, shown=False)
        return ClassifierFree(told, plain, weight)

    def _told(
        self, block_size: int | None, cache: bool | None, approximate: str | None, *, shown: bool
    ) -> TokenPredictor:
        exact = TokenDenoiser(
            self.network, block_size, dtype=self.dtype, shown=shown, prefix_cache=cache
        )
        denoiser: TokenDenoiser | ApproximateDenoiser = exact
        if approximate is not None:
            denoiser = ApproximateDenoiser(exact, Refresh.read(approximate))
        if not self.block_causal and self.rows.writes_end:
            return BeforeTheEnd(denoiser, self.device)
        return denoiser

    def with_sizes(self, sizes: LearnedSizes, block_size: int) -> MaskedSampler:
        """The sampler that writes each part of a block in one step, as a policy is learnt for."""
        denoiser, blank_rows = self._denoiser(block_size, None, None, 1.0), self.canvas()
        return MaskedSampler(
            denoiser, blank_rows, order=Sequential(), block_size=block_size, sizes=sizes,
            tokens_per_step=sizes.sizes[-1],
        )  # fmt: skip

    def _policy(self, name: str | None) -> LearnedSizes | None:
        """The policy of block sizes in this file, or of this name beside the model."""
        if name is None:
            return None
        beside = [] if self.folder is None else policies(self.folder)
        file = next((f for f in beside if f.stem == name), Path(name))
        if not file.is_file():
            there = ", ".join(f.stem for f in beside) or "none"
            raise ScidiffError(
                f"block_policy must be a file or a policy of this model ({there}), got {name!r}"
                f"{nearest(name, [f.stem for f in beside])}"
            )
        return LearnedSizes(load_size_policy(file).to(self.device))

    def _check_block(self, s: TokenSettings) -> None:
        if self.block_causal and s.block_size is None:
            raise ScidiffError(
                "this model writes from left to right: block_size must be 1 or more, got None"
            )
        if self.block_causal and s.block_size is not None:
            self._check_trained(s.block_size)
        if not self.block_causal and s.block_size is not None:
            raise ScidiffError(
                "this model was trained on whole rows (masked diffusion): block_size must be "
                f"None, got {s.block_size}"
            )

    def _check_trained(self, block_size: int) -> None:
        """Refuse blocks in which the network was never asked anything."""
        most = self.config["process"].get("block_size") or 1
        trained = f"this model was trained with blocks of {most}: block_size"
        check_block_size(block_size, most, name=trained, error=ScidiffError)

    def canvas(self, request: Any = None) -> Canvas:
        """Blank rows: of the model's full length where it writes its own end, else of the training
        set's lengths."""
        if self.block_causal:
            return blank(self.rows, self.network.mask_id)
        return self.rows.canvas(request)

    def typical_steps(self, sampler: TokenSampler | GrammarSampler | EnergySampler) -> int:
        """Steps after which 95 % of the rows are finished, judged by the training lengths, and
        where what is predicted sets the pace by `PILOT` draws."""
        if not self.block_causal:
            return sampler.num_steps
        inner: Any = getattr(sampler, "inner", sampler)
        size = inner.block_size
        told = isinstance(inner.pace, Fixed | Scheduled) and inner.sizes is None
        if size > 1 and (isinstance(sampler, GuidedUnmasking) or not told):
            if sampler not in self._pilots:
                rng = seeded(0, 0, self.device)
                self._pilots[sampler] = steps_until(sampler, TYPICAL, PILOT, rng)
            return self._pilots[sampler]
        block = torch.arange(self.typical_blocks(size))
        steps = inner.pace.longest(torch.full_like(block, size), block)
        return min(sampler.num_steps, int(steps.sum()))

    def typical_blocks(self, block_size: int) -> int:
        """Blocks within which 95 % of the rows end, judged by the training lengths."""
        counts = torch.tensor(self.config["length_counts"], dtype=torch.float64)
        longest = int((counts.cumsum(0) < TYPICAL * counts.sum()).sum()) + 1
        return math.ceil(longest / block_size)

    @cached_property
    def _pilots(self) -> WeakKeyDictionary[Any, int]:
        """Typical steps of samplers that were tried."""
        return WeakKeyDictionary()

    # ---- likelihood

    def encode(self, texts: Sequence[str]) -> TokenState:
        """Texts as rows of the model's length."""
        ids = encode_rows(self.vocabulary, texts, self.network.config.max_length)
        return TokenState(ids.to(self.device))

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its end."""
        return [len(self.vocabulary.split(text)) + 1 for text in texts]

    def log_likelihood(
        self, texts: Sequence[str], how: LikelihoodRequest
    ) -> tuple[Tensor, Tensor]:
        """Lower bound on log p(text) in nats and its standard error over draws, each (B,), by a
        method of `token_bounds`.

        With block_size 1 the value is exact up to rounding and the error 0; a masked model's is
        given the length. The text of a graph is one order of its nodes.
        """
        x0, mask_id = self._told_rows(texts, how.condition), self.network.mask_id
        if self.block_causal:
            own = self._chosen({})[0].block_size or 1
            size = own if how.block_size is None else how.block_size
            process = BlockProcess(mask_id, size)
            self._check_trained(size)
            return block_bound(self.network, x0, process, how.method, how.draws, how.seed)
        how.refuse("this model was trained on whole rows (masked diffusion)", "block_size")
        return masked_bound(self.network, x0, mask_id, how.method, how.draws, how.seed)

    def _told_rows(self, texts: Sequence[str], condition: Asked | None) -> TokenState:
        """Texts as rows with what each is asked to be like."""
        told = asked_rows(self.config, condition, len(texts), self.device)
        return replace(self.encode(texts), condition=told)

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of the length of each text (B,): 0 where the model writes the end itself."""
        if self.block_causal:
            return torch.zeros(len(texts), dtype=torch.float64)
        x0 = self.encode(texts)
        return length_log_prob(self.config["length_counts"], x0, eligible(x0.ids))

    # ---- infilling

    def infill(self, asked: InfillRequest, rng: Rng, **overrides: Any) -> TokenState:
        """Draw rows that hold a pattern and write what it leaves open, see
        `infilling.infill_rows`."""
        return infill_rows(self, asked, rng, overrides)
