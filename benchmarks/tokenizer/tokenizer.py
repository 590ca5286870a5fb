"""Our tokenisers beside the library `tokenizers`, one core each: benchmarks/results/tokenizer.json.

    build/venv/bin/python benchmarks/tokenizer/tokenizer.py        (QUICK=1: 2,000 texts, once)

The texts are the doc comments of the Go standard library (examples/godoc). Three tokenizers: wordpiece is all-MiniLM's, bpe is
GPT-2's, unigram is trained here by the library on the same texts, in T5's arrangement.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

import bench
import process

HERE = pathlib.Path(__file__).resolve().parent
TASKS = {"wordpiece": "tokenizer", "bpe": "tokenizer_bpe", "unigram": "tokenizer_unigram"}
LIMITS = {"tokenizer": (">=", 10), "tokenizer_bpe": (">=", 5), "tokenizer_unigram": (">=", 5)}
ROWS, FEW, UNIGRAM_TOKENS = 0, 2_000, 30_000      # 0: all
PASSES = 2
OURS = bench.BUILD / "bin" / "tokenizer"
NOTES = [
    "the doc comments of the Go standard library, each whole; special tokens added, no truncation, no padding",
    "a run tokenises all texts several times between begin and end; all texts went through once before, for the caches",
    "penstock: a column of strings to a column of list<int32> by the stage, batches of 1,024, GOMAXPROCS=1",
    "tokenizers: encode_batch_fast over lists of 1,024 strings, TOKENIZERS_PARALLELISM=false, RAYON_NUM_THREADS=1; "
    "the ids are not taken out of the encodings in the time that counts",
    "outputs_equal: the SHA-256 of all ids of all texts is the same",
    "cpu_ratios are ratios of the CPU time between begin and end: less disturbed where the machine isn't quiet",
]


def train_unigram(texts, out):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tok.train_from_iterator(texts, trainers.UnigramTrainer(
        vocab_size=UNIGRAM_TOKENS, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tok.save(str(out))


def prepare():
    """The folder of the texts and of the tokenizers."""
    folder = bench.BUILD / ("tokenizer-quick" if bench.QUICK else "tokenizer")
    folder.mkdir(parents=True, exist_ok=True)
    texts = folder / "texts.jsonl"
    subprocess.run(["go", "run", "./examples/godoc", "--out", texts, "--limit", str(FEW if bench.QUICK else ROWS)],
                   check=True, cwd=bench.ROOT)
    subprocess.run(["go", "build", "-o", OURS, "./benchmarks/tokenizer"], check=True, cwd=bench.ROOT)
    model = bench.ROOT / "build" / "models" / "all-MiniLM-L6-v2" / "tokenizer.json"
    (folder / "wordpiece.json").write_bytes(model.read_bytes())
    (folder / "bpe.json").write_bytes((bench.ROOT / "build" / "tokenizers" / "gpt2" / "tokenizer.json").read_bytes())
    if not (folder / "unigram.json").exists():
        train_unigram([json.loads(line)["text"] for line in texts.open()], folder / "unigram.json")
    return folder


def contestants(task):
    ours = bench.Contestant("penstock", [OURS, task, "-passes", PASSES], task, input_flag="-input")
    return [ours, bench.Contestant("tokenizers", [sys.executable, HERE / "peer.py", task, "--passes", PASSES], task)]


def cpu_ratio(runs, task):
    rate = {who: statistics.median(r["rows"] / r["cpu"] for r in runs if (r["who"], r["task"]) == (who, task))
            for who in ("penstock", "tokenizers")}
    return rate["penstock"] / rate["tokenizers"]


def main():
    process.adopt_orphans()
    os.environ |= {"GOMAXPROCS": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    folder = prepare()
    runs, failures, equal = [], [], True
    for task in TASKS:
        if not bench.check(contestants(task), folder):
            sys.exit(f"bench-tokenizer: {task}: the ids are not equal; nothing was timed")
        more, failed, same = bench.measure(contestants(task), folder, keep=["cpu"])
        runs, failures, equal = runs + more, failures + failed, equal and same
    m = bench.Medians(runs)
    ratios = {name: m.faster(task, "tokenizers") for task, name in TASKS.items()}
    ratios |= {f"cpu_{name}": round(cpu_ratio(runs, task), 4) for task, name in TASKS.items()}
    passed = bench.write("tokenizer", runs, failures, equal, ratios, LIMITS, ("tokenizers",), NOTES)
    sys.exit(0 if passed or bench.QUICK else 1)


if __name__ == "__main__":
    main()
