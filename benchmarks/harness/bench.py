"""What all benchmarks share: contestants in turn, a check of their outputs before any timing, medians, ratios, one JSON.

A benchmark is a list of contestants. Every one of them is a process of its own that prints a report: when its job began
(the imports and the start of an engine are behind it), when its first rows came out, when its last, and the checksum of
what came out.
"""
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import machine
import process

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
CONTESTANTS = ROOT / "benchmarks" / "contestants"
QUICK = bool(os.environ.get("QUICK"))
RUNS = 1 if QUICK else 5
FEW_RUNS, LONG = 3, 60      # so many runs of a contestant that takes longer than so many seconds
TIMEOUT = 1800
TRIES = 3                   # of a run that fails; each failure stands in the result
STEADY = 0.8                # of the rows must come out behind the first batch for a rate between the two


@dataclasses.dataclass
class Contestant:
    who: str
    argv: list
    task: str = "scan"
    output: pathlib.Path = None     # is emptied before a run, and looked through behind the check
    input_flag: str = "--input"

    def command(self, folder):
        argv = [*map(str, self.argv), self.input_flag, str(folder)]
        return argv + [self.input_flag.replace("input", "output"), str(self.output)] if self.output else argv


def penstock(task, *flags, **kw):
    return Contestant("penstock", [BUILD / "bin" / "penstock", task, *flags], task, input_flag="-input", **kw)


def peer(who, script, task, *flags, **kw):
    return Contestant(who, [machine.python(), CONTESTANTS / script, task, *flags], task, **kw)


def data(kind, rows):
    """The folder of an input, made if it isn't there."""
    folder = BUILD / f"{kind}-{rows}"
    subprocess.run([machine.python(), ROOT / "benchmarks" / "harness" / "data.py", kind, folder, "--rows", str(rows)], check=True)
    return folder


def warm(folder):
    """Reads the files once, so that every contestant finds them in the page cache."""
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as f:
            while f.read(8 << 20):
                pass


def go(c, folder, failures=None):
    """One run: the contestant's report and what was measured. Where failures is a list, a run that fails is put there and
    made again: a peer that crashes now and then is still measured."""
    for left in reversed(range(TRIES)):
        try:
            return once(c, folder)
        except process.Failed as e:
            if failures is None or left == 0:
                raise
            failures.append({"who": c.who, "task": c.task, "error": str(e)[-500:]})


def once(c, folder):
    if c.output:
        shutil.rmtree(c.output, ignore_errors=True)
        c.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as tmp:
        env = {**os.environ, "RAY_TMPDIR": tmp, "PYTHONWARNINGS": "ignore"}
        return process.run(c.command(folder), env, TIMEOUT)


def checksum(c, report):
    """What a contestant gave, or wrote, as a thing to compare."""
    if c.output:
        written, _, _ = go(peer("check", "pyarrow_bare.py", "scan"), c.output)
        return {"rows": written["rows"], **written["checksum"]}
    return {"rows": report["rows"], **report["checksum"]}


def check(contestants, folder):
    """Whether all give the same rows of a small input."""
    seen = {}
    for c in contestants:
        report, _, _ = go(c, folder, [])
        seen.setdefault(json.dumps(checksum(c, report), sort_keys=True), []).append(f"{c.who} ({c.task})")
    if len(seen) > 1:
        for sums, who in seen.items():
            print(f"{', '.join(who)}:\n  {sums}", file=sys.stderr)
    return len(seen) == 1


