"""A job that makes shards: it brings files of a store into its output, one after the other.

python producer.py STORE OUT SECONDS

Like self-play it writes a file whole before it lists it, and a full disk only makes it wait.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import time
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    while True:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                os.fsync(file.fileno())
            temporary.replace(path)
            return
        except OSError:  # and the log has no room for it either
            temporary.unlink(missing_ok=True)
            time.sleep(0.3)


def main(store: Path, out: Path, seconds: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for line in (store / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        entry["time"] = dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat()
        write_whole(out / entry["file"], (store / entry["file"]).read_bytes())
        lines.append(json.dumps(entry) + "\n")
        write_whole(out / "manifest.jsonl", "".join(lines).encode())
        time.sleep(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
