"""The Ray Data paper's memory experiment, simulated and with the real executor: benchmarks/results/memory.json.

    python3 benchmarks/sim/memory.py [--out benchmarks/results/memory.json] [--quick]

Ratios are of the job's time over the published optimum: `sim_*` in the simulator's virtual time, `sim_whole_*` if a load
task holds all its blocks at once from its first second on, `real_*` with stages that wait on a timer and real Arrow
buffers (times and bytes divided, see memory.json), medians of the runs. The limits that they must keep are in
memory.json; outside of them the exit status is 1. Only the standard library.
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "harness")]

from bound import bounds
import machine

PLAN = HERE / "memory.json"


def go_json(*argv):
    return json.loads(subprocess.run(["go", "run", *map(str, argv)], cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def entry(who, run, seconds, blocks, peak, turn):
    return {"who": who, "limit_gb": run["limit_gb"], "seconds": seconds, "rows": blocks, "rows_per_second": blocks / seconds,
            "peak_rss_bytes": peak, "run": turn, "load": os.getloadavg()[0]}


def simulated():
    runs = []
    for r in go_json("./pipeline/internal/sim/bench", "memory", PLAN):
        who = "sim" if r["plan"] == "streamed" else "sim_" + r["plan"]
        e = entry(who, r, r["seconds"], r["blocks"], 0, 0)
        runs.append(e | {"counted_bytes": r["counted_bytes"], "physical_bytes": r["physical_bytes"], "alone": r["alone"]})
    return runs


def real(plan, turns):
    limits = plan["limits_gb"]
    for turn in range(turns):
        for gb in limits if turn % 2 else reversed(limits):
            r = go_json("./benchmarks/sim", PLAN, gb)
            e = entry("real", r, r["seconds"], r["blocks"], r["peak_rss_bytes"], turn)
            yield e | {"counted_bytes": r["peak_bytes"], "first_block_seconds": r["first_block_seconds"]}


def ratios(plan, runs):
    out = {}
    for who in ("sim", "sim_whole", "real"):
        scale = plan["real"]["time_divisor"] if who == "real" else 1
        for gb in plan["limits_gb"]:
            seconds = [r["seconds"] for r in runs if r["who"] == who and r["limit_gb"] == gb]
            out[f"{who}_{gb}gb"] = statistics.median(seconds) * scale / plan["optimum_seconds"]
    return out


def faults(plan, found):
    most = plan["at_most"]
    for gb in plan["limits_gb"]:
        for name, limit in ((f"sim_{gb}gb", most[f"sim_{gb}gb"]), (f"real_{gb}gb", found[f"sim_{gb}gb"] + most["real_above_sim"])):
            if found[name] > limit:
                yield f"{name} is {found[name]:.3f}, and {limit:.3f} is the most"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=ROOT / "benchmarks/results/memory.json", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="one real run at each limit, and no file")
    args = parser.parse_args()
    plan = json.loads(PLAN.read_text())
    runs = simulated() + list(real(plan, 1 if args.quick else 5))
    found = ratios(plan, runs)
    result = {
        "name": "memory", "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": machine.commit(), "machine": machine.facts(), "constants": plan, "bounds": bounds(plan),
        "runs": runs, "ratios": found,
        "outputs_equal": len({r["rows"] for r in runs}) == 1,
        "published_ratios": {who: {f"{gb}gb": s / plan["optimum_seconds"] for gb, s in v.items()} for who, v in plan["published"].items()},
    }
    wrong = list(faults(plan, found))
    result["passed"] = not wrong and result["outputs_equal"]
    for name, ratio in found.items():
        print(f"{name:16} {ratio:.3f}")
    if not args.quick:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
