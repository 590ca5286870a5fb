"""Time `penstock run` over one row with no model, start to exit.

    python3 scripts/bench_start.py --binary build/bin/penstock --out benchmarks/results/start.json [--runs 20]

Each run is a process of its own (posix_spawn, so that forking this interpreter doesn't count), after two that warm the
file cache. Seconds are wall time from spawn to exit. A second contestant, /bin/true, shows what of it is the machine's
own cost of starting a process. Peak RSS is what the kernel reports; its mark starts at this interpreter's size, so what
it says of /bin/true is the floor below which it can't see. Only the standard library.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

LIMIT = 0.050
ROW = {"id": 1, "text": "one row"}
JOB = """\
source: {{format: jsonl, path: {folder}/in.jsonl}}
sink: {{format: jsonl, path: {folder}/out, mode: overwrite}}
"""


def spawn(argv):
    """Runs a command with its output thrown away; gives seconds, CPU seconds, peak RSS in bytes, exit status."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)


def output_rows(folder):
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def first_line(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def machine(binary):
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": None,
        "os": f"{platform.system()} {platform.release()}",
        "versions": {"penstock": first_line(binary, "--version"), "go": first_line("go", "env", "GOVERSION")},
    }


def measure(binary, runs):
    """The runs of both contestants, their order turned round each time, and whether the row came through."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp)
        (folder / "in.jsonl").write_text(json.dumps(ROW) + "\n")
        (folder / "job.yaml").write_text(JOB.format(folder=folder))
        who = [("penstock", [binary, "run", str(folder / "job.yaml")]), ("process", ["/bin/true"])]
        done, equal = [], True
        for i in range(-2, runs):
            for name, argv in who if i % 2 else reversed(who):
                seconds, cpu, rss, status = spawn(argv)
                if status != 0:
                    print(subprocess.run(argv, capture_output=True, text=True).stderr, file=sys.stderr)
                    sys.exit(f"bench-start: {' '.join(argv)} exits with {status}")
                rows = 1 if name == "penstock" else 0
                if i >= 0:
                    done.append({"who": name, "seconds": seconds, "rows": rows, "rows_per_second": rows / seconds,
                                 "cpu_seconds": cpu, "peak_rss_bytes": rss, "run": i, "load": os.getloadavg()[0]})
            equal = equal and output_rows(folder / "out") == [ROW]
        return done, equal


def summary(done, who):
    seconds = sorted(r["seconds"] for r in done if r["who"] == who)
    return {
        "median_seconds": statistics.median(seconds),
        "min_seconds": seconds[0],
        "max_seconds": seconds[-1],
        "median_cpu_seconds": statistics.median(r["cpu_seconds"] for r in done if r["who"] == who),
        "median_peak_rss_bytes": statistics.median(r["peak_rss_bytes"] for r in done if r["who"] == who),
    }


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--binary", required=True)
    args.add_argument("--out", required=True, type=pathlib.Path)
    args.add_argument("--runs", type=int, default=5 if os.environ.get("QUICK") else 20)
    args = args.parse_args()
    binary = str(pathlib.Path(args.binary).resolve())
    done, equal = measure(binary, args.runs)
    ours = summary(done, "penstock")
    passed = equal and ours["median_seconds"] <= LIMIT
    result = {
        "name": "start",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": first_line("git", "rev-parse", "HEAD"),
        "machine": machine(binary),
        "runs": done,
        "ratios": {},
        "outputs_equal": equal,
        "summary": {"penstock": ours, "process": summary(done, "process")},
        "limit_seconds": LIMIT,
        "passed": passed,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"bench-start: {args.runs} runs: median {ours['median_seconds'] * 1e3:.1f} ms ({ours['min_seconds'] * 1e3:.1f} to "
          f"{ours['max_seconds'] * 1e3:.1f}), CPU {ours['median_cpu_seconds'] * 1e3:.1f} ms at load {os.getloadavg()[0]:.1f}, peak RSS {ours['median_peak_rss_bytes'] / 2**20:.1f} MiB; limit {LIMIT * 1e3:.0f} ms: "
          f"{'kept' if passed else 'MISSED'}")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
