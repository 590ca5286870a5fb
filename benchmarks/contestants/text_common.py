"""What the contestants with a text model share: MiniLM by Hugging Face's tokenizers and bare ONNX Runtime, as its users write it."""
import pathlib

import numpy as np
import onnxruntime
import pyarrow as pa
import tokenizers

MODEL = pathlib.Path(__file__).resolve().parents[2] / "build" / "models" / "all-MiniLM-L6-v2"
LIMIT, DIM = 256, 384


def session(threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(next(MODEL.glob("**/model.onnx"))), options, providers=["CPUExecutionProvider"])


def tokenizer():
    tok = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tok.enable_truncation(LIMIT)
    tok.enable_padding()
    return tok


def feeds(model, ids, mask):
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {i.name: given[i.name] for i in model.get_inputs()}


def pool(hidden, mask):
    """The mean over the real tokens, at length 1."""
    summed = (hidden * mask[:, :, None].astype(np.float32)).sum(axis=1)
    mean = summed / mask.sum(axis=1, keepdims=True).astype(np.float32)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)


class Embedder:
    """Texts to vectors: in batches of their order, or, where a batch size is given for it, sorted by length first."""

    def __init__(self, threads, sort=0):
        self.model, self.tokenizer, self.sort = session(threads), tokenizer(), sort

    def run(self, encodings):
        ids = np.array([e.ids for e in encodings], np.int64)
        mask = np.array([e.attention_mask for e in encodings], np.int64)
        return pool(self.model.run(None, feeds(self.model, ids, mask))[0], mask)

    def __call__(self, texts):
        if not self.sort:
            return self.run(self.tokenizer.encode_batch(texts))
        order = np.argsort([len(t) for t in texts], kind="stable")     # by characters, as sentence-transformers does
        out = np.empty((len(texts), DIM), np.float32)
        for at in range(0, len(order), self.sort):
            some = order[at:at + self.sort]
            out[some] = self.run(self.tokenizer.encode_batch([texts[i] for i in some]))
        return out


def column(vectors):
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
