"""Copy ONNX Runtime's shared library and its licences out of the installed wheel.

    build/venv/bin/python scripts/ort_library.py build/lib

Leaves libonnxruntime.so.VERSION, the links libonnxruntime.so.1 and libonnxruntime.so, and the notices.
"""
import importlib.metadata
import os
import pathlib
import shutil
import sys


def replace_file(source, target):
    """Copy under a temporary name first: another process may have the old library open."""
    tmp = target.with_name(target.name + ".tmp")
    shutil.copyfile(source, tmp)
    os.replace(tmp, target)


def replace_link(target, name):
    tmp = target.with_name(target.name + ".tmp")
    tmp.unlink(missing_ok=True)
    tmp.symlink_to(name)
    os.replace(tmp, target)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    dist = importlib.metadata.distribution("onnxruntime")
    name = f"libonnxruntime.so.{dist.version}"
    package = pathlib.Path(dist.locate_file("onnxruntime"))
    for old in out.glob("libonnxruntime.so*"):
        if old.name != name:
            old.unlink()
    replace_file(package / "capi" / name, out / name)
    os.chmod(out / name, 0o755)
    replace_link(out / "libonnxruntime.so.1", name)
    replace_link(out / "libonnxruntime.so", name)
    replace_file(package / "LICENSE", out / "onnxruntime-LICENSE.txt")
    replace_file(package / "ThirdPartyNotices.txt", out / "onnxruntime-ThirdPartyNotices.txt")


if __name__ == "__main__":
    main()
