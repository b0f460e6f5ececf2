"""Weights of the heuristic: YAML files, one for each board and number of players.

board: hex8
players: 2
features: 1          # version of the features
about: origin of the weights
weights:
  stacks: 1.0
  …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ringrift_cli.errors import UsageError
from ringrift_cli.players.features import FEATURES, NAMES
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.store.files import write_whole
from ringrift_cli.version import MARK

FEATURES_VERSION = 1  # incremented when a feature is added, removed or changed
MAX_WEIGHT = 1_000_000
DEFAULT = "default"
BEGINNER = "beginner"
TUNED = "tuned"
SHIPPED = ("", DEFAULT, BEGINNER, TUNED)


@dataclass(frozen=True)
class Profile:
    """Weights by feature name, and their origin."""

    name: str
    board: str
    players: int
    weights: Mapping[str, float]
    about: str = ""

    @property
    def array(self) -> FloatArray:
        """The weights in the order of the features, [features]."""
        return np.array([self.weights[name] for name in NAMES])


def profile_named(name: str, board: str, players: int) -> Profile:
    """A profile by name or file.

    Names: `default` (fixed weights for all boards, the anchor of ratings), `beginner` (a weak
    profile), `tuned` (found by `ringrift cmaes`, shipped for some boards), or empty (tuned if
    shipped, else default). Anything else is the path of a YAML file. `UsageError` if it is missing
    or invalid.
    """
    if name in (DEFAULT, BEGINNER):
        return _parse(_shipped(f"{name}.yaml").read_text(), name, board, players)
    if name in ("", TUNED):
        file = _shipped(f"{board}-{players}p.yaml")
        if file.is_file():
            return _parse(file.read_text(), TUNED, board, players)
        if not name:
            return profile_named(DEFAULT, board, players)
        raise UsageError(
            f"No tuned weights are shipped for {board} with {players} players.",
            hint=f"heuristic:default, or ringrift cmaes --board {board} --players {players}",
        )
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(
            f"No heuristic profile {name!r} ({reason}): expected default, tuned, beginner or a YAML"
            " file.",
            hint="heuristic:default",
        ) from error
    return _parse(text, name, board, players)


def _shipped(file: str) -> Any:
    return resources.files("ringrift_cli.players").joinpath("profiles", file)


def _parse(text: str, name: str, board: str, players: int) -> Profile:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"Profile {name!r} is not valid YAML ({' '.join(str(error).split())})."
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("weights"), dict):
        raise UsageError(f"Profile {name!r} has no table 'weights'.")
    for field, ours in (("board", board), ("players", players), ("features", FEATURES_VERSION)):
        theirs = document.get(field)
        if theirs != ours and (theirs != "any" or field == "features"):
            raise UsageError(f"Profile {name!r} is for {field} {theirs}, not {ours}.")
    weights = document["weights"]
    unknown, missing = sorted(set(weights) - set(NAMES), key=str), sorted(set(NAMES) - set(weights))
    if unknown or missing:
        what = f"unknown: {', '.join(map(str, unknown))}" if unknown else ""
        lacks = f"missing: {', '.join(missing)}" if missing else ""
        raise UsageError(f"Profile {name!r}: weights {'; '.join(filter(None, (what, lacks)))}.")
    for feature, weight in weights.items():
        if type(weight) not in (int, float) or not abs(weight) <= MAX_WEIGHT:
            raise UsageError(
                f"Profile {name!r}: {feature} is {weight!r}, expected a number from"
                f" -{MAX_WEIGHT:,} to {MAX_WEIGHT:,}."
            )
    about = str(document.get("about", ""))
    return Profile(name, board, players, {f: float(weights[f]) for f in NAMES}, about)


def write_profile(path: Path, profile: Profile) -> None:
    """Writes a profile; `profile_named` reads identical weights."""
    lines = [
        f"# {MARK}",
        f"board: {profile.board}",
        f"players: {profile.players}",
        f"features: {FEATURES_VERSION}",
        "about: " + yaml.safe_dump(profile.about, width=float("inf")).partition("\n")[0],
        "weights:",
    ]
    width = max(len(name) for name in NAMES) + 1
    for name, _, meaning in FEATURES:
        weight = repr(float(profile.weights[name]))
        lines.append(f"  {name + ':':<{width}} {weight:<22} # {meaning}")
    write_whole(path, ("\n".join(lines) + "\n").encode())
