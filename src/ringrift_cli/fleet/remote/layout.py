"""The names of files on a host.

.ringrift/remote-SHA/     the remote half, by the hash of its zip
          partial/        parts of files that are still to come (put.py)
          deployed.json   which ringrift was put there
          hashes.json     what need not be hashed again
          counts.json     what need not be counted again
jobs/ID/                  a job; `supervise.py` says what its files are
models/POOL/              copies of the registry
venv/                     the virtual environment of ringrift
"""

from __future__ import annotations

INNER = ".ringrift"
PARTIAL = "partial"
DEPLOYED = "deployed.json"
HASHES = "hashes.json"
COUNTS = "counts.json"

MANIFEST = "manifest.jsonl"  # as in store/manifest.py, which takes long to load
CHAMPION = "champion.json"

JOBS, MODELS, VENV = "jobs", "models", "venv"
JOB, HEARTBEAT, STOP, EXIT, LOG = "job.json", "heartbeat", "stop", "exit.json", "log"
STOP_ROOM, EXIT_ROOM = ".stop", ".exit"
OF_A_JOB = frozenset((JOB, HEARTBEAT, STOP, EXIT, LOG, STOP_ROOM, EXIT_ROOM))
