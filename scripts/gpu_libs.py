"""Link the GPU libraries out of the installed wheels into one folder, under the names by which they are loaded.

    build/gpu/venv/bin/python scripts/gpu_libs.py build/gpu/lib
"""
import importlib.metadata
import pathlib
import sys


def shared(dist):
    """The shared libraries of a wheel."""
    for f in dist.files or ():
        if ".so" in f.name and "pybind" not in f.name:
            yield pathlib.Path(dist.locate_file(f)).resolve()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    for dist in importlib.metadata.distributions():
        name = dist.metadata["Name"].lower()
        if not name.startswith("nvidia-") and name != "onnxruntime-gpu":
            continue
        for lib in shared(dist):
            (out / lib.name).symlink_to(lib)
            if lib.name.startswith("libonnxruntime.so."):  # what it is called in the files that link to it
                for link in ("libonnxruntime.so.1", "libonnxruntime.so"):
                    (out / link).unlink(missing_ok=True)
                    (out / link).symlink_to(lib.name)


if __name__ == "__main__":
    main()
