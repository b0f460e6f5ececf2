"""Checkpoints: network weights as safetensors with metadata in JSON.

`<identity>.safetensors` and `<identity>.json` are written atomically, the JSON last: a checkpoint
with a JSON file is complete. The identity is a hash of weights, architecture and features version.
Loading is strict: any mismatch is an error that names the field or tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringrift_cli.errors import RecordError, RulesMismatch, UsageError
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256

if TYPE_CHECKING:
    from torch import Tensor

    from ringrift_cli.nn.network import Network

FORMAT = "ringrift-network"
VERSION = 1
WEIGHTS, ABOUT = ".safetensors", ".json"
FIELDS = {
    "format": str,
    "version": int,
    "architecture": dict,
    "features": int,
    "rules": str,
    "codec": str,
    "sha256": str,
    "identity": str,
    "time": str,
    "about": dict,
}


@dataclass(frozen=True)
class Checkpoint:
    """A network with its metadata."""

    network: Network
    about: dict[str, Any]  # as passed to `save`: parents, data, steps, metrics
    identity: str


def identity_of(network: Network) -> str:
    """Hash of weights, architecture and features version, 16 hex digits."""
    from ringrift_cli.nn.features import FEATURES_VERSION

    head = json.dumps([network.architecture.to_json(), FEATURES_VERSION], sort_keys=True)
    digest = hashlib.sha256(head.encode())
    for name, tensor in sorted(_tensors(network).items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _tensors(network: Network) -> dict[str, Tensor]:
    """All tensors of a network, on the CPU."""
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }


def save(folder: Path, network: Network, about: dict[str, Any]) -> Path:
    """Writes a checkpoint and returns the path of its JSON.

    `about` must be JSON-serialisable. `RecordError` if a weight is not finite, `OutputError` if it
    cannot be written.
    """
    from safetensors.torch import save as to_safetensors

    from ringrift_cli.game.version import codec_hash, rules_hash
    from ringrift_cli.nn.features import FEATURES_VERSION

    tensors = _tensors(network)
    _check_finite("the network to save", tensors)
    weights, identity = to_safetensors(tensors), identity_of(network)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": network.architecture.to_json(),
        "features": FEATURES_VERSION,
        "rules": rules_hash(),
        "codec": codec_hash(),
        "sha256": sha256(weights),
        "identity": identity,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "about": about,
    }
    path = folder / f"{identity}{ABOUT}"
    write_whole(folder / f"{identity}{WEIGHTS}", weights)
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
    return path


def generation_of(about: Mapping[str, Any]) -> int:
    """Generation of a checkpoint; 0 if its metadata has none."""
    return int(about.get("generation") or 0)


def _check_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise RecordError(
                f"{where}: tensor {name} has values that are not finite.",
                hint="a lower learning rate",
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"Cannot read {path}: {error.strerror}.",
            hint=f"a checkpoint is two files, NAME{ABOUT} and NAME{WEIGHTS}",
        ) from error


def _pair(path: Path) -> tuple[Path, Path]:
    """Paths of the JSON and the weights, from either."""
    if path.suffix not in (ABOUT, WEIGHTS):
        raise UsageError(
            f"{path} is not a checkpoint: expected a path that ends in {ABOUT} or {WEIGHTS}."
        )
    return path.with_suffix(ABOUT), path.with_suffix(WEIGHTS)


def read_about(path: Path) -> dict[str, Any]:
    """Reads the metadata of a checkpoint, given the path of either file; validates FIELDS.

    `RecordError` if it is damaged, `RulesMismatch` for another format version.
    """
    path, _ = _pair(path)
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"{path} is not a checkpoint: it has no format {FORMAT!r}.")
    if document.get("version") != VERSION:
        raise RulesMismatch(
            f"{path} is a checkpoint of version {document.get('version')!r}, not {VERSION}."
        )
    for name, kind in FIELDS.items():
        if type(document.get(name)) is not kind:
            raise RecordError(
                f"{path}: its {name!r} is {document.get(name)!r}, expected {kind.__name__}."
            )
    return document


def load(path: Path, board: str | None = None, players: int | None = None) -> Checkpoint:
    """Loads a checkpoint, given the path of either file, in evaluation mode on the CPU.

    `UsageError` for another board or number of players than given, `RulesMismatch` for other rules,
    actions or features, `RecordError` for files that are damaged, do not belong together or whose
    tensors differ from the architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_safetensors

    from ringrift_cli.nn.network import Architecture, Network

    path, weights_path = _pair(path)
    document = read_about(path)
    _check_version(path, document)
    try:
        architecture = Architecture.from_json(document["architecture"])
    except (RecordError, UsageError) as error:
        raise RecordError(f"{path}: {error.message}", error.hint) from error
    wanted = (board or architecture.board, players or architecture.players)
    if wanted != (architecture.board, architecture.players):
        raise UsageError(
            f"{path} is a network for {architecture.board} with {architecture.players} players, "
            f"not for {wanted[0]} with {wanted[1]}."
        )
    weights = _read(weights_path)
    if sha256(weights) != document["sha256"]:
        raise RecordError(
            f"{weights_path} does not match {path}: its SHA-256 is "
            f"{sha256(weights)[:16]}…, not {document['sha256'][:16]}…."
        )
    try:
        tensors = from_safetensors(weights)
    except SafetensorError as error:
        raise RecordError(f"{weights_path} is not a safetensors file ({error}).") from error
    network = Network(architecture)
    _check_tensors(weights_path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    network.eval()
    if identity_of(network) != document["identity"]:
        raise RecordError(
            f"{path}: its identity is {document['identity']!r}, but its weights have the identity "
            f"{identity_of(network)!r}."
        )
    return Checkpoint(network, document["about"], document["identity"])


def _check_version(path: Path, document: Mapping[str, Any]) -> None:
    from ringrift_cli.game.version import codec_hash, rules_hash, rules_version
    from ringrift_cli.nn.features import FEATURES_VERSION

    # earlier rules have the same positions and actions
    known = rules_version(document["rules"]) is not None
    rules = document["rules"] if known else rules_hash()
    ours = {"rules": rules, "codec": codec_hash(), "features": FEATURES_VERSION}
    for name, value in ours.items():
        if document[name] != value:
            raise RulesMismatch(
                f"{path} was trained with the {name} {document[name]!r}, but these are {value!r}.",
                hint="train a new network, or use the ringrift that made it",
            )


def _check_tensors(path: Path, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """`RecordError` unless names, shapes and types match the architecture."""
    for name in sorted(found.keys() | own.keys()):
        if name not in found or name not in own:
            lack = "lacks" if name not in found else "has, unlike the architecture,"
            raise RecordError(f"{path} {lack} the tensor {name}.")
        there, here = found[name], own[name]
        if (there.shape, there.dtype) != (here.shape, here.dtype):
            raise RecordError(
                f"{path}: the tensor {name} is {there.dtype} {tuple(there.shape)}, the "
                f"architecture has {here.dtype} {tuple(here.shape)}."
            )
    _check_finite(str(path), found)
