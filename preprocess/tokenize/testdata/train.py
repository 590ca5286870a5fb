"""Trains small tokenizers with the Rust library `tokenizers`, for the tests.

Reads one JSON object from stdin: {"kinds": [...], "texts": [...], "tokens": n or
nothing}; writes to stdout a JSON object that holds, by kind, the tokenizer.json
as a string. With tokens, no vocabulary is larger than need be for so many.
"""

import base64
import io
import json
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

most = None


def size(tokens):
    return min(most or tokens, tokens)


BYTES = [f"<0x{b:02X}>" for b in range(256)]


def bytelevel(texts):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size(3000), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def bytelevel_gaps(texts):
    """No initial alphabet: bytes that the texts lack are left out."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator([x for x in texts if x.isascii()], trainers.BpeTrainer(vocab_size=size(1000), show_progress=False))
    return t


def bytelevel_suffix(texts):
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size(2500), special_tokens=["<unk>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>", show_progress=False))
    return t


def metaspace_bpe(texts):
    """As Llama's: no pre-tokenizer, spaces replaced, bytes for what is unknown."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size(3000), limit_alphabet=size(150), special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False))
    file = json.loads(t.to_str())
    file["added_tokens"] = []
    file["pre_tokenizer"] = None
    file["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    return json.dumps(file)


def words_bpe(texts):
    """Characters, a prefix for inner ones, an unknown-token."""
    t = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size(3000), limit_alphabet=size(120), special_tokens=["[UNK]"], continuing_subword_prefix="##", show_progress=False))
    return t


def plain_bpe(texts):
    """Characters over whole words; what is unknown is left out."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size(2500), limit_alphabet=size(100), show_progress=False))
    return t


def unigram(texts, **more):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.train_from_iterator(texts, trainers.UnigramTrainer(
        vocab_size=size(3000), special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    file = json.loads(t.to_str())
    file["added_tokens"] = []
    file["model"] |= more
    return file


def unigram_bytes(texts):
    """Byte fallback, two tokens of one text, and no words split off."""
    file = unigram(texts, byte_fallback=True)
    low = min(s for _, s in file["model"]["vocab"]) - 1
    file["model"]["vocab"] += [[b, low] for b in BYTES if b != "<0xF0>"] + [["the", -3.25], ["☃☃", low]]
    file["pre_tokenizer"] = None
    return file


def with_charsmap(texts, **rule):
    """A Unigram model behind the character map of a SentencePiece rule, as T5's or
    XLM-RoBERTa's."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b"] * 9), model_writer=out, vocab_size=9, hard_vocab_limit=False,
        minloglevel=2, **rule)
    spec = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue()).normalizer_spec
    file = unigram(texts)
    file["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(spec.precompiled_charsmap).decode()}
    return file


def unigram_nfkc(texts):
    return with_charsmap(texts, normalization_rule_name="nmt_nfkc")


def unigram_folded(texts):
    return with_charsmap(texts, normalization_rule_name="nmt_nfkc_cf")


def unigram_rules(texts):
    """A few rules: one to one, to several, to fewer, to nothing, and a cluster."""
    rules = {"\u3000": " ", "\ufb01": "fi", "e\u0301": "\u00e9", "\u00bd": "1/2", "\u200b": "", "\uff76\uff9e": "\u30ac", "\t": " "}
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        f.writelines(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in rules.items())
        f.flush()
        return with_charsmap(texts, normalization_rule_tsv=f.name)


KINDS = {f.__name__: f for f in (
    bytelevel, bytelevel_gaps, bytelevel_suffix, metaspace_bpe, words_bpe, plain_bpe, unigram, unigram_bytes,
    unigram_nfkc, unigram_folded, unigram_rules)}


def main():
    global most
    req = json.load(sys.stdin)
    most = req.get("tokens")
    out = {}
    for kind in req["kinds"]:
        t = KINDS[kind](req["texts"])
        out[kind] = t.to_str() if isinstance(t, Tokenizer) else t if isinstance(t, str) else json.dumps(t)
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
