"""How well the hot path overlaps copies, computing and the CPU's work: benchmarks/results/overlap.json.

    python3 benchmarks/overlap/overlap.py [--out benchmarks/results/overlap.json] [--quick]

A job of 500 batches runs through a GPU actor on the emulated CUDA driver, with a ring of slots and with one slot. What
waited for what is recorded there; the busy shares are computed from that record under the rates of rates.json, in
virtual time: nothing here depends on how fast this machine is. `busy_balanced`, `busy_compute`, `busy_copy` and
`busy_worst` (of the seeded sets) are the busy share of the resource that has most to do; `serial_balanced` is that of a
ring of one slot. Only the standard library.
"""
import argparse
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sim"))

import common

CONSTANTS = HERE / "rates.json"


def faults(constants, runs, ratios):
    """What is wrong: a bar that is missed, a ledger exceeded, a copy that was not from page-locked memory."""
    wrong = [f"{k} is {ratios[k]:.3f}, and {least} is the least" for k, least in constants["at_least"].items() if ratios[k] < least]
    wrong += [f"{k} is {ratios[k]:.3f}, and {most} is the most" for k, most in constants["at_most"].items() if ratios[k] > most]
    for r in runs:
        if r["peak_block_bytes"] > r["block_limit"] or r["peak_bytes"] > r["memory_limit"]:
            wrong.append(f"ring of {r['ring']}: the ledger was exceeded: {r['peak_block_bytes']} bytes of blocks, {r['peak_bytes']} in all")
        if r["pageable_copies"]:
            wrong.append(f"ring of {r['ring']}: {r['pageable_copies']} copies were not from page-locked memory")
    if len({r["checksum"] for r in runs}) != 1:
        wrong.append("the rings gave different results")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="no file")
    args = parser.parse_args()
    constants = json.loads(CONSTANTS.read_text())
    ring, serial = results = common.json_of(common.build("./benchmarks/overlap"), CONSTANTS)
    busy = {s["set"]: s["busiest"] for s in ring["shares"]}
    ratios = {f"busy_{name}": busy[name] for name in constants["sets"]}
    ratios["busy_worst"] = min(share for name, share in busy.items() if name not in constants["sets"])
    ratios["serial_balanced"] = next(s["busiest"] for s in serial["shares"] if s["set"] == "balanced")
    runs = [common.entry(f"ring of {r['ring']}", r["wall_seconds"], r["batches"], 0, 0, **r) for r in results]
    common.finish("overlap", runs, ratios, faults(constants, results, ratios), args.quick, args.out, constants=constants)


if __name__ == "__main__":
    main()
