"""Copies Parquet of long texts under a memory limit and holds the process to it: benchmarks/results/rss.json.

    python3 benchmarks/memory/rss.py [--out benchmarks/results/rss.json] [--quick]

3 GB (quick: 300 MB) of rows of 50 kB, in pages of 51 MB and of 1 MB, are copied by `penstock run` under
--memory-limit 256MiB. What counts is the kernel's high-water mark: at most 282 MiB. The same runs in a cgroup whose
limit is 300 MiB, where one can be made: there the kernel would end a process that takes more. `copy` makes the same
copies through the library and looks at the ledger every 20 ms: what that cannot attribute is at most 15 % of RSS
wherever RSS is over 200 MiB. Ratios are of these numbers over their bounds' denominators.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "sim"))

import common

MIB = 1 << 20
LIMIT, MOST, CGROUP = 256, 282, 300
UNATTRIBUTED = 0.15
FILES = {"pages_51mb": 1024, "pages_1mb": 20}


class Cgroup:
    """A cgroup with a memory limit, of version 2 or 1; reason says why there is none."""

    def __init__(self, limit):
        name = f"penstock-rss-{os.getpid()}"
        v2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
        root = pathlib.Path("/sys/fs/cgroup" if v2 else "/sys/fs/cgroup/memory")
        self.dir, self.reason = root / name, None
        try:
            if v2 and "memory" not in (root / "cgroup.subtree_control").read_text().split():
                (root / "cgroup.subtree_control").write_text("+memory")
            self.dir.mkdir()
            (self.dir / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit))
            if v2:
                (self.dir / "memory.swap.max").write_text("0")
        except OSError as e:
            self.reason = f"no cgroup can be made: {e}"
            self.close()

    def join(self):
        (self.dir / "cgroup.procs").write_text(str(os.getpid()))

    def close(self):
        try:
            self.dir.rmdir()
        except OSError:
            pass


def penstock(binary, source, out, cgroup=None):
    """Runs a copy and gives its seconds, its exit status and the kernel's high-water mark of its memory."""
    job = out.with_suffix(".yaml")
    job.write_text(json.dumps({"source": {"path": str(source)}, "sink": {"path": str(out), "mode": "overwrite"}}))
    argv = [binary, "run", job, "--memory-limit", f"{LIMIT}MiB", "--progress", "none"]
    began = time.monotonic()
    process = subprocess.Popen([str(a) for a in argv], cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=cgroup.join if cgroup else None)
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, process.returncode, usage.ru_maxrss * 1024, said


def data(size, name, rows_per_batch):
    path = ROOT / f"build/bench/rss/{name}-{size}.parquet"
    if not path.exists():
        subprocess.run([ROOT / "build/peers/bin/python", HERE / "data.py", str(size), path, "--rows-per-batch", str(rows_per_batch)], check=True)
    return path


def measure(size, scratch, runs, wrong):
    penstock_binary, copy = common.build("./cmd/penstock"), common.build("./benchmarks/memory/copy")
    ratios, skipped = {}, None
    for name, rows_per_batch in FILES.items():
        source, out = data(size, name, rows_per_batch), scratch / "out"
        for who, cgroup in (("penstock", None), ("penstock_cgroup", Cgroup(CGROUP * MIB))):
            if cgroup and cgroup.reason:
                skipped = cgroup.reason
                continue
            shutil.rmtree(out, ignore_errors=True)
            seconds, code, peak, said = penstock(penstock_binary, source, out, cgroup)
            if cgroup:
                cgroup.close()
            runs.append(common.entry(who, seconds, size // 50_000, peak, 0, file=name))
            ratios[f"{name}_{who}_peak_over_limit"] = peak / (LIMIT * MIB)
            if code != 0:
                wrong.append(f"{who}, {name}: exit status {code}: {said.strip()}")
            elif peak > MOST * MIB:
                wrong.append(f"{who}, {name}: the high-water mark is {peak / MIB:.0f} MiB, and {MOST} is the most")
        shutil.rmtree(out, ignore_errors=True)
        r = common.json_of(copy, "-in", source, "-out", out, "-limit", LIMIT)
        runs.append(common.entry("copy", r["seconds"], r["rows"], r["peak_rss_bytes"], 0, file=name, ledger=r))
        ratios[f"{name}_unattributed"] = r["unattributed_share"]
        if r["unattributed_share"] > UNATTRIBUTED:
            wrong.append(f"{name}: {100 * r['unattributed_share']:.0f} % of RSS are not attributed, and {100 * UNATTRIBUTED:.0f} % is the most")
    return ratios, skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="300 MB, and no file of results")
    args = parser.parse_args()
    runs, wrong = [], []
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="rss-") as scratch:
        ratios, skipped = measure(300_000_000 if args.quick else 3_000_000_000, pathlib.Path(scratch), runs, wrong)
    if skipped:
        print("in a cgroup: skipped:", skipped)
    common.finish("rss", runs, ratios, wrong, args.quick, args.out, limit_mib=LIMIT, most_mib=MOST,
                  cgroup_mib=CGROUP, cgroup_skipped=skipped, unattributed_most=UNATTRIBUTED)


if __name__ == "__main__":
    main()
