"""Say what is missing to test or to measure on a GPU, each by the name of the package that has it. Exit 1 if anything is.

    python3 scripts/gpu_check.py [--driver PATH] [--libs DIR] [--python PYTHON]

The driver is always looked at; with --libs also ONNX Runtime's GPU library and what it links to, by the loader itself, in
DIR and where the loader looks; with --python also that this Python has onnxruntime with the CUDA provider.
"""
import argparse
import ctypes
import pathlib
import subprocess
import sys

# What libonnxruntime_providers_cuda.so of onnxruntime-gpu 1.24 stands on, and whose it is. The order is that of loading.
LIBRARIES = {
    "libcudart.so.12": "nvidia-cuda-runtime-cu12", "libnvrtc.so.12": "nvidia-cuda-nvrtc-cu12", "libnvJitLink.so.12": "nvidia-nvjitlink-cu12",
    "libcublasLt.so.12": "nvidia-cublas-cu12", "libcublas.so.12": "nvidia-cublas-cu12", "libcufft.so.11": "nvidia-cufft-cu12",
    "libcurand.so.10": "nvidia-curand-cu12", "libcudnn.so.9": "nvidia-cudnn-cu12",
    "libonnxruntime.so.1": "onnxruntime-gpu", "libonnxruntime_providers_shared.so": "onnxruntime-gpu",
    "libonnxruntime_providers_cuda.so": "onnxruntime-gpu",
}
RUNTIME_OWN = ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so")  # not loaded here: ONNX Runtime does it


def driver(path):
    """What is wrong with the driver; nothing: a device was found."""
    name = path or "libcuda.so.1"
    try:
        lib = ctypes.CDLL(name)
    except OSError as e:
        return [f"CUDA's driver: looked for {name}: {e}. Install NVIDIA's driver (Debian and Ubuntu: nvidia-driver-NNN), or pass the GPUs through to this container"]
    if code := lib.cuInit(0):
        return [f"a GPU: cuInit of {name} gives CUDA error {code}"]
    count = ctypes.c_int()
    lib.cuDeviceGetCount(ctypes.byref(count))
    return [] if count.value else [f"a GPU: {name} sees none (CUDA_VISIBLE_DEVICES?)"]


def libraries(folder):
    missing = []
    for name, package in LIBRARIES.items():
        path = folder / name
        if name in RUNTIME_OWN:
            if not path.exists():
                missing.append(f"{name} (package {package}) in {folder}")
            continue
        try:
            ctypes.CDLL(str(path) if path.exists() else name, mode=ctypes.RTLD_GLOBAL)
        except OSError as e:
            missing.append(f"{name} (package {package}): neither in {folder} nor where the loader looks ({e})")
    return missing


def provider(python):
    code = "import onnxruntime as o; o.preload_dlls(); import sys; sys.exit('CUDAExecutionProvider' not in o.get_available_providers())"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError as e:
        return [f"a Python with onnxruntime-gpu for the bare loop: {e}"]
    return [] if done.returncode == 0 else [f"onnxruntime with the CUDA provider in {python} (package onnxruntime-gpu): {done.stderr.strip()[-300:] or 'it has the CPU alone'}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default="")
    parser.add_argument("--libs", type=pathlib.Path)
    parser.add_argument("--python")
    parser.add_argument("--what", default="this", help="what cannot be done, for the message")
    args = parser.parse_args()
    missing = driver(args.driver)
    if args.libs:
        missing += libraries(args.libs)
    if args.python:
        missing += provider(args.python)
    if missing:
        print(f"{args.what} needs a GPU and its libraries; missing here:", *(f"  {m}" for m in missing), sep="\n", file=sys.stderr)
        if args.libs and not args.libs.exists():
            print("  `make gpu-libs` gets the packages into build/gpu; GPU_LIBS=DIR names a folder that has the libraries", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
