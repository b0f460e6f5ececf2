"""Checkpoints: what is saved is what is loaded, and nothing else is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ringrift_cli.errors import OutputError, RecordError, RingriftError, RulesMismatch, UsageError
from ringrift_cli.nn import checkpoint, features
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from tests.nn.networks import network

ABOUT = {"parents": ["0123456789abcdef"], "steps": 100, "metrics": {"loss": 1.5}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The JSON of a checkpoint of `network("hex8", 2)`."""
    return checkpoint.save(tmp_path / "models", network("hex8", 2), ABOUT)


def weights_of(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# ---- what is saved ------------------------------------------------------------------------------


@pytest.mark.parametrize("players", [2, 3, 4])
def test_loads_what_was_saved(players: int, tmp_path: Path) -> None:
    net = network("square8", players)
    path = checkpoint.save(tmp_path, net, ABOUT)
    loaded = checkpoint.load(path, "square8", players)
    assert loaded.about == ABOUT
    assert loaded.identity == checkpoint.identity_of(net) == path.stem
    assert loaded.network.architecture == net.architecture
    assert not loaded.network.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    assert checkpoint.load(weights_of(path)).identity == loaded.identity


def test_json_says_all_the_rest(saved: Path) -> None:
    document = checkpoint.read_about(saved)
    assert document == checkpoint.read_about(weights_of(saved)) == json.loads(saved.read_text())
    assert set(document) == set(checkpoint.FIELDS)
    assert document["sha256"] == sha256(weights_of(saved).read_bytes())
    assert document["architecture"] == network("hex8", 2).architecture.to_json()
    assert document["about"] == ABOUT


def test_identity_is_of_what_the_network_computes(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of file names or of what is told about it; of weights, architecture and features."""
    for file in (saved, weights_of(saved)):
        shutil.copy(file, tmp_path / f"another.name{file.suffix}")
    identity = checkpoint.load(tmp_path / "another.name.json").identity
    assert identity == saved.stem
    assert checkpoint.save(tmp_path / "b", network("hex8", 2), {"other": 1}).stem == identity
    net = network("hex8", 2)
    with torch.no_grad():
        net.policy_bias[0] += 1e-6
    others = {checkpoint.identity_of(net), checkpoint.identity_of(network("hex8", 3))}
    monkeypatch.setattr(features, "FEATURES_VERSION", features.FEATURES_VERSION + 1)
    others.add(checkpoint.identity_of(network("hex8", 2)))
    assert len(others | {identity}) == 4


def test_about_is_read_without_torch(saved: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ringrift_cli.nn.checkpoint import read_about; "
        f"print(read_about(Path({str(saved)!r}))['identity'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [saved.stem, "False"]


# ---- what is refused ----------------------------------------------------------------------------


def damage_byte(path: Path) -> None:
    data = bytearray(weights_of(path).read_bytes())
    data[-1] ^= 1
    weights_of(path).write_bytes(bytes(data))


def rewrite(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """Writes other tensors, and a JSON that fits them."""

    def write(path: Path) -> None:
        tensors = load_file(weights_of(path))
        change(tensors)
        save_file(tensors, weights_of(path))
        edit(path, sha256=sha256(weights_of(path).read_bytes()))

    return write


def no_tensors(path: Path) -> None:
    weights_of(path).write_bytes(b"no tensors")
    edit(path, sha256=sha256(b"no tensors"))


def swap_weights(path: Path) -> None:
    other = checkpoint.save(path.parent, network("hex8", 2, seed=5), {})
    shutil.copy(weights_of(other), weights_of(path))


REFUSED: dict[str, tuple[Callable[[Path], Any], type[RingriftError], str]] = {
    "rules": (lambda p: edit(p, rules="0" * 12), RulesMismatch, "rules '000000000000'"),
    "codec": (lambda p: edit(p, codec="0" * 12), RulesMismatch, "codec '000000000000'"),
    "features": (lambda p: edit(p, features=99), RulesMismatch, "features 99"),
    "version": (lambda p: edit(p, version=2), RulesMismatch, "version 2, not 1"),
    "format": (lambda p: edit(p, format="other"), RecordError, "'ringrift-network'"),
    "field": (lambda p: edit(p, about=None), RecordError, "'about' is None, expected dict"),
    "architecture": (lambda p: edit(p, architecture={}), RecordError, "has the fields"),
    "identity": (lambda p: edit(p, identity="f" * 16), RecordError, "its identity is"),
    "no json": (lambda p: p.write_text("{"), RecordError, "is not valid JSON"),
    "json gone": (lambda p: p.unlink(), RecordError, "Cannot read"),
    "weights gone": (lambda p: weights_of(p).unlink(), RecordError, "Cannot read"),
    "a byte": (damage_byte, RecordError, "does not match"),
    "other weights": (swap_weights, RecordError, "does not match"),
    "no tensors": (no_tensors, RecordError, "not a safetensors file"),
    "tensor missing": (
        rewrite(lambda t: t.pop("value.bias")),
        RecordError,
        "lacks the tensor value.bias",
    ),
    "tensor more": (
        rewrite(lambda t: t.update(more=torch.zeros(1))),
        RecordError,
        "tensor more",
    ),
    "shape": (
        rewrite(lambda t: t.update({"value.bias": torch.zeros(3)})),
        RecordError,
        r"value.bias is torch.float32 \(3,\)",
    ),
    "type": (
        rewrite(lambda t: t.update({"value.bias": torch.zeros(2, dtype=torch.float16)})),
        RecordError,
        r"torch.float16",
    ),
    "nan": (
        rewrite(lambda t: t["value.bias"].fill_(float("nan"))),
        RecordError,
        "not finite",
    ),
    "other numbers": (rewrite(lambda t: t["value.bias"].add_(1)), RecordError, "its identity is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name: str, saved: Path) -> None:
    change, error, message = REFUSED[name]
    change(saved)
    with pytest.raises(error, match=message):
        checkpoint.load(saved)


def test_another_board_or_number_of_players_is_refused(saved: Path) -> None:
    for board, players in (("square8", 2), ("hex8", 3), ("square8", None), (None, 4)):
        with pytest.raises(UsageError, match="a network for hex8 with 2 players, not for"):
            checkpoint.load(saved, board, players)
    assert checkpoint.load(saved, "hex8").identity == saved.stem


def test_paths_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.json or \.safetensors"):
        checkpoint.load(tmp_path / "model.pt")


def test_network_with_a_number_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    net = Network(architecture("tiny", "hex8", 2))
    with torch.no_grad():
        net.stem.weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(RecordError, match=r"stem\.weight has values that are not finite"):
        checkpoint.save(tmp_path, net, {})
    assert not list(tmp_path.iterdir())


def test_json_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that was interrupted has no JSON, and is none."""

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise OutputError("disk full")
        write_whole(path, data)

    monkeypatch.setattr(checkpoint, "write_whole", full)
    with pytest.raises(OutputError, match="disk full"):
        checkpoint.save(tmp_path, network("hex8", 2), {})
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".safetensors"
    with pytest.raises(RecordError, match="Cannot read"):
        checkpoint.load(left)
