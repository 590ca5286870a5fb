"""What the experiments have in common: building our commands, and the form of a result. Only the standard library."""
import datetime
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "harness"))

import machine


def build(package):
    """Builds a command of ours and gives its path."""
    binary = ROOT / "build/bench/bin" / package.replace("/", "-").strip(".-")
    subprocess.run(["go", "build", "-o", binary, package], cwd=ROOT, check=True)
    return binary


def json_of(*argv):
    return json.loads(subprocess.run([str(a) for a in argv], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def simulate(experiment, constants):
    return json_of(build("./pipeline/internal/sim/bench"), experiment, constants)


def entry(who, seconds, rows, peak, turn, **more):
    return {"who": who, "seconds": seconds, "rows": rows, "rows_per_second": rows / seconds, "peak_rss_bytes": peak,
            "run": turn, "load": os.getloadavg()[0], **more}


def finish(name, runs, ratios, wrong, quick, out=None, **more):
    """Prints the ratios, writes the result unless it was a quick run, and exits with what is wrong."""
    result = {
        "name": name, "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": machine.commit(), "machine": machine.facts(), **more, "runs": runs, "ratios": ratios,
        "outputs_equal": len({r["rows"] for r in runs}) == 1,
    }
    if not result["outputs_equal"]:
        wrong = [*wrong, "the runs did not give equally many rows"]
    result["passed"] = not wrong
    for key, ratio in ratios.items():
        print(f"{key:24} {ratio:.3f}")
    if not quick:
        path = out or ROOT / f"benchmarks/results/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit("\n".join(wrong) if wrong else 0)
