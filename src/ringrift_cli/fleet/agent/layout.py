"""The names of files on a host.

.ringrift/code-SHA256/    the package, by the hash of its files (deploy.py)
          partial/        parts of files that are still to come (put.py)
          hashes.json     what need not be hashed again
          counts.json     what need not be read again of jobs that have ended (index.py)
          removed.json    games of jobs that were removed, and when the last of them ended
          proved          number of GPUs for which a deploy ran kernels (install.py)
          identity        of this folder, random (install.py)
          clock           written to learn the time by the clock of the disk, which may be remote
jobs/ID/                  a job; `supervise.py` says what its files are
models/POOL/              copies of the registry
venv/                     the virtual environment: Python and the packages that ringrift needs
"""

from __future__ import annotations

INNER = ".ringrift"
CODE = f"{INNER}/code-"
PARTIAL = "partial"
HASHES = "hashes.json"
COUNTS = "counts.json"
REMOVED = "removed.json"
CLOCK, IDENTITY, PROVED = "clock", "identity", "proved"

CHAMPION = "champion.json"

JOBS, MODELS, VENV = "jobs", "models", "venv"
JOB, HEARTBEAT, STOP, EXIT, LOG = "job.json", "heartbeat", "stop", "exit.json", "log"
DISMISSED = "dismissed"
STOP_ROOM, EXIT_ROOM = ".stop", ".exit"
OF_A_JOB = frozenset((JOB, HEARTBEAT, STOP, EXIT, LOG, DISMISSED, STOP_ROOM, EXIT_ROOM))
