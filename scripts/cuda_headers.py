"""Copy CUDA's driver header out of the installed wheel (nvidia-cuda-runtime-cu12).

    build/venv/bin/python scripts/cuda_headers.py build/cuda/include

gorgonia.org/cu v0.9.6 and csrc/driver compile against the header of CUDA 12; that of 13 has other signatures.
"""
import importlib.metadata
import os
import pathlib
import shutil
import sys


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    dist = importlib.metadata.distribution("nvidia-cuda-runtime-cu12")
    tmp = out / "cuda.h.tmp"
    shutil.copyfile(dist.locate_file("nvidia/cuda_runtime/include/cuda.h"), tmp)
    os.replace(tmp, out / "cuda.h")


if __name__ == "__main__":
    main()
