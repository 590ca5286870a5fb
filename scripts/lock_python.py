"""Write requirements.txt: the packages of requirements.in beside it, each with the sha256 of its wheels.

    python3 scripts/lock_python.py [FOLDER [MACHINE...]]

FOLDER is scripts and the machines are all where they are not given.

Asks the package index for the wheel of each supported Python on each supported machine; nothing is installed, and
wheels are not downloaded where the index serves their metadata apart. Needs a pip that knows `--dry-run --report`.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

PYTHONS = ("311", "312", "313", "314")
MACHINES = ("x86_64", "aarch64")
GLIBC = ("2014", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28")


def resolve(requirements, python, machine, folder):
    """The wheels that pip would install there, as {name==version: sha256}."""
    report = folder / f"{machine}-{python}.json"
    cmd = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    cmd += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for g in GLIBC:
        cmd += ["--platform", f"manylinux{g}_{machine}"]
    cmd += ["--target", str(folder / "none"), "--report", str(report), "-r", str(requirements)]
    env = {k: v for k, v in os.environ.items() if k != "PIP_FIND_LINKS"}
    subprocess.run(cmd, check=True, env=env)
    wheels = {}
    for item in json.loads(report.read_text())["install"]:
        name = item["metadata"]["name"].lower().replace("-", "_")
        wheels[f"{name}=={item['metadata']['version']}"] = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return wheels


def main():
    here = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    machines = sys.argv[2:] or MACHINES
    hashes = {}
    with tempfile.TemporaryDirectory() as tmp:
        for machine in machines:
            for python in PYTHONS:
                for pin, sha in resolve(here / "requirements.in", python, machine, pathlib.Path(tmp)).items():
                    hashes.setdefault(pin, {})[sha] = None
    lines = ["# Made from requirements.in by scripts/lock_python.py; do not edit."]
    lines += [f"# CPython {', '.join(PYTHONS)} on Linux {', '.join(machines)}."]
    for pin in sorted(hashes):
        lines.append(" \\\n    ".join([pin] + [f"--hash=sha256:{h}" for h in hashes[pin]]))
    (here / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
