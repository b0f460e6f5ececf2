"""The coordinator of the chaos test: pulls from all hosts, over and over, until it is killed.

python -m tests.fleet.chaos_child
"""

from __future__ import annotations

import time

from ringrift_cli.cli.app import main

PAUSE = 0.2  # seconds between two pulls

if __name__ == "__main__":
    while True:
        main(["sync", "pull", "--quiet"])
        time.sleep(PAUSE)
