"""Write THIRD_PARTY.md: what the binary links or the tarball carries, with its licences.

    build/venv/bin/python scripts/third_party.py [--check]

The modules come from `go list -tags=cuda -deps ./cmd/penstock`; for each, the licence and notice files in the folders of the
packages that are linked, up to the module's root. A text that several share stands once. --check writes nothing and
fails where the file is stale.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "THIRD_PARTY.md"
MODEL = ROOT / "build/models/all-MiniLM-L6-v2"
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|notice|patents)([._-].*)?$", re.IGNORECASE)

# The first pattern that is found names the kind; the text itself decides.
KINDS = (
    ("MPL-2.0", "Mozilla Public License Version 2.0"),
    ("Apache-2.0", "Apache License"),
    ("BSD-3-Clause", "Neither the name of"),
    ("BSD-2-Clause", "Redistributions of source code must retain"),
    ("MIT", "Permission is hereby granted, free of charge"),
    ("ISC", "Permission to use, copy, modify, and"),
    ("patent grant", "Additional IP Rights Grant"),
    ("CC0-1.0", "CC0 1.0 Universal"),
)


def go(*args):
    return subprocess.run(["go", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def linked_packages():
    """The packages of others that ./cmd/penstock links, as go list describes them."""
    text, decoder, at = go("list", "-tags=cuda", "-deps", "-json=Dir,Module", "./cmd/penstock"), json.JSONDecoder(), 0
    while at < len(text):
        package, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        if "Module" in package and not package["Module"].get("Main"):
            yield package


def licence_files(folder, root):
    """Licence files in folder and in those above it, down from root."""
    found = []
    while True:
        found += [p for p in folder.iterdir() if p.is_file() and LICENCE_FILE.match(p.name)]
        if folder == root:
            return found
        folder = folder.parent


def from_readme(root):
    """The licence at the end of a module's README, where it has no file for it."""
    for path in sorted(root.glob("README*")):
        found = re.search(r"^(The )?MIT License.*", path.read_text(errors="replace"), re.MULTILINE | re.DOTALL)
        if found:
            return {path.name: found.group().strip() + "\n"}
    return {}


def kind(text):
    flat = " ".join(text.split())
    return next((name for name, pattern in KINDS if pattern in flat), None)


def collect():
    """[(heading, why, [(kind, text)])] in the order of the document."""
    modules, roots = {}, {}
    for package in linked_packages():
        module = package["Module"]
        module = module.get("Replace", module) | {"Path": module["Path"], "Version": module["Version"]}
        files = modules.setdefault((module["Path"], module["Version"]), {})
        root = roots[module["Path"]] = pathlib.Path(module["Dir"])
        for path in licence_files(pathlib.Path(package["Dir"]), root):
            files[str(path.relative_to(root))] = path.read_text(errors="replace")
    parts = []
    for (path, version), files in sorted(modules.items()):
        files = files or from_readme(roots[path])
        if not files:
            sys.exit(f"third_party: {path} {version} has no licence file: look into it by hand")
        parts.append((f"{path} {version}", "Linked into the binary.", [files[name] for name in sorted(files)]))
    goroot = pathlib.Path(go("env", "GOROOT").strip())
    parts.append(("The Go standard library and runtime", "Linked into the binary.", [(goroot / "LICENSE").read_text()]))
    ort = ROOT / "build/lib"
    name = os.readlink(ort / "libonnxruntime.so")
    notices = "Carried beside the binary, loaded at run time; the notices of its own third parties go with it as a file (licenses/onnxruntime-ThirdPartyNotices.txt)."
    parts.append((f"ONNX Runtime {name.split('.so.')[1]}", notices, [(ort / "onnxruntime-LICENSE.txt").read_text()]))
    model = "The model of the examples and tests, fetched by `make setup`; not in the tarball. The weights are their authors' (sentence-transformers), the Python package around them has a licence of its own."
    parts.append(("all-MiniLM-L6-v2", model, [(MODEL / "LICENSE").read_text(), (MODEL / "LICENSE.package").read_text()]))
    return parts


def document(parts):
    texts = {}
    lines = ["# Third-party software", "", "Made by `make third-party`; do not edit. Penstock itself is under Apache-2.0 (LICENSE).", ""]
    for heading, why, licences in parts:
        refs = []
        for text in licences:
            text = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
            number = texts.setdefault(text, len(texts) + 1)
            refs.append(f"[{kind(text) or 'notice'}, text {number}](#text-{number})")
        lines += [f"## {heading}", "", f"{why} {'; '.join(refs)}.", ""]
    for text, number in texts.items():
        fence = "~~~~"
        lines += [f"### Text {number}", "", fence, text, fence, ""]
    return "\n".join(lines)


def main():
    text = document(collect())
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        sys.exit("third_party: THIRD_PARTY.md is stale: run `make third-party`")


if __name__ == "__main__":
    main()
