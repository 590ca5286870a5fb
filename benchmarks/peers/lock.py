"""Write requirements.txt: the packages of requirements.in and all that they need, each with the sha256 of its wheels.

    python3 benchmarks/peers/lock.py

Asks the package index what pip would install for each supported Python on each supported machine; nothing is installed.
Every Python gets the same versions: what was resolved for the first is a constraint for the others.
Needs a pip that knows `--dry-run --report`.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PYTHONS = ("311", "312", "313", "314")
MACHINES = ("x86_64", "aarch64")
GLIBC = ("1", "2010", "2014", "_2_5", "_2_12", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34", "_2_35")


def resolve(python, machine, folder, known):
    """What pip would install there, as {name: (version, sha256)}."""
    report, pins = folder / f"{machine}-{python}.json", folder / "constraints.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in known.items()))
    cmd = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
    cmd += ["--implementation", "cp", "--python-version", python, "--constraint", str(pins)]
    for g in GLIBC:
        cmd += ["--platform", f"manylinux{g}_{machine}"]
    cmd += ["--target", str(folder / "none"), "--report", str(report), "-r", str(HERE / "requirements.in")]
    subprocess.run(cmd, check=True)
    found = {}
    for item in json.loads(report.read_text())["install"]:
        name = item["metadata"]["name"].lower().replace("-", "_")
        found[name] = (item["metadata"]["version"], item["download_info"]["archive_info"]["hashes"]["sha256"])
    return found


def main():
    known, hashes = {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        for python in PYTHONS:
            for machine in MACHINES:
                for name, (version, sha) in resolve(python, machine, pathlib.Path(tmp), known).items():
                    known.setdefault(name, version)
                    hashes.setdefault(name, {})[sha] = None
    lines = ["# Made from requirements.in by `make lock-peers`; do not edit."]
    lines += [f"# CPython {', '.join(PYTHONS)} on Linux {', '.join(MACHINES)}."]
    for name in sorted(known):
        lines.append(" \\\n    ".join([f"{name}=={known[name]}"] + [f"--hash=sha256:{h}" for h in hashes[name]]))
    (HERE / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
