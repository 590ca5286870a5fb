"""The least time that the memory experiment can take, from its constants alone.

    python3 benchmarks/sim/bound.py [benchmarks/sim/memory.json]

It knows nothing of any scheduler: it adds up the work of each kind of slot. The second figure is a little sharper: the
last block is inferred after all CPU work is done. The published optimum (by a solver) must not be below either. Only
the standard library.
"""
import json
import pathlib
import sys


def bounds(plan):
    blocks = plan["load_tasks"] * plan["blocks_per_task"]
    cpu = plan["load_tasks"] * plan["load_seconds"] + blocks * plan["transform_seconds"]
    gpu = blocks * plan["infer_seconds"]
    work = max(cpu / plan["cpus"], gpu / plan["gpus"])
    return {
        "cpu_seconds": cpu,
        "gpu_seconds": gpu,
        "work_bound": work,
        "work_bound_and_last_block": max(
            cpu / plan["cpus"] + plan["infer_seconds"],
            plan["load_seconds"] + plan["transform_seconds"] + gpu / plan["gpus"],
        ),
    }


if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("memory.json")
    plan = json.loads(path.read_text())
    found = bounds(plan)
    print(json.dumps(found, indent=1))
    if found["work_bound_and_last_block"] > plan["optimum_seconds"]:
        sys.exit(f"the published optimum of {plan['optimum_seconds']} s is below the bound: the constants are wrong")
