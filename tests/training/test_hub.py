"""Models travel to and from the hub by a stand-in client; a closed local port plays the dead
network."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from scidiff.training.checkpoint import CheckpointError
from scidiff.training.hub import FILES, HubError, fetch, parse, push

CONFIG = {"format": 1, "domain": "smiles", "network": {}, "sha256": "0" * 64}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


class Hub:
    """What the client was asked for, and the answer it gives."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, []

    def __call__(self, *args, **kwargs):
        self.asked.append((args, kwargs))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, model: Path) -> Hub:
    stand_in = Hub(str(model))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in)
    return stand_in


def test_fetch_asks_for_weights_config_and_card_only(hub: Hub, model: Path) -> None:
    assert fetch("hf://lab/model@v2") == model
    ((args, kwargs),) = hub.asked
    assert args == ("lab/model",) and kwargs["revision"] == "v2"
    assert kwargs["allow_patterns"] == FILES
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".pkl", "*")) for pattern in FILES)


@pytest.mark.parametrize(
    "uri", ["hf://", "hf://model", "hf://a/b/c", "hf://a/b@", "a/b", "hf://../b"]
)
def test_a_wrong_uri_shows_the_right_form(uri: str) -> None:
    with pytest.raises(ValueError, match="hf://owner/name"):
        parse(uri)


def test_a_repository_that_is_no_scidiff_model_is_refused(hub: Hub, model: Path) -> None:
    (model / "config.json").unlink()
    (model / "model.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match="config.json is missing"):
        fetch("hf://lab/model")


@pytest.mark.parametrize(
    "failure, says",
    [
        (errors.LocalEntryNotFoundError("long\ntext"), "the hub cannot be reached"),
        (errors.LocalTokenNotFoundError("no token"), "HF_TOKEN"),
        (OSError("disk full\nmore"), "disk full"),
    ],
)
def test_a_failure_is_one_line(hub: Hub, failure: Exception, says: str) -> None:
    hub.answer = failure
    with pytest.raises(HubError, match=says) as caught:
        fetch("hf://lab/model")
    assert "hf://lab/model" in str(caught.value) and "\n" not in str(caught.value)


def test_offline_says_which_variable(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.answer = errors.LocalEntryNotFoundError("x")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        fetch("hf://lab/model")


class Api:
    def __init__(self, calls: list) -> None:
        self.calls = calls

    def create_repo(self, repository, **kwargs):
        self.calls.append(("create", repository, kwargs))

    def upload_folder(self, **kwargs):
        self.calls.append(("upload", kwargs))
        return SimpleNamespace(commit_url="https://hub/lab/model")


def test_push_sends_no_pickle(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    calls = []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Api(calls))
    (model / "state.pt").write_bytes(b"optimizer")
    assert push(model, "hf://lab/model", private=True) == "https://hub/lab/model"
    (_, repository, made), (_, sent) = calls
    assert repository == "lab/model" and made == {"private": True, "exist_ok": True}
    assert sent["allow_patterns"] == FILES and sent["folder_path"] == model


def test_push_refuses_half_a_model(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(HubError, match="model.safetensors is missing"):
        push(model, "hf://lab/model")


CODE = """
import sys, warnings
from scidiff.training.hub import HubError, fetch, push
for call in (lambda: fetch("hf://lab/model", cache=sys.argv[1]),
             lambda: push(sys.argv[2], "hf://lab/model")):
    try:
        call()
    except HubError as error:
        print(error)
"""


def test_a_dead_network_is_one_line_from_the_real_client(tmp_path: Path, model: Path) -> None:
    env = {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_TOKEN": "x",
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-c", CODE, str(tmp_path / "cache"), str(model)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("the hub cannot be reached" in line for line in lines), lines
