"""Text embeddings: from a file of texts to Parquet, beside bare ONNX Runtime, a plain loop, Ray Data and Daft.

    build/peers/bin/python benchmarks/text/text.py        (QUICK=1: a small size, once; RUNS=2: two rounds, not three)

A contestant's settings, such as one caller with two threads or two with one, are tried on a part of the texts first, and the
fastest of each are measured.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "harness"))

import numpy as np  # noqa: E402
import pyarrow.dataset  # noqa: E402

import bench  # noqa: E402
import machine  # noqa: E402
import process  # noqa: E402

ROWS = 512 if bench.QUICK else 8192
CHECKED = 128 if bench.QUICK else 512       # rows whose vectors are compared before anything is timed
TRIED = {"arrival": 256 if bench.QUICK else 1024, "sorted": 512 if bench.QUICK else 2048}
RUNS = 1 if bench.QUICK else int(os.environ.get("RUNS", 3))
SLOW_RUNS = max(RUNS - 1, 1)                # of those in order of arrival, which take minutes
COSINE = 0.99999
OUT = bench.BUILD / "out-text"
CALLERS = [(1, 2), (2, 1)]                  # calls at once, threads of each
SORTED = [16, 32, 64]                       # rows of a batch of sorted texts
LIMITS = {
    "vs_bare": (">=", 0.95), "vs_bare_global": (">=", 0.90),
    **{f"vs_{p}": (">=", 3.5) for p in ("ray", "daft", "plain")},
    **{f"vs_{p}_sorted": (">=", 1.15) for p in ("ray", "daft", "plain")},
    "memory_vs_ray": (">=", 4), "padding_efficiency": (">=", 0.95),
}
NOTES = [
    "penstock: `penstock embed` with its defaults, from Parquet to Parquet; its seconds are those of the whole process, start and model included",
    "bare: ONNX Runtime in Python over the packer's batches, padded and in memory before the clock starts, the model loaded and warm; nothing "
    "is read, tokenised, pooled or written. bare-global: the same over texts sorted over the whole and cut at 1,024 tokens",
    "ray, daft, plain: batches of 64 in order of arrival; *-sorted: windows of 1,024 rows, sorted by length in characters, the batch size tried",
    "their seconds count from behind the imports and the start of the engine; their models load within them",
    "ray: repartitioned to 512 rows a block (1,024 sorted), or its reader's one block would keep one actor busy",
    f"rates are of whole jobs; runs in order of arrival: {SLOW_RUNS}, of all others: {RUNS}",
]


class Entry(bench.Contestant):
    """A contestant that may have been given settings."""

    def measured(self, corpus, failures=None):
        report, measured, start = bench.go(self, corpus / "in", failures)
        if self.who == "penstock":      # the command's own summary
            self.summary = report
            report = {"begin": start, "end": start + measured["whole_seconds"], "first": None, "last": None, "first_rows": 0,
                      "rows": report["rows"]}
        return {"who": self.who, "task": self.task, **bench.times(report, start), **measured}


def script(who, name, task, *flags, write=True):
    return Entry(who, [machine.python(), bench.CONTESTANTS / name, task, *flags], "embed", output=OUT / who if write else None)


def penstock():
    model = ROOT / "build" / "models" / "all-MiniLM-L6-v2"
    argv = [ROOT / "build" / "bin" / "penstock", "embed", "--model", model, "--mode", "overwrite", "--stats", "json", "--quiet"]
    return Entry("penstock", argv, "embed", output=OUT / "penstock")


def settings(callers, threads, sort=None):
    return ["--callers", str(callers), "--threads", str(threads), *(["--sort", str(sort)] if sort else []), "--batch", "64"]


PEERS = {"plain": ("text_bare.py", "plain"), "ray": ("text_ray.py", "ray"), "daft": ("text_daft.py", "daft")}


def peers(who, sort):
    """All settings of a peer."""
    name = who + ("-sorted" if sort else "")
    return [(f, script(name, *PEERS[who], *f)) for c in CALLERS for s in (SORTED if sort else [None]) for f in [settings(*c, s)]]


def bares(batches, write=False):
    who = "bare" if batches == "packed" else "bare-global"
    return [(f, script(who, "text_bare.py", "bare", "--batches", batches, *f, write=write)) for c in CALLERS for f in [settings(*c)]]


def wanted(who):
    only = os.environ.get("ONLY", "")
    return not only or who in only.split(",")


def corpus(rows):
    folder = bench.BUILD / f"text-{rows}"
    subprocess.run([machine.python(), ROOT / "benchmarks" / "text" / "corpus.py", "--rows", str(rows), "--out", folder], check=True)
    return folder


def vectors(c):
    """What a contestant wrote, in the order of the rows."""
    if (c.output / "vectors.npy").exists():
        return np.load(c.output / "vectors.npy")
    files = [str(f) for f in c.output.rglob("*.parquet") if not any(p.startswith("_") for p in f.relative_to(c.output).parts)]
    table = pyarrow.dataset.dataset(files).to_table(columns=["id", "embedding"]).sort_by("id").combine_chunks()
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(table.num_rows, -1)


def check(contestants, folder):
    """The least cosine of any row of any contestant with the first one's."""
    first, least = None, {}
    for c in contestants:
        c.measured(folder)
        v = vectors(c).astype(np.float64)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        first = v if first is None else first
        least[c.who] = float((v * first).sum(axis=1).min()) if v.shape == first.shape else 0.0
        print(f"  {c.who:16} least cosine {least[c.who]:.7f}", flush=True)
    return least


