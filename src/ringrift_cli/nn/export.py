"""ONNX export of networks, verified against torch.

    planes   uint8   [N, W, W, C]   →   policy  float32 [N, T_ACTIONS]   logits of every action
    scalars  float32 [N, K]             value   float32 [N, players]     logits of who wins

N is dynamic. Planes and scalars are those of features.py, actions those of docs/actions.md;
relative seat 0 is the mover. The logits of illegal actions are meaningless: take the softmax over
the legal ones. docs/models.md has an example.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.nn.checkpoint import Checkpoint
from ringrift_cli.nn.features import FEATURES_VERSION, encode_all
from ringrift_cli.nn.network import Network
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.version import MARK, __version__

OPSET = 18
INPUTS, OUTPUTS = ("planes", "scalars"), ("policy", "value")
CHECKED = 64  # positions
CHECK_SEED = 0x6F6E6E78
TOLERANCE = 1e-3  # of a logit; the order of float32 summation changes about 1e-5
PREFIX = "ringrift."  # of the metadata


@dataclass(frozen=True)
class Exported:
    """An ONNX file and its deviation from the network."""

    path: Path
    bytes: int
    sha256: str
    positions: int  # of random games, on which both were compared
    difference: float  # maximum over all logits


class _Dense(torch.nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.dense(planes, scalars)


def export_onnx(checkpoint: Checkpoint, path: Path) -> Exported:
    """Writes the network of a checkpoint as a single ONNX file, atomically.

    `RingriftError` if required packages are missing, or if onnxruntime's logits differ from torch's
    by more than `TOLERANCE`; nothing is written then.
    """
    onnx, runtime = _packages()
    architecture = checkpoint.network.architecture
    T = tables(architecture.board, architecture.players)
    rows = drawn_rows(architecture.board, architecture.players, CHECKED)
    planes, scalars = encode_all(T, rows)
    model = _exported(checkpoint.network, torch.from_numpy(planes), torch.from_numpy(scalars))
    onnx.helper.set_model_props(model, metadata(checkpoint))
    model.producer_name, model.producer_version = MARK, __version__
    model.doc_string = __doc__ or ""
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    difference = _difference(runtime, data, checkpoint.network, planes, scalars)
    if not difference <= TOLERANCE:
        raise RingriftError(
            f"The ONNX form of {checkpoint.identity} is wrong: a logit differs from the network's"
            f" by {difference:.3g}, where {TOLERANCE:g} is allowed. {path} was not written.",
            hint="another version of onnxruntime or torch",
        )
    write_whole(path, data)
    return Exported(path, len(data), sha256(data), len(rows), difference)


def metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Metadata properties of the file."""
    architecture = checkpoint.network.architecture
    properties: dict[str, object] = {
        "identity": checkpoint.identity,
        "board": architecture.board,
        "players": architecture.players,
        "features": FEATURES_VERSION,
        "rules": rules_hash(),
        "codec": codec_hash(),
        "actions": int(tables(architecture.board, architecture.players)[L.T_ACTIONS]),
    }
    return {f"{PREFIX}{name}": str(value) for name, value in properties.items()}


def drawn_rows(board: str, players: int, count: int) -> IntArray:
    """Positions of random games, [count, row size]; row i is at most i decisions deep."""
    T = tables(board, players)
    rows = np.zeros((count, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(count, np.bool_), False)
    seeds = playout.game_seeds(CHECK_SEED, 0, count)
    for depth in range(count):
        late = np.arange(count) >= depth
        going, numbers = rows[late].copy(), seeds[late].copy()
        log, lengths = np.zeros((len(going), 1), np.int32), np.zeros(len(going), np.int64)
        playout.play_random(T, going, numbers, log, lengths)
        on = going[:, L.PHASE] != L.OVER  # a game stops before its end
        rows[np.flatnonzero(late)[on]] = going[on]
        seeds[late] = numbers
    return rows


def _packages() -> tuple[Any, Any]:
    """The modules onnx and onnxruntime; `RingriftError` if a required package is missing."""
    try:
        for name in ("onnx.helper", "onnx.checker", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RingriftError(
            f"ONNX needs packages that are not installed ({error}).",
            hint="pip install 'ringrift[onnx]'",
        ) from error


def _exported(network: Network, planes: Tensor, scalars: Tensor) -> Any:
    """The ONNX model of a network, with dynamic batch size."""
    count = torch.export.Dim("N")
    with _quiet():
        program = torch.onnx.export(
            _Dense(network).eval(),
            (planes, scalars),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: count}, {0: count}),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RingriftError("torch exported nothing.", hint="another version of torch")
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses warnings of the exporter; its output is verified afterwards."""
    import logging  # noqa: TID251  torch's own: it warns that torchvision is not installed

    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _difference(runtime: Any, data: bytes, network: Network, planes: Any, scalars: Any) -> float:
    """Maximum difference of a logit between onnxruntime and torch, for two batch sizes.

    Infinite if the shapes differ.
    """
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    greatest = 0.0
    for end in (len(planes), 1):
        inputs = dict(zip(INPUTS, (planes[:end], scalars[:end]), strict=True))
        found = session.run(list(OUTPUTS), inputs)
        with torch.inference_mode():
            own = network.dense(*(torch.from_numpy(array) for array in inputs.values()))
        for array, tensor in zip(found, own, strict=True):
            if array.shape != tuple(tensor.shape):
                return float("inf")
            greatest = float(np.maximum(greatest, np.abs(array - tensor.numpy()).max()))  # or nan
    return greatest
