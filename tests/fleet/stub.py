"""What the hosts of tests have for ringrift: a program that does what its command line says, soon.

--games N     notes N games in the manifest of its output
--say TEXT    prints it at once
--exit CODE   ends with it
--last S      works for so many seconds; asked to stop it says so and ends with 0
--stubborn    does not stop when it is asked
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def option(name: str, default: str) -> str:
    words = sys.argv
    return words[words.index(name) + 1] if name in words else default


def asked(_number: int, _frame: object) -> None:
    if "--stubborn" in sys.argv:
        say("no")
    else:
        say("stopping")
        sys.exit(0)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    signal.signal(signal.SIGTERM, asked)
    told = {name: value for name, value in os.environ.items() if name.startswith(("RING", "CUDA"))}
    say(json.dumps({"argv": sys.argv[1:], "env": told, "pid": os.getpid()}))
    say(option("--say", "working"))
    games = int(option("--games", "0"))
    if games:
        out = Path(os.environ["RINGRIFT_OUT"])
        out.mkdir(parents=True)
        (out / "one.shard").write_bytes(b"games")
        entry = {"file": "one.shard", "sha256": "0" * 64, "games": games}
        (out / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    end = time.monotonic() + float(option("--last", "0"))
    while time.monotonic() < end:
        time.sleep(0.05)
    sys.exit(int(option("--exit", "0")))


main()
