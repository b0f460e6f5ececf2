"""What stands in for `ringrift selfplay` on a host, for tests: it lays out files made beforehand.

`python player.py WORK ARGUMENTS…`. The files of WORK/store, with its manifest, go to $RINGRIFT_OUT
one after the other, each once whatever job takes it. WORK/behaviour says otherwise: `fail` ends it
with an error, `nothing` without one, and `idle` makes nothing for ever. A model that is not there
is an error too. SIGTERM ends it in order.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

PACE = 0.1  # seconds between two files


def main() -> None:
    work, out = Path(sys.argv[1]), Path(os.environ["RINGRIFT_OUT"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    told = work / "behaviour"
    behaviour = told.read_text().strip() if told.exists() else ""
    sys.stderr.write(f"{sys.argv[2:]} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    sys.stderr.flush()
    models = [word for word in sys.argv if word.startswith("models/")]
    if behaviour == "fail" or not all((work / model).exists() for model in models):
        sys.exit("it cannot")
    if behaviour == "nothing":
        return
    out.mkdir(parents=True, exist_ok=True)
    lines = (work / "store" / "manifest.jsonl").read_text().splitlines()
    for line in [] if behaviour == "idle" else lines:
        name = json.loads(line)["file"]
        try:
            (work / "store" / name).rename(out / f".{name}")
        except FileNotFoundError:
            continue  # another job has taken it
        time.sleep(PACE)
        (out / f".{name}").rename(out / name)
        with (out / "manifest.jsonl").open("a") as manifest:
            manifest.write(line + "\n")
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
