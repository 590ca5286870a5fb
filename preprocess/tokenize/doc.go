// Package tokenize turns text into token ids as the Rust library `tokenizers`
// of Hugging Face does, from the same tokenizer.json, without that library.
//
// Exactness. For every file that opens, ids, type ids, offsets, word ids, the
// special-token mask and truncation equal those of `tokenizers` 0.23.3; the
// tests compare with it over all of Unicode. What a file asks for that this
// package does not know is refused by name when the file is opened
// ([UnsupportedError]), never guessed. Known today: models BPE without dropout,
// Unigram, WordLevel and WordPiece; normalizers BertNormalizer, Lowercase, StripAccents, NFC, NFD,
// NFKC, NFKD, Strip, Replace (of a string), Prepend, Sequence; pre-tokenizers
// BertPreTokenizer, Whitespace, WhitespaceSplit, Punctuation, Digits, Sequence;
// post-processors BertProcessing, RobertaProcessing, TemplateProcessing,
// Sequence; added tokens with all their flags. The decoder and the padding
// section are ignored: tensors are padded where they are built.
//
// Unicode. The library mixes tables of four Unicode versions, none of them
// Go's. unicode.txt holds its answers for every code point, asked of the
// library by testdata/gen_unicode.py, and stands in for Go's tables.
//
// Offsets are half-open byte ranges into the text as it was given. They are
// the library's character offsets expressed in bytes.
//
// Text that is not valid UTF-8 is read as Rust's String::from_utf8_lossy and
// Python's errors="replace" read it: each maximal invalid part counts as one
// U+FFFD. Offsets still point into the bytes as given.
//
// Differences from the library, all of them where it fails or is not
// deterministic:
//
//   - An unknown-token that the vocabulary lacks is refused when the file is
//     opened; the library fails at the first unknown word.
//   - A limit below the number of special tokens is refused; the library
//     overflows and does not truncate.
//   - One text under the strategy only_second that is too long is cut to the
//     limit; the library fails. A pair that cannot be cut is an error in both.
//   - An empty Replace pattern or Prepend string, and an added token that its
//     normalization empties, are refused; the library gives broken splits.
//   - Of two added tokens with one normalized form the first in the file wins;
//     in the library it is either, by the seed of its hash map.
//   - A match that begins behind text which an earlier match's rstrip took, and
//     has lstrip itself, is passed over; the library panics.
//
// A text must be shorter than 2 GiB.
package tokenize
