"""Takes away what macOS does not have; a Python with this folder in PYTHONPATH starts with it."""

import os
import select
import socket
import sys
import time
from typing import Any

LINUX_ONLY = {
    os: "copy_file_range eventfd getrandom memfd_create pidfd_open posix_fadvise posix_fallocate"
    " sched_getaffinity sched_setaffinity sched_yield splice waitid",
    select: "epoll",
    socket: "TCP_USER_TIMEOUT",
    time: "CLOCK_BOOTTIME",
}
for module, names in LINUX_ONLY.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


def hide(event: str, arguments: tuple[Any, ...]) -> None:
    """Lets files of the Linux kernel, and sockets without a file, not be there."""
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
        if os.fsdecode(arguments[0]).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "hidden", arguments[0])
    elif event == "socket.bind" and str(arguments[1]).startswith("\0"):
        raise FileNotFoundError(2, "hidden")


sys.addaudithook(hide)
