"""Writes a smaller variant of an ONNX model, with ONNX Runtime's own tools: optimize.py int8|fp16 FROM TO

Exits with 3, and says on stdout what is missing, where this Python has not got the packages.
"""
import logging
import sys


def int8(source, target):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # A scale for each channel costs nothing at run time and keeps more of the model.
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


def fp16(source, target):
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Inputs and outputs keep their types, so that the variant takes the place of the model.
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    kind, source, target = sys.argv[1:]
    try:
        {"int8": int8, "fp16": fp16}[kind](source, target)
    except ImportError as e:
        print(e)
        sys.exit(3)
