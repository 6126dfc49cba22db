"""Model directories: what is written comes back, and what is damaged or foreign is refused."""

import json
import os

import pytest
import torch

from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.training.checkpoint import (
    CheckpointError,
    class_path,
    load_network,
    read_config,
    resolve_class,
    save_model,
    write_atomically,
)


def network():
    torch.manual_seed(0)
    net = TokenTransformer(TokenTransformerConfig(7, 9, width=16, depth=1, heads=2))
    for p in net.parameters():
        torch.nn.init.normal_(p)
    return net


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "m", network(), {"domain": "smiles", "name": "m"}, "# card")
    return tmp_path / "m"


def load(folder):
    return load_network(folder, read_config(folder))


def edit(folder, **changes):
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    config = {k: v for k, v in config.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(config))


def test_float32_comes_back_exactly(folder):
    back, net = load(folder), network()
    assert back.config == net.config and not back.training
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), net.parameters(), strict=True))
    assert (folder / "README.md").read_text() == "# card"
    assert read_config(folder)["name"] == "m"
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]


def test_bf16_comes_back_rounded_in_float32(tmp_path):
    save_model(tmp_path, network(), {"domain": "smiles"}, "", dtype=torch.bfloat16)
    for a, b in zip(load(tmp_path).parameters(), network().parameters(), strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b.bfloat16().float())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_weights_are_found(folder, damage):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(
        {"truncated": file.read_bytes()[:-100], "flipped": bytes(content), "empty": b""}[damage]
    )
    with pytest.raises(CheckpointError, match="corrupt or truncated"):
        load(folder)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".CKPT", ".bin"])
def test_pickles_are_refused_unopened(tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(CheckpointError, match="never opened"):
        read_config(file)


def test_a_pickle_in_place_of_the_weights_is_named(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin is there, but pickles are never"):
        load(folder)


@pytest.mark.parametrize(
    "path",
    ["os:system", "scidiff_evil:Net", "torch.nn:Linear", "scidiff.core", "scidiff.core:Nothing",
     "scidiff.nowhere:Net", "scidiff.core:seeded"],
)
def test_foreign_classes_are_refused(folder, path):
    with pytest.raises(CheckpointError, match="config names"):
        resolve_class(path)
    edit(folder, network={"class": path, "config": {}})
    with pytest.raises(CheckpointError):
        load(folder)


def test_classes_of_scidiff_that_are_no_networks_are_refused(folder):
    name = "scidiff.training.config:Train"  # TrainConfig exists, Train does not
    edit(folder, network={"class": name, "config": {}})
    with pytest.raises(CheckpointError, match="lacks"):
        load(folder)


def test_class_paths_come_back():
    assert resolve_class(class_path(network())) is TokenTransformer


@pytest.mark.parametrize("key", ["format", "domain", "network", "sha256"])
def test_missing_keys_are_named(folder, key):
    edit(folder, **{key: None})
    with pytest.raises(CheckpointError, match=f"lacks {key}"):
        read_config(folder)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": 99}, "update scidiff"),
        ({"format": "1"}, "update scidiff"),
        ({"network": {"class": "scidiff.core:Tape"}}, "class and config"),
        ({"network": []}, "class and config"),
    ],
)
def test_wrong_values_are_one_line(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [{"width": 32}, {"depth": 2}, {"colour": 1}, {"heads": 3}])
def test_weights_of_another_shape_are_refused(folder, shape):
    spec = json.loads((folder / "config.json").read_text())["network"]
    edit(folder, network={**spec, "config": {**spec["config"], **shape}})
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"3"])
def test_damaged_config(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged|lacks"):
        read_config(folder)


def test_no_model_directory(tmp_path):
    with pytest.raises(CheckpointError, match="config.json is missing"):
        read_config(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "a.json"
    write_atomically(file, b"old")

    def broken(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old" and os.listdir(file.parent) == ["a.json"]


@pytest.mark.parametrize("inside", ["model", "designs.csv"])
def test_what_may_have_been_meant_is_named(tmp_path, inside):
    (tmp_path / inside).mkdir()
    with pytest.raises(CheckpointError, match=f"is missing; did you mean .*{inside}"):
        read_config(tmp_path)
