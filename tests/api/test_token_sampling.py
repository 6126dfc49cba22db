"""Settings as a person types them: which sampler they mean, and what contradicts itself."""

import pytest
import torch
from token_laws import MASK, Flat

from scidiff.api.settings import TokenSettings, chosen
from scidiff.api.token_sampling import RULES, MethodSettings, standing, token_sampler
from scidiff.core import seeded
from scidiff.guidance.particles import sample
from scidiff.samplers.ancestral import AncestralSampler
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.constraints import Count
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Entropy, Noisy, Random
from scidiff.samplers.paces import EntropyBounded, Fixed, Scheduled, Threshold
from scidiff.samplers.path_planning import PathSampler

USUAL = ("order", "tokens_per_step", "block_size", "temperature")


def made(constraints=(), **asked):
    usual = TokenSettings(**{k: v for k, v in asked.items() if k in USUAL})
    method = MethodSettings(**{k: v for k, v in asked.items() if k not in USUAL})
    canvas = FixedCanvas.blank(9, MASK)
    return token_sampler(usual, method, Flat(), canvas, constraints=constraints, compact=True)


@pytest.mark.parametrize("asked, pace", [
    ({}, Fixed(1)),
    ({"tokens_per_step": 3}, Fixed(3)),
    ({"steps": 4}, Scheduled(4, "cosine")),
    ({"steps": 4, "schedule": "linear"}, Scheduled(4, "linear")),
    ({"threshold": 0.8, "tokens_per_step": 2}, Threshold(0.8, 2)),
    ({"entropy_bound": 0.3}, EntropyBounded(0.3, 1)),
    ({"entropy_bound": 0.0}, EntropyBounded(0.0, 1)),
])  # fmt: skip
def test_how_many_tokens_a_step(asked, pace):
    sampler = made(**asked)
    assert isinstance(sampler, MaskedSampler) and sampler.pace == pace
    assert isinstance(sampler.order, Random) and not sampler.second_order


def test_which_first_and_which_token():
    sampler = made(order="entropy", randomness=2.0, top_p=0.9, temperature=0.7)
    assert isinstance(sampler.order, Noisy) and isinstance(sampler.order.order, Entropy)
    assert sampler.order.randomness == 2.0
    assert (sampler.draw.temperature, sampler.draw.top_p) == (0.7, 0.9)
    assert made(tokens_per_step=2, second_order=True).second_order


@pytest.mark.parametrize("remask", [None, *RULES])
def test_ancestral_steps(remask):
    asked = {"remask": remask} if remask else {"schedule": "ancestral"}
    sampler = made(steps=8, temperature=0.5, top_p=0.8, **asked)
    assert isinstance(sampler, AncestralSampler) and sampler.num_steps == 8 and sampler.compact
    assert (sampler.draw.temperature, sampler.draw.top_p) == (0.5, 0.8)
    assert sampler.remask == (RULES[remask]() if remask else None)


def test_how_much_is_hidden_again():
    assert made(steps=8, remask="remdm-cap", eta=0.2).remask.eta == 0.2
    assert made(steps=8, remask="corrector", eta=3.0).remask.strength == 3.0
    path = made(steps=8, remask="p2", eta=0.0, schedule="cosine")
    assert isinstance(path, PathSampler) and path.eta == 0 and path.pace.curve == "cosine"
    assert made(steps=8, remask="p2").eta == 1 and made(steps=8, remask="p2").num_steps == 8


def test_results_tell_what_was_chosen_alone():
    assert chosen(MethodSettings()) == {}
    assert chosen(MethodSettings(steps=4, eta=0.1, remask="p2")) == {
        "steps": 4, "remask": "p2", "eta": 0.1}  # fmt: skip


@pytest.mark.parametrize("asked, message", [
    ({"schedule": "cosin", "steps": 4}, "unknown schedule 'cosin'.*cosine"),
    ({"remask": "remdm", "steps": 4}, "unknown remask 'remdm'; expected one of remdm-cap"),
    ({"schedule": "cosine"}, "schedule needs steps, got schedule='cosine' alone"),
    ({"remask": "p2"}, "remask needs steps"),
    ({"eta": 0.5}, "eta needs remask"),
    ({"steps": 4, "threshold": 0.5}, "exclude each other: steps=4 and threshold=0.5"),
    ({"threshold": 0.5, "entropy_bound": 0.1}, "exclude each other"),
    ({"second_order": True, "threshold": 0.5}, "exclude each other: second_order=True"),
    ({"second_order": True, "steps": 4, "remask": "p2"}, "exclude each other"),
    ({"second_order": True, "steps": 4, "schedule": "ancestral"}, "second_order counts"),
    ({"second_order": True, "order": "entropy"}, "random orders"),
    ({"steps": 4, "remask": "remdm-conf", "eta": 0.1}, "remdm-conf' has no eta"),
    ({"steps": 4, "remask": "remdm-cap", "schedule": "linear"}, "goes over ancestral steps"),
    ({"steps": 4, "remask": "p2", "schedule": "ancestral"}, "'cosine' or 'linear'"),
    ({"steps": 4, "tokens_per_step": 2}, "tokens_per_step must be 1, got 2"),
    ({"randomness": 1.0}, "order that reads the prediction"),
    ({"randomness": -1.0, "order": "margin"}, "randomness must be finite and positive"),
    ({"steps": 4, "schedule": "ancestral", "order": "margin"}, "order must be 'random'"),
    ({"steps": 4, "remask": "p2", "randomness": 1.0}, "no order to disturb"),
    ({"steps": 0}, "steps must be at least 1, got 0"),
    ({"steps": 0, "schedule": "ancestral"}, "steps must be at least 1, got 0"),
    ({"top_p": 2.0}, "top_p"),
])  # fmt: skip
def test_contradictions_are_named(asked, message):
    with pytest.raises(ValueError, match=message):
        made(**asked)


@pytest.mark.parametrize("asked, stands", [
    ({}, ["order", "temperature", "tokens_per_step"]),
    ({"temperature": 0.5}, ["order", "temperature", "tokens_per_step"]),
    ({"order": "margin"}, ["order", "temperature", "tokens_per_step"]),
    ({"steps": 20}, ["order", "temperature"]),
    ({"threshold": 0.9}, ["order", "temperature"]),
    ({"steps": 20, "schedule": "cosine"}, ["order", "temperature"]),
    ({"steps": 20, "schedule": "ancestral"}, ["temperature"]),
    ({"steps": 20, "remask": "p2"}, ["temperature"]),
])  # fmt: skip
def test_what_is_asked_replaces_what_the_model_says_of_it(asked, stands):
    own = {"order": "entropy", "tokens_per_step": 4, "temperature": 1.0}
    assert sorted(standing(own, asked)) == stands
    made(**{**standing(own, asked), **asked})  # and nothing contradicts itself


def test_steps_over_time_hold_no_constraints():
    rule = Count([2], MASK + 1, least=1, most=2)
    with pytest.raises(ValueError, match="cannot hold constraints"):
        made([rule], steps=4, remask="p2")
    assert made([rule], steps=4).constraints == (rule,)


def test_every_setting_draws_whole_rows():
    for asked in ({}, {"schedule": "ancestral"}, {"remask": "p2"}, {"remask": "remdm-loop"}):
        ids = sample(made(steps=5, **asked), 20, seeded(0)).ids
        assert ids.dtype == torch.int64 and not (ids == MASK).any()
