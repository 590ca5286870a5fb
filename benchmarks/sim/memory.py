"""The Ray Data paper's memory experiment, simulated and with the real executor: benchmarks/results/memory.json.

    python3 benchmarks/sim/memory.py [--out benchmarks/results/memory.json] [--quick]

Ratios are of the job's time over the published optimum: `sim_*` in the simulator's virtual time, `sim_whole_*` if a load
task holds all its blocks at once from its first second on, `sim_by_rate_*` and `sim_whole_by_rate_*` with sources that are
admitted by rate (Algorithm 2), `real_*` with stages that wait on a timer and real Arrow
buffers (times and bytes divided, see memory.json), medians of the runs. The limits that they must keep are in
memory.json; outside of them the exit status is 1. Only the standard library.
"""
import argparse
import json
import pathlib
import statistics

from bound import bounds
import common

PLAN = common.HERE / "memory.json"


def simulated():
    for r in common.simulate("memory", PLAN):
        who = "sim" if r["plan"] == "streamed" else "sim_" + r["plan"]
        yield common.entry(who, r["seconds"], r["blocks"], 0, 0, limit_gb=r["limit_gb"], counted_bytes=r["counted_bytes"],
                           physical_bytes=r["physical_bytes"], alone=r["alone"])


def real(plan, turns):
    limits, executor = plan["limits_gb"], common.build("./benchmarks/sim")
    for turn in range(turns):
        for gb in limits if turn % 2 else reversed(limits):
            r = common.json_of(executor, PLAN, gb)
            yield common.entry("real", r["seconds"], r["blocks"], r["peak_rss_bytes"], turn, limit_gb=gb,
                               counted_bytes=r["peak_bytes"], first_block_seconds=r["first_block_seconds"])


def ratios(plan, runs):
    out = {}
    for who in ("sim", "sim_whole", "sim_by_rate", "sim_whole_by_rate", "real"):
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
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="one real run at each limit, and no file")
    args = parser.parse_args()
    plan = json.loads(PLAN.read_text())
    runs = [*simulated(), *real(plan, 1 if args.quick else 5)]
    found = ratios(plan, runs)
    published = {who: {f"{gb}gb": s / plan["optimum_seconds"] for gb, s in v.items()} for who, v in plan["published"].items()}
    common.finish("memory", runs, found, list(faults(plan, found)), args.quick, args.out,
                  constants=plan, bounds=bounds(plan), published_ratios=published)


if __name__ == "__main__":
    main()
