"""The bare loop: ONNX Runtime's Python API with I/O binding, one session, one batch after the other, and nothing else.

    PYTHON benchmarks/gpu/bare.py DIR BATCHES [--device cuda|cpu] [--resident]

DIR is a folder of models.py. Inputs are copied to the device and outputs back for each batch, as they must be in a job;
with --resident they stay on the device, which shows what the model alone takes. Prints one line of JSON; the first
outputs go to DIR/bare-NAME.bin.
"""
import argparse
import json
import pathlib
import time

import numpy as np
import onnxruntime as ort

WARM = 5


def session(path, device):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1 if device == "cuda" else 0
    providers = ["CPUExecutionProvider"]
    if device == "cuda":
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        # Shapes are fixed: the long search is the best setting.
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "EXHAUSTIVE", "cudnn_conv_use_max_workspace": "1", "prefer_nhwc": "1"}))
    made = ort.InferenceSession(str(path), options, providers=providers)
    if device == "cuda" and made.get_providers()[0] != "CUDAExecutionProvider":
        raise SystemExit("bare: the CUDA provider could not be loaded")
    return made


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("batches", type=int)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--resident", action="store_true")
    args = parser.parse_args()
    work = json.loads((args.dir / "work.json").read_text())
    run = session(args.dir / "model.onnx", args.device)
    arrays = {i["name"]: np.fromfile(args.dir / f"{i['name']}.bin", i["type"]).reshape(i["shape"]) for i in work["inputs"]}
    values = {k: ort.OrtValue.ortvalue_from_numpy(a, args.device, 0) for k, a in arrays.items()}
    outputs = {o["name"]: ort.OrtValue.ortvalue_from_shape_and_type(o["shape"], np.dtype(o["type"]), args.device, 0) for o in work["outputs"]}
    binding = run.io_binding()
    for k, v in values.items():
        binding.bind_ortvalue_input(k, v)
    for k, v in outputs.items():
        binding.bind_ortvalue_output(k, v)

    def batch():
        if not args.resident:
            for k, a in arrays.items():
                values[k].update_inplace(a)
        run.run_with_iobinding(binding)
        if not args.resident:
            return {k: v.numpy() for k, v in outputs.items()}

    for _ in range(WARM):
        got = batch()
    if got:
        for k, a in got.items():
            a.tofile(args.dir / f"bare-{k}.bin")
    start = time.perf_counter()
    for _ in range(args.batches):
        batch()
    seconds = time.perf_counter() - start
    print(json.dumps({"rows": args.batches * work["inputs"][0]["shape"][0], "seconds": seconds, "onnxruntime": ort.__version__}))


if __name__ == "__main__":
    main()