def measure(contestants, folder, keep=()):
    """All runs of all contestants, whose order is turned round by one each time; what failed; whether their outputs are equal.
    A run takes over what keep names of its report."""
    runs, failures, sums, longest = [], [], set(), {}
    for i in range(RUNS):
        at = i % len(contestants)
        for c in contestants[at:] + contestants[:at]:
            if i >= FEW_RUNS and longest[c.who, c.task] > LONG:
                continue
            report, measured, start = go(c, folder, failures)
            sums.add(report["rows"])
            if not c.output:
                sums.add(json.dumps(report["checksum"], sort_keys=True))
            row = {"who": c.who, "task": c.task, **times(report, start), **measured, **{k: report[k] for k in keep}, "run": i}
            longest[c.who, c.task] = max(longest.get((c.who, c.task), 0), row["whole_seconds"])
            runs.append(row)
            print(f"  {i} {c.task:6} {c.who:16} {row['rows_per_second']:14,.0f} rows/s  job {row['seconds']:7.2f} s  CPU {row['cpu_seconds']:7.2f} s  "
                  f"peak {row['peak_rss_bytes'] / 2**20:7.0f} MiB  others {row['other_cores_busy']:.1f} cores", flush=True)
    return runs, failures, len(sums) == (1 if all(c.output for c in contestants) else 2)


def times(report, start):
    """The moments of a run as spans. The rate is that between the first rows and the last, those first rows not counted;
    where too many came at once, or none are given, that of the whole job."""
    job = (report["last"] or report["end"]) - report["begin"]
    rows, behind = report["rows"], report["rows"] - report["first_rows"]
    steady = bool(report["last"]) and behind >= STEADY * rows
    return {
        "seconds": job,
        "rows": rows,
        "rows_per_second": behind / (report["last"] - report["first"]) if steady else rows / job,
        "rate": "steady" if steady else "job",
        "job_rows_per_second": rows / job,
        "startup_seconds": report["begin"] - start,
        "first_row_seconds": report["first"] - report["begin"] if report["last"] else None,
    }


class Medians:
    """Medians over the runs of a contestant, and ratios of them."""

    def __init__(self, runs):
        self.runs = runs

    def of(self, who, task, key="rows_per_second"):
        values = [r[key] for r in self.runs if (r["who"], r["task"]) == (who, task)]
        return statistics.median(values) if values else None

    def faster(self, task, other, key="rows_per_second", by="penstock"):
        """How many times as fast as the fastest of others."""
        rates = [v for v in (self.of(o, task, key) for o in ([other] if isinstance(other, str) else other)) if v]
        ours = self.of(by, task, key)
        return round(ours / max(rates), 4) if rates and ours else None

    def summary(self):
        out = {}
        for who, task in dict.fromkeys((r["who"], r["task"]) for r in self.runs):
            mine = [r for r in self.runs if (r["who"], r["task"]) == (who, task)]
            rates = sorted(r["rows_per_second"] for r in mine)
            out[f"{task} {who}"] = {
                "runs": len(mine), "median_rows_per_second": statistics.median(rates), "min_rows_per_second": rates[0],
                "max_rows_per_second": rates[-1],
                **{f"median_{k}": statistics.median(r[k] for r in mine)
                   for k in ("seconds", "startup_seconds", "whole_seconds", "cpu_seconds", "peak_rss_bytes")},
            }
        return out


def write(name, runs, failures, equal, ratios, limits, packages, notes, facts=None):
    """Writes the result of a benchmark, with what else it has found, says what it is, and whether every limit is kept."""
    kept = {k: ratios[k] is not None and (ratios[k] >= v if op == ">=" else ratios[k] <= v) for k, (op, v) in limits.items()}
    result = {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "quick": QUICK,
        "machine": machine.facts(*packages),
        "runs": runs,
        "failures": failures,
        "ratios": ratios,
        "outputs_equal": equal,
        "summary": Medians(runs).summary(),
        "limits": {k: {"must_be": f"{op} {v}", "kept": kept[k]} for k, (op, v) in limits.items()},
        "notes": notes,
        **(facts or {}),
        "passed": equal and all(kept.values()),
    }
    out = (BUILD / "quick" if QUICK else ROOT / "benchmarks" / "results") / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    for k, v in ratios.items():
        limit = f"{limits[k][0]} {limits[k][1]}: {'kept' if kept[k] else 'MISSED'}" if k in limits else ""
        print(f"  {k:24} {'-' if v is None else f'{v:8.3f}'}   {limit}")
    print(f"bench-{name}: outputs {'equal' if equal else 'NOT EQUAL'}; {out.relative_to(ROOT)}")
    return result["passed"]
