"""Page-locked copies to the GPU and back through packages pinned and cuda, beside a bare loop in C on the same device.

    python3 benchmarks/gpu/copy.py [--driver PATH] [--quick] [--out benchmarks/results/copy.json]

Needs the driver alone: no CUDA toolkit, no ONNX Runtime. Blocks of 1 MiB, 9.6 MB (64 images of 224x224) and 64 MiB; five
runs of each contestant in turn, the order turned round by one each time; ratios are of medians. `vs_bare_h2d` and
`vs_bare_d2h` are those of the blocks of 9.6 MB, `vs_pageable` is what page-locked memory gains over ordinary memory there.
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "harness"))
import machine  # noqa: E402

BLOCKS = {"1MiB": 1 << 20, "9.6MB": 64 * 224 * 224 * 3, "64MiB": 64 << 20}
MAIN = "9.6MB"
LEAST = 0.9
BIN = ROOT / "build" / "bench" / "gpu"


def build():
    """Both contestants, against the library and the header that make's variables name."""
    BIN.mkdir(parents=True, exist_ok=True)
    here = pathlib.Path(__file__).resolve().parent
    subprocess.run(["go", "build", "-o", BIN / "copy", "./benchmarks/gpu/copy"], cwd=ROOT, check=True)
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "csrc" / "driver", "-o", BIN / "bare_copy",
                    here / "bare" / "copy.c", "-lcuda", "-ldl", "-lpthread"], check=True)


def run(who, driver, size, copies):
    done = subprocess.run([BIN / who, driver, str(size), str(copies)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench-copy: {done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(driver, quick):
    runs, device = [], None
    contestants = ["copy", "bare_copy"]
    for block, size in BLOCKS.items():
        copies = 8 if quick else max(64, (8 << 30) // size)
        for turn in range(1 if quick else 5):
            for who in contestants[turn % 2:] + contestants[:turn % 2]:
                got = run(who, driver, size, copies)
                device = got.pop("device", device)
                runs.append({"who": "penstock" if who == "copy" else "bare", "block": block, "run": turn, "copies": copies, **got})
    return device, runs


def median(runs, who, block, what):
    return statistics.median(r[what] for r in runs if r["who"] == who and r["block"] == block)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default=os.environ.get("PENSTOCK_CUDA_DRIVER", ""))
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")), help="few copies, no file")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks" / "results" / "copy.json")
    args = parser.parse_args()
    build()
    device, runs = measure(args.driver, args.quick)
    ratios = {f"vs_bare_{d}": median(runs, "penstock", MAIN, d) / median(runs, "bare", MAIN, d) for d in ("h2d", "d2h")}
    ratios["vs_pageable"] = median(runs, "penstock", MAIN, "h2d") / median(runs, "penstock", MAIN, "h2d_pageable")
    for block in BLOCKS:
        for d in ("h2d", "d2h"):
            print(f"{block:>6} {d}: penstock {median(runs, 'penstock', block, d) / 1e9:6.2f} GB/s, bare {median(runs, 'bare', block, d) / 1e9:6.2f} GB/s")
    print(device, json.dumps({k: round(v, 3) for k, v in ratios.items()}))
    fallbacks = sum(r.get("fallbacks", 0) for r in runs)
    if not args.quick and "mulated" not in device:
        facts = {**machine.facts(), "gpu": device}
        args.out.write_text(json.dumps({"name": "copy", "date": datetime.date.today().isoformat(), "commit": machine.commit(), "machine": facts,
                                        "runs": runs, "ratios": ratios, "outputs_equal": True}, indent=1) + "\n")
    if fallbacks:
        sys.exit(f"bench-copy: {fallbacks} blocks were not page-locked")
    if not args.quick and ratios["vs_bare_h2d"] < LEAST:
        sys.exit(f"bench-copy: vs_bare_h2d is {ratios['vs_bare_h2d']:.3f}, and {LEAST} is the least")


if __name__ == "__main__":
    main()
