"""ResNet-50 and MiniLM in float16 through a GPU actor, beside a bare I/O-binding loop on the same device: gpu.json.

    python3 benchmarks/gpu/gpu.py [--libs DIR] [--python PYTHON] [--driver PATH] [--quick] [--out benchmarks/results/gpu.json]

Both run the same model file with the same ONNX Runtime, on one batch given again and again; copies to the device and back
belong to each batch. Their outputs are compared before anything is timed. Five runs of each in turn, the order turned
round by one each time; ratios are of medians. `vs_bare` is the lower one of the two models, `vs_resident` is that to a
loop whose inputs stay on the device: what the model alone takes. `gpu_busy` is the lower share of the time in which the
compute stream worked, by CUDA events.

--quick: tiny models, once, no file. Where the driver is the tests' emulated one, the bare loop runs on the CPU.
"""
import argparse
import array
import datetime
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "benchmarks" / "harness"))
import machine  # noqa: E402

WORK = ROOT / "build" / "bench" / "gpu"
LEAST = {"vs_bare": 0.95, "gpu_busy": 0.90}
MODELS = {"resnet50": 400, "minilm": 400}  # batches of a run
TOLERANCE = 0.05  # of float16 sums in another order, over the range of the values


def report(argv, env):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"bench-gpu: {' '.join(str(a) for a in argv)}\n{done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def floats(path, kind):
    values = array.array({"float32": "f", "int64": "q"}[kind])
    values.frombytes(path.read_bytes())
    return values


def compare(folder):
    """Stops where the two contestants' first outputs differ. Labels are compared through the logits."""
    for out in json.loads((folder / "work.json").read_text())["outputs"]:
        ours, theirs = (floats(folder / f"{who}-{out['name']}.bin", out["type"]) for who in ("penstock", "bare"))
        if len(ours) != len(theirs) or len(ours) != math.prod(out["shape"]):
            sys.exit(f"bench-gpu: {folder.name}: {len(ours)} and {len(theirs)} numbers of {out['name']}, not {math.prod(out['shape'])}")
        if out["type"] == "float32":
            span = max(theirs) - min(theirs)
            worst = max(abs(a - b) for a, b in zip(ours, theirs))
            if not (span > 0 and worst <= TOLERANCE * span):
                sys.exit(f"bench-gpu: {folder.name}: {out['name']} differs by {worst}, over a range of {span}")


def contestants(args, folder, batches, emulated):
    device = "cpu" if emulated else "cuda"
    actor = [WORK / "actor", "-library", args.libs, "-driver", args.driver, folder, batches]
    bare = [args.python, HERE / "bare.py", folder, batches, "--device", device]
    return {"penstock": actor, "bare": bare, "resident": [*bare, "--resident"]}


def measure(args, models, emulated):
    env = {**os.environ, "LD_LIBRARY_PATH": f"{args.libs}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    runs = []
    for name, batches in models.items():
        folder = WORK / ("tiny" if args.quick else "models") / name
        who = contestants(args, folder, 3 if args.quick else batches, emulated)
        for argv in contestants(args, folder, 1, emulated).values():
            report(argv, env)
        compare(folder)
        for turn in range(1 if args.quick else 5):
            names = list(who)
            for n in names[turn % 3:] + names[:turn % 3]:
                got = report(who[n], env)
                runs.append({"who": n, "model": name, "run": turn, "rows_per_second": got["rows"] / got["seconds"], **got})
    return runs


def ratios(runs, models):
    def median(who, model, what="rows_per_second"):
        return statistics.median(r[what] for r in runs if r["who"] == who and r["model"] == model)

    found = {}
    for m in models:
        found[f"vs_bare_{m}"] = median("penstock", m) / median("bare", m)
        found[f"vs_resident_{m}"] = median("penstock", m) / median("resident", m)
        found[f"gpu_busy_{m}"] = median("penstock", m, "gpu_busy")
    for what in ("vs_bare", "vs_resident", "gpu_busy"):
        found[what] = min(v for k, v in found.items() if k.startswith(what + "_"))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default=os.environ.get("PENSTOCK_CUDA_DRIVER", ""))
    parser.add_argument("--libs", default=str(ROOT / "build" / "gpu" / "lib"))
    parser.add_argument("--python", default=str(ROOT / "build" / "gpu" / "venv" / "bin" / "python"))
    parser.add_argument("--only", choices=MODELS, help="one model of the two, and no file")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    args = parser.parse_args()
    emulated = "emulator" in pathlib.Path(args.driver).name
    WORK.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "build", "-o", WORK / "actor", "./benchmarks/gpu/actor"], cwd=ROOT, check=True)
    models = {k: v for k, v in MODELS.items() if args.only in (None, k)}
    argv = [ROOT / "build" / "venv" / "bin" / "python", HERE / "models.py", WORK / ("tiny" if args.quick else "models")]
    subprocess.run(argv + ["--tiny"] * args.quick + (["--only", args.only] if args.only else []), check=True)
    runs = measure(args, models, emulated)
    found = ratios(runs, models)
    ours = next(r for r in runs if r["who"] == "penstock")
    for r in runs:
        print(f"{r['model']:>9} {r['who']:>9}: {r['rows_per_second']:10.1f} rows/s" + (f", GPU busy {r['gpu_busy']:.3f}" if r["who"] == "penstock" else ""))
    print(ours["device"], json.dumps({k: round(v, 3) for k, v in found.items()}))
    wrong = [f"{r['model']}: {r[k]} {k}" for r in runs if r["who"] == "penstock" for k in ("pageable_bytes", "staged_bytes", "pinned_fallbacks") if r[k]]
    if not args.quick:
        wrong += [f"{k} is {found[k]:.3f}, and {v} is the least" for k, v in LEAST.items() if found[k] < v]
        if not emulated and not args.only:
            facts = {**machine.facts(), "gpu": ours["device"]}
            facts["versions"]["onnxruntime"] = next(r["onnxruntime"] for r in runs if r["who"] == "bare")
            args.out.write_text(json.dumps({"name": "gpu", "date": datetime.date.today().isoformat(), "commit": machine.commit(), "machine": facts,
                                            "runs": runs, "ratios": found, "outputs_equal": True}, indent=1) + "\n")
    if wrong:
        sys.exit("bench-gpu: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
