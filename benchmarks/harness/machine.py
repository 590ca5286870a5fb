"""Facts of the machine and of the software that was measured."""
import os
import platform
import re
import subprocess
import sys
from importlib import metadata


def first_line(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_name():
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return found.group(1) if found else platform.machine()


def commit():
    return first_line("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def facts(*packages):
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": None,
        "os": f"{platform.system()} {platform.release()}",
        "versions": {"go": first_line("go", "env", "GOVERSION"), "python": platform.python_version(),
                     **{p: metadata.version(p) for p in packages}},
    }


def python():
    return sys.executable
