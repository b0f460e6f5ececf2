"""A login shell that takes only what sh, bash, zsh, fish, csh and tcsh understand alike.

Words of safe characters, and backslashes before any other character of one line: quotes, braces,
tildes, exclamation marks and line ends mean something else in one of them.
"""

from __future__ import annotations

import os
import re
import sys

COMMAND = re.compile(r"exec((?: (?:[\w@%+=:,./-]|\\[^\n\w])+|'')+)", re.ASCII)


def main() -> None:
    sys.stdout.write("Welcome to fish, the friendly interactive shell\n")
    sys.stdout.flush()
    line = os.environ["SSH_ORIGINAL_COMMAND"]
    whole = re.sub(r"[^\x00-\x7f]", "x", line)
    if not COMMAND.fullmatch(whole):
        sys.exit(f"this means something else in another shell: {line[:200]!r}")
    words = re.findall(r"(?:[^\\ ]|\\.)+", line)
    words = [re.sub(r"\\(.)", r"\1", word) for word in words]
    os.execvp(words[1], words[1:])


main()
