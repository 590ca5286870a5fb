// Package tokenize turns text into token ids as the Rust library `tokenizers`
// of Hugging Face does, from the same tokenizer.json, without that library.
//
// Exactness. For every file that opens, ids, type ids, offsets, word ids, the
// special-token mask and truncation equal those of `tokenizers` 0.23.3; the
// tests compare with it over all of Unicode. What a file asks for that this
// package does not know is refused by name when the file is opened
// ([UnsupportedError]), never guessed. Known are the models BPE without dropout,
// Unigram, WordLevel and WordPiece; all normalizers, pre-tokenizers but
// UnicodeScripts, and post-processors; added tokens with all their flags. The
// decoder is ignored, and of the padding section only the id, the type and the side
// count: tensors are padded where they are built.
//
// Patterns of Split and Replace are Oniguruma's. Those that the commonest models
// split by have scanners of their own; others run on a small machine that
// backtracks as Oniguruma does. Constructs that few patterns have (back-references,
// calls, \K, \G, \R, \X and the like) are refused by name.
//
// A .model file of SentencePiece opens too ([FromSentencePiece]), with ids equal to
// those of `sentencepiece` 0.2.3; a vocab.txt opens by itself ([FromVocab]).
//
// Unicode. The library mixes tables of four Unicode versions, none of them
// Go's. unicode.txt holds its answers for every code point, classes.txt those of
// its regular expressions, graphemes.txt what it joins into clusters: all asked
// of the library by the scripts in testdata, and used in place of Go's tables.
//
// Offsets are half-open byte ranges into the text as it was given. They are
// the library's character offsets expressed in bytes.
//
// Text that is not valid UTF-8 is read as Rust's String::from_utf8_lossy and
// Python's errors="replace" read it: each maximal invalid part counts as one
// U+FFFD. Offsets still point into the bytes as given. A stage can be told to refuse
// such text instead ([RefuseInvalid]).
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
//   - A Replace pattern that matches the empty string, an empty Prepend string,
//     and an added token that its normalization empties, are refused; the library
//     gives broken splits.
//   - Of two added tokens with one normalized form the first in the file wins;
//     in the library it is either, by the seed of its hash map.
//   - A match that begins behind text which an earlier match's rstrip took, and
//     has lstrip itself, is passed over; the library panics.
//
// Differences from sentencepiece, in files of kind bpe: unused pieces, two merged
// pieces of one score, and merged pieces of characters that have none, are refused;
// where two user-defined symbols overlap in a text, what remains of the second is
// never merged into it again.
//
// A text must be shorter than 2 GiB.
package tokenize
