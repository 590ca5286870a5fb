"""Run a contestant and measure it: time, CPU time and memory of all its processes.

Memory is the most that all processes of a contestant held at one moment, what they share counted once. For a
contestant of one process it is the kernel's own high-water mark. For one of several it is the larger of two sums, since
the marks of processes cannot be added up: every 50 ms what each holds alone plus the largest shared part, and the
processes' proportional shares (PSS), read as often as costs 2 % of a core, at most every 50 ms.
"""
import ctypes
import json
import os
import resource
import signal
import subprocess
import threading
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
SAMPLE = 0.05
LIST = 0.2          # seconds between two looks for new processes
PSS_SHARE = 0.02    # of a core, for reading PSS
GRACE = 10          # seconds that processes have to end once the first of them has
PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    """A contestant that ended with an error, or gave no report."""


def adopt_orphans():
    """Makes this process the parent of what its descendants leave behind, so that none escapes being counted."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(root):
    """The ids of all processes below root."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as f:
                    stat = f.read()
                parents.setdefault(int(stat[stat.rindex(b")") + 2:].split()[1]), []).append(int(name))
            except (OSError, ValueError):
                pass
    found, todo = [], [root]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def resident(pid):
    """What a process holds alone and what it may share, in bytes."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as f:
            _, total, shared = f.read().split()[:3]
        return (int(total) - int(shared)) * PAGE, int(shared) * PAGE
    except (OSError, ValueError):
        return 0, 0


def proportional(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as f:
            for line in f:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


class Sampler(threading.Thread):
    """Watches the memory of all processes below this one until it is stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.processes = self.summed = self.pss = 0

    def run(self):
        pids, listed, next_pss = [], 0.0, 0.0
        while not self.ended.wait(SAMPLE):
            now = time.monotonic()
            if now - listed >= LIST:
                pids, listed = descendants(os.getpid()), now
                self.processes = max(self.processes, len(pids))
            parts = [resident(p) for p in pids]
            if parts:
                self.summed = max(self.summed, sum(p[0] for p in parts) + max(p[1] for p in parts))
            if len(pids) > 1 and now >= next_pss:
                self.pss = max(self.pss, sum(proportional(p) for p in pids))
                done = time.monotonic()
                next_pss = done + max(SAMPLE, (done - now) / PSS_SHARE)

    def stop(self):
        self.ended.set()
        self.join()


def busy_seconds():
    """CPU seconds that the machine has worked since it started, all cores together."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = (int(v) for v in f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def cpu_seconds():
    """CPU seconds of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reap(deadline):
    """Waits for the processes that a contestant left, and ends those that stay."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        if time.monotonic() > deadline:
            for p in descendants(os.getpid()):
                try:
                    os.kill(p, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.02)


def run(argv, env, timeout):
    """Runs a contestant to its end. Gives its report and what was measured around it."""
    load, cpu, busy = os.getloadavg()[0], cpu_seconds(), busy_seconds()
    sampler = Sampler()
    start = time.monotonic()
    child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sampler.start()
    out, errors = [], []
    readers = [threading.Thread(target=lambda f, into: into.append(f.read()), args=pair, daemon=True)
               for pair in ((child.stdout, out), (child.stderr, errors))]
    for r in readers:
        r.start()
    killer = threading.Timer(timeout, child.kill)
    killer.start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    end = time.monotonic()
    killer.cancel()
    sampler.stop()
    reap(end + GRACE)
    for r in readers:
        r.join()
    if child.returncode != 0:
        raise Failed(f"{' '.join(argv)} ends with {child.returncode}:\n{errors[0].decode(errors='replace')[-4000:]}")
    cpu = cpu_seconds() - cpu
    alone = sampler.processes <= 1
    measured = {
        "whole_seconds": end - start,
        "cpu_seconds": cpu,
        "other_cores_busy": max(0.0, busy_seconds() - busy - cpu) / (time.monotonic() - start),
        "load": load,
        "peak_rss_bytes": usage.ru_maxrss * 1024 if alone else max(sampler.pss, sampler.summed),
        "peak_rss_by": "high-water mark" if alone else f"PSS of up to {sampler.processes} processes",
    }
    return report_of(out[0], argv), measured, start


def report_of(out, argv):
    lines = out.decode(errors="replace").strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError) as e:
        raise Failed(f"{' '.join(argv)} gives no report: {out[-500:]!r}") from e