def best(options, folder, tried):
    """The fastest of a contestant's settings."""
    rates = []
    for flags, c in options:
        row = c.measured(folder, [])
        rates.append(row["rows_per_second"])
        tried.append({"who": c.who, "settings": " ".join(flags), "rows_per_second": row["rows_per_second"]})
        print(f"  {c.who:16} {' '.join(flags):44} {rates[-1]:8.1f} rows/s", flush=True)
    return options[int(np.argmax(rates))][1]


def slow(c):
    return c.who in PEERS


def measure(contestants, folder):
    runs, failures = [], []
    for i in range(RUNS):
        at = i % len(contestants)
        for c in contestants[at:] + contestants[:at]:
            if slow(c) and i >= SLOW_RUNS:
                continue
            row = {**c.measured(folder, failures), "run": i}
            runs.append(row)
            print(f"  {i} {c.who:16} {row['rows_per_second']:8.1f} rows/s  job {row['seconds']:7.2f} s  CPU {row['cpu_seconds']:7.2f} s  "
                  f"peak {row['peak_rss_bytes'] / 2**20:7.0f} MiB  others {row['other_cores_busy']:.1f} cores", flush=True)
    return runs, failures


def ratios(runs, ours):
    m = bench.Medians(runs)
    pairs = {"bare": "bare", "bare_global": "bare-global", **{k + s: k + t for k in PEERS for s, t in (("", ""), ("_sorted", "-sorted"))}}
    rays = [v for v in (m.of(r, "embed", "peak_rss_bytes") for r in ("ray", "ray-sorted")) if v]
    mine = m.of("penstock", "embed", "peak_rss_bytes")
    return {
        **{f"vs_{k}": m.faster("embed", who) for k, who in pairs.items()},
        "memory_vs_ray": round(min(rays) / mine, 4) if rays and mine else None,
        "padding_efficiency": round(ours.summary["padding_efficiency"], 4) if ours else None,
    }


def main():
    process.adopt_orphans()
    small, folder = corpus(CHECKED), corpus(ROWS)
    parts = {k: corpus(n) for k, n in TRIED.items()}
    shutil.rmtree(OUT, ignore_errors=True)
    everyone = [penstock(), *(bares(b, write=True)[0][1] for b in ("packed", "global")),
                *(peers(p, s)[0][1] for s in (False, True) for p in PEERS)]
    everyone = [c for c in everyone if wanted(c.who)]
    print(f"bench-text: comparing the vectors of {CHECKED} texts", flush=True)
    least = check(everyone, small)
    if min(least.values()) < COSINE:
        sys.exit("bench-text: the contestants' vectors are not equal; nothing was timed")
    print("bench-text: trying settings", flush=True)
    tried, chosen = [], [penstock()] if wanted("penstock") else []
    for who, options, part in [
        *(("bare" if b == "packed" else "bare-global", bares(b), "sorted") for b in ("packed", "global")),
        *((p + ("-sorted" if s else ""), peers(p, s), "sorted" if s else "arrival") for p in PEERS for s in (False, True)),
    ]:
        if wanted(who):
            chosen.append(best(options, parts[part], tried))
    bench.warm(folder / "in")
    print(f"bench-text: {ROWS:,} texts", flush=True)
    runs, failures = measure(chosen, folder)
    ours = chosen[0] if chosen[0].who == "penstock" else None
    result = ratios(runs, ours)
    facts = {"texts": json.loads((folder / "facts.json").read_text()), "least_cosine": least, "settings_tried": tried}
    passed = bench.write("text", runs, failures, True, result, LIMITS, ("onnxruntime", "tokenizers", "ray", "daft", "pyarrow", "numpy"), NOTES, facts)
    sys.exit(0 if passed or bench.QUICK else 1)


if __name__ == "__main__":
    main()
