"""ONNX files: they say what the network says, and what they are."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import tables
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.nn import checkpoint, export
from ringrift_cli.nn.checkpoint import Checkpoint
from ringrift_cli.nn.export import drawn_rows, export_onnx
from ringrift_cli.nn.features import FEATURES_VERSION, encode_all, global_count, plane_count
from tests.nn.networks import network

onnxruntime = importlib.import_module("onnxruntime")  # it ships no types


def saved(folder: Path, board: str, players: int) -> Checkpoint:
    return checkpoint.load(checkpoint.save(folder, network(board, players), {}))


@pytest.mark.parametrize(
    ("board", "players"), [("square8", 4), ("square19", 3), ("hex8", 2), ("hexagonal", 2)]
)
def test_says_what_the_network_says(board: str, players: int, tmp_path: Path) -> None:
    made = saved(tmp_path, board, players)
    done = export_onnx(made, tmp_path / "model.onnx")
    assert done.path.stat().st_size == done.bytes
    assert done.positions == 64
    assert 0 <= done.difference < 1e-4
    T = tables(board, players)
    rows = drawn_rows(board, players, 30)[7:30]  # a batch of a size that was not checked
    planes, scalars = encode_all(T, rows)
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    policy, value = session.run(["policy", "value"], {"planes": planes, "scalars": scalars})
    actions, offsets = playout.list_all(T, rows)
    position = np.repeat(np.arange(len(rows)), np.diff(offsets))
    with torch.inference_mode():
        heads = made.network(
            torch.from_numpy(planes),
            torch.from_numpy(scalars),
            torch.from_numpy(position),
            torch.from_numpy(actions.astype(np.int64)),
        )
    assert policy.shape == (len(rows), int(T[L.T_ACTIONS]))
    np.testing.assert_allclose(policy[position, actions], heads.logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(value, heads.value.numpy(), atol=1e-4)
    assert np.ptp(policy[position, actions]) > 0.5  # they say something


def test_says_what_it_is(tmp_path: Path) -> None:
    made = saved(tmp_path, "hex8", 3)
    model = onnx.load(export_onnx(made, tmp_path / "model.onnx").path)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "ringrift.identity": made.identity,
        "ringrift.board": "hex8",
        "ringrift.players": "3",
        "ringrift.features": str(FEATURES_VERSION),
        "ringrift.rules": rules_hash(),
        "ringrift.codec": codec_hash(),
        "ringrift.actions": "7630",
    }
    assert "softmax over" in model.doc_string

    def shape(value: Any) -> list[object]:
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    inputs = {value.name: shape(value) for value in model.graph.input}
    assert inputs == {"planes": ["N", 9, 9, plane_count(3)], "scalars": ["N", global_count(3)]}
    outputs = {value.name: shape(value) for value in model.graph.output}
    assert outputs == {"policy": ["N", 7630], "value": ["N", 3]}


def test_positions_are_of_all_parts_of_a_game() -> None:
    rows = drawn_rows("square8", 2, 64)
    assert (rows[:, L.PHASE] != L.OVER).all()
    assert len(np.unique(rows, axis=0)) == 64
    assert rows[0, L.TURN] == 1
    assert rows[63, L.TURN] > 15


def test_what_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, other = saved(tmp_path, "hex8", 2), network("hex8", 2, seed=1)
    real = export._exported  # noqa: SLF001

    def wrong(_network: Any, planes: Any, scalars: Any) -> Any:
        return real(other, planes, scalars)

    monkeypatch.setattr(export, "_exported", wrong)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"as it was")
    with pytest.raises(RingriftError, match="a logit differs from the network's by"):
        export_onnx(made, out)
    assert out.read_bytes() == b"as it was"


def test_numbers_that_are_none_are_told(tmp_path: Path) -> None:
    made = saved(tmp_path, "hex8", 2)
    with torch.no_grad():
        made.network.value.bias.fill_(float("nan"))
    with pytest.raises(RingriftError, match="differs from the network's by nan"):
        export_onnx(made, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_missing_packages_are_named(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def fake(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", fake)
    with pytest.raises(RingriftError, match=f"No module named '{missing}'") as raised:
        export_onnx(saved(tmp_path, "hex8", 2), tmp_path / "model.onnx")
    assert raised.value.hint == "pip install 'ringrift[onnx]'"
