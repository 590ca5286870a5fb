"""Two actor pools that share slots, one slow to start (ray-project/ray issue 65540): benchmarks/results/rate.json.

    python3 benchmarks/sim/rate.py [--out benchmarks/results/rate.json] [--quick]

Simulated, in virtual time. The optimum is the best of all fixed splits of the slots, opened at once. Ratios:
`slots_used` is the share of slots at work over that of the optimum where each open worker holds a slot, busy or not, as
an actor of Ray does; `slots_used_by_task` where a slot is held by a running task alone, as our CPU tokens are: there the
slots of workers that are still starting can be used, and no fixed split comes near. `of_all_slots` and
`of_all_slots_by_task` are over all slots at work from the first second to the last. Only the standard library.
"""
import argparse
import json
import pathlib

import common

PLAN = common.HERE / "rate.json"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="no file")
    args = parser.parse_args()
    plan = json.loads(PLAN.read_text())
    results = common.simulate("rate", PLAN)
    runs = [common.entry(r["plan"], r["seconds"], r["items"], 0, 0, slots_used=r["slots_used"], workers=r["workers"], closed=r["closed"])
            for r in results]
    used = {r["plan"]: r["slots_used"] for r in results}
    best = max(v for who, v in used.items() if who.startswith("split"))
    found = {
        "slots_used": used["by worker"] / best, "slots_used_by_task": used["by task"] / best,
        "of_all_slots": used["by worker"] / plan["slots"], "of_all_slots_by_task": used["by task"] / plan["slots"],
    }
    least = plan["at_least"]["slots_used"]
    wrong = [f"slots_used is {found['slots_used']:.3f}, and {least} is the least"] if found["slots_used"] < least else []
    common.finish("rate", runs, found, wrong, args.quick, args.out, constants=plan)


if __name__ == "__main__":
    main()
