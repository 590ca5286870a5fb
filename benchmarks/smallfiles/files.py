"""100,000 files of one row each, listed and read as they are found: benchmarks/results/files.json.

    python3 benchmarks/smallfiles/files.py [--out benchmarks/results/files.json] [--quick]

Once all in one folder, once a thousand in a folder. `first_row_seconds` is that of the slowest run, from the start of the
job; `rss_growth` the largest ratio of the resident set at the end to that after a tenth of the rows. Only the standard
library.
"""
import argparse
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sim"))

import common

MOST = {"first_row_seconds": 1.0, "rss_growth": 1.25}


def make(folder, files, per_folder):
    for i in range(files):
        sub = folder / f"{i // per_folder:04d}"
        if i % per_folder == 0:
            sub.mkdir(parents=True)
        (sub / f"{i:06d}.txt").write_text(f"row {i}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="10,000 files, once, and no file")
    args = parser.parse_args()
    files, turns = (10_000, 1) if args.quick else (100_000, 3)
    binary = common.build("./benchmarks/smallfiles")
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, per_folder in (("one folder", files), ("a thousand in a folder", 1000)):
            folder = pathlib.Path(scratch) / name.replace(" ", "-")
            make(folder, files, per_folder)
            for turn in range(turns):
                r = common.json_of(binary, folder, files)
                runs.append(common.entry("penstock", r.pop("seconds"), r.pop("rows"), r.pop("peak_rss_bytes"), turn, layout=name, **r))
    found = {
        "first_row_seconds": max(r["first_row_seconds"] for r in runs),
        "rss_growth": max(r["rss_at_the_end"] / max(r["rss_after_a_tenth"], 1) for r in runs),
    }
    wrong = [f"{key} is {found[key]:.3f}, and {most} is the most" for key, most in MOST.items() if found[key] > most]
    wrong += [f"{r['rows']} rows of {files} files" for r in runs if r["rows"] != files]
    common.finish("files", runs, found, wrong, args.quick, args.out, files=files, at_most=MOST)


if __name__ == "__main__":
    main()
