"""`ringrift env`: what a bug report should say about this machine and installation."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import typer

from ringrift_cli.cli.options import ConfigOption, JsonOption, QuietOption, configuration
from ringrift_cli.cli.output import Output
from ringrift_cli.errors import RingriftError
from ringrift_cli.settings import FILE
from ringrift_cli.version import __version__


def env(
    context: typer.Context,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Describe this installation for a bug report: versions, hardware, caches and folders.

    Nothing is compiled or changed. Of the environment only RINGRIFT_* variables are listed.

    \b
    Examples:
      ringrift env
      ringrift env --json
    """
    out = Output(as_json=as_json, quiet=quiet)
    document = {
        "versions": _versions(),
        "machine": _machine(),
        "compiled": _compiled(),
        "folders": _folders(context, config_file),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("RINGRIFT_")},
    }
    out.fields(document)
    out.result(document)


def _versions() -> dict[str, str]:
    from ringrift_cli.game.version import codec_hash, rules_hash

    found = {
        "ringrift": __version__,
        "rules": rules_hash(),
        "actions": codec_hash(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    needed = [text for text in requires("ringrift") or () if "'dev'" not in text]
    packages = [re.split(r"[^\w-]", text)[0] for text in needed]
    for package in dict.fromkeys(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _machine() -> dict[str, Any]:
    import torch

    from ringrift_cli.runtime.machine import device_name, free_bytes

    count = torch.cuda.device_count()
    return {
        "cpu": device_name("cpu"),
        "free memory": f"{free_bytes('cpu') / 1e9:.1f} GB",
        "gpus": [device_name(f"cuda:{number}") for number in range(count)] or "none",
        "torch is built for": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs only",
    }


def _compiled() -> dict[str, str]:
    from ringrift_cli.game import jit

    parts = {"rules": "game", "networks": "nn", "players": "players"}
    found = {name: jit.machine_code(package) for name, package in parts.items()}
    return {
        name: f"{code.folder}{'' if code.exists() else ', not yet: ringrift warmup'}"
        for name, code in found.items()
    }


def _folders(context: typer.Context, file: Path | None) -> dict[str, object]:
    from ringrift_cli.runtime import profiles

    settings = file or Path(FILE)
    known = {
        "program": sys.prefix,
        "working folder": Path.cwd(),
        "settings": settings if settings.exists() else "defaults",
        "profiles of the machine": profiles.folder(),
    }
    try:
        config = configuration(context)
    except RingriftError as error:  # which the report should say
        return {**known, "settings": error.message}
    return {**known, "runs": config.run.folder, "models": config.run.models}
