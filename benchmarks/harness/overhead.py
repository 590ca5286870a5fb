"""What the engine costs: Parquet of eight columns through an identity stage, summed up or written again.

    build/peers/bin/python benchmarks/harness/overhead.py        (QUICK=1: a twentieth of the rows, once)
"""
import os
import sys

import bench
import process

ROWS, SMALL = 16_000_000, 800_000
RAYS = ("ray-function", "ray-actors")
LIMITS = {
    "vs_bare": (">=", 0.7), "vs_daft_fn": (">=", 1.3), "vs_daft": (">=", 4), "vs_ray": (">=", 8), "memory_vs_ray": ("<=", 0.25),
    "write_vs_daft": (">=", 1),
}
NOTES = [
    "scan: Parquet, identity over all columns in batches of 4,096 rows, checksum of every column in one consumer; bare pyarrow has no stage",
    "write: the same rows written to Parquet with snappy; Penstock syncs its files and commits them as a set, the others do neither",
    "rows_per_second is steady: from the first rows out to the last, the first batch not counted; seconds is the job without imports and start-up",
    "daft: class UDF in a pool of actors (processes); daft-class: the same class without a number of instances, which Daft runs as it runs a function",
    "vs_ray: the faster of Ray's function and its two actors; memory_vs_ray: the smaller of theirs",
    "the page cache is warm: all files were read before the first run",
]


def contestants(rows):
    out = bench.BUILD / "out"
    blocks = ("--source", "v1", "--blocks", "64" if rows == ROWS else "16", "--block-mib", "128" if rows == ROWS else "8")
    scans = [
        bench.penstock("scan"),
        bench.peer("pyarrow", "pyarrow_bare.py", "scan"),
        bench.peer("daft-function", "daft_udf.py", "scan", "--kind", "function"),
        bench.peer("daft-class", "daft_udf.py", "scan", "--kind", "class"),
        bench.peer("daft-actors", "daft_udf.py", "scan", "--kind", "actors"),
        bench.peer("ray-function", "ray_data.py", "scan", "--kind", "function", *blocks),
        bench.peer("ray-actors", "ray_data.py", "scan", "--kind", "class", *blocks),
    ]
    writes = [
        bench.penstock("write", output=out / "penstock"),
        bench.peer("pyarrow", "pyarrow_bare.py", "write", output=out / "pyarrow"),
        bench.peer("daft-function", "daft_udf.py", "write", output=out / "daft"),
    ]
    only = os.environ.get("ONLY", "").split(",")
    return tuple([c for c in cs if only == [""] or c.who in only or c.task in only] for cs in (scans, writes))


def ratios(runs):
    m = bench.Medians(runs)
    ray_peaks = [v for v in (m.of(r, "scan", "peak_rss_bytes") for r in RAYS) if v]
    ours = m.of("penstock", "scan", "peak_rss_bytes")
    pairs = {"bare": "pyarrow", "daft_fn": "daft-function", "daft": "daft-actors", "daft_class_inline": "daft-class", "ray": RAYS}
    return {
        **{f"vs_{k}": m.faster("scan", who) for k, who in pairs.items()},
        "memory_vs_ray": round(ours / min(ray_peaks), 4) if ray_peaks and ours else None,
        "write_vs_daft": m.faster("write", "daft-function"),
        "write_vs_bare": m.faster("write", "pyarrow"),
        **{f"job_vs_{k}": m.faster("scan", who, "job_rows_per_second") for k, who in pairs.items()},
    }


def main():
    process.adopt_orphans()
    rows = SMALL if bench.QUICK else ROWS
    small, folder = bench.data("parquet", SMALL), bench.data("parquet", rows)
    scans, writes = contestants(SMALL)
    print(f"bench-overhead: checking that all give the same rows ({SMALL:,})", flush=True)
    if not bench.check(scans + writes, small):
        sys.exit("bench-overhead: the contestants' outputs are not equal; nothing was timed")
    scans, writes = contestants(rows)
    bench.warm(folder)
    runs, failures, equal = [], [], True
    for group in (scans, writes):
        if group:
            done, failed, same = bench.measure(group, folder)
            runs, failures, equal = runs + done, failures + failed, equal and same
    passed = bench.write("overhead", runs, failures, equal, ratios(runs), LIMITS, ("pyarrow", "daft", "ray", "numpy", "pandas"), NOTES)
    sys.exit(0 if passed or bench.QUICK else 1)


if __name__ == "__main__":
    main()
