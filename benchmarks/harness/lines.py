"""Lines of text, read and summed up.

    build/peers/bin/python benchmarks/harness/lines.py        (QUICK=1: a twentieth of the lines, once)
"""
import os
import sys

import bench
import process

ROWS, SMALL = 4_000_000, 200_000
LIMITS = {"lines_vs_pyarrow": (">=", 0.35), "lines_vs_daft": (">=", 3)}
NOTES = [
    "eight files of lines of 1 to 149 bytes, every line a row, checksum of the bytes in one consumer; no stage between",
    "pyarrow reads lines as CSV of one column, with a delimiter that does not occur and no quotes",
    "rows_per_second is steady: from the first rows out to the last, the first batch not counted; seconds is the job without imports and start-up",
    "the page cache is warm: all files were read before the first run",
]


def contestants():
    all_of_them = [
        bench.penstock("lines"),
        bench.peer("pyarrow", "pyarrow_bare.py", "lines"),
        bench.peer("daft", "daft_udf.py", "lines"),
        bench.peer("ray", "ray_data.py", "lines"),
    ]
    only = os.environ.get("ONLY", "").split(",")
    return [c for c in all_of_them if only == [""] or c.who in only]


def main():
    process.adopt_orphans()
    small, folder = bench.data("lines", SMALL), bench.data("lines", SMALL if bench.QUICK else ROWS)
    print(f"bench-lines: checking that all give the same lines ({SMALL:,})", flush=True)
    if not bench.check(contestants(), small):
        sys.exit("bench-lines: the contestants' outputs are not equal; nothing was timed")
    bench.warm(folder)
    runs, failures, equal = bench.measure(contestants(), folder)
    m = bench.Medians(runs)
    ratios = {f"{job}lines_vs_{p}": m.faster("lines", p, key)
              for job, key in (("", "rows_per_second"), ("job_", "job_rows_per_second")) for p in ("pyarrow", "daft", "ray")}
    passed = bench.write("lines", runs, failures, equal, ratios, LIMITS, ("pyarrow", "daft", "ray"), NOTES)
    sys.exit(0 if passed or bench.QUICK else 1)


if __name__ == "__main__":
    main()
