"""Images and tasks for other machines: checked as far as that needs no registry and no account."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.test_examples import commands_in, parse

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
TASK: dict[str, Any] = yaml.safe_load(
    (ROOT / "docs" / "examples" / "skypilot-selfplay.yaml").read_text()
)


def test_hadolint_has_nothing_to_say() -> None:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
    done = subprocess.run(
        [found, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_in_its_context() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        found = re.match(r"COPY (?!--from)(.*) \S+$", line)
        for name in found[1].split() if found else ():
            assert (ROOT / name).exists()
            assert name in kept


def test_compose_runs_our_commands_and_serves_this_machine_only() -> None:
    services = COMPOSE["services"]
    for name in ("loop", "metrics"):
        words = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in services[name]["command"]]
        parse(words)
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert {one["source"] for one in service.get("configs", ())} <= set(COMPOSE["configs"])
    for config in COMPOSE["configs"].values():
        if "file" in config:
            text = (ROOT / config["file"]).read_text()
            assert json.loads(text) if config["file"].endswith("json") else yaml.safe_load(text)
        else:
            assert yaml.safe_load(config["content"])
    target = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])["scrape_configs"][0]
    port = services["metrics"]["command"][2]
    assert target["static_configs"] == [{"targets": [f"metrics:{port}"]}]


def test_the_task_runs_our_commands() -> None:
    text = "\n".join(TASK[part] for part in ("setup", "run"))
    text = text.replace("~/ringrift/bin/ringrift", "ringrift").replace("$HOURS", "8")
    found = list(commands_in(text))
    assert [words[0] for words in found] == ["warmup", "selfplay"]
    for words in found:
        parse(words)
    assert TASK["resources"]["use_spot"] is True
    assert TASK["resources"]["autostop"]["down"] is True
