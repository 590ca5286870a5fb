package tokenize

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// modelFile is what of a SentencePiece .model file counts here. The file is a
// protocol buffer; the numbers of its fields are those of
// sentencepiece_model.proto.
type modelFile struct {
	pieces       []modelPiece
	kind         uint64
	byteFallback bool
	spaceBehind  bool // treat_whitespace_as_suffix
	begin, end   string
	pad          string
	charsmap     []byte
	dummyPrefix  bool
	squeeze      bool // remove_extra_whitespaces
	escape       bool // escape_whitespaces
}

type modelPiece struct {
	text  string
	score float32
	role  uint64
}

// The kinds of models, and the roles of pieces.
const (
	kindUnigram uint64 = 1
	kindBPE     uint64 = 2

	roleNormal  uint64 = 1
	roleUnknown uint64 = 2
	roleControl uint64 = 3
	roleUser    uint64 = 4
	roleUnused  uint64 = 5
	roleByte    uint64 = 6
)

// wireField is a field of a message: a number or bytes, by its kind.
type wireField struct {
	number protowire.Number
	value  uint64
	bytes  []byte
}

var errModelFile = errors.New("not a SentencePiece model: the protocol buffer is broken")

// eachField calls take for the fields of a message.
func eachField(data []byte, take func(wireField) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errModelFile
		}
		data = data[n:]
		f := wireField{number: number}
		switch kind {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			f.value = uint64(v)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return errModelFile
		}
		data = data[n:]
		if err := take(f); err != nil {
			return err
		}
	}
	return nil
}

func readModelFile(data []byte) (*modelFile, error) {
	f := &modelFile{
		kind: kindUnigram, begin: "<s>", end: "</s>", pad: "<pad>", dummyPrefix: true, squeeze: true, escape: true,
	}
	err := eachField(data, func(w wireField) error {
		switch w.number {
		case 1:
			p := modelPiece{role: roleNormal}
			err := eachField(w.bytes, p.set)
			f.pieces = append(f.pieces, p)
			return err
		case 2:
			return eachField(w.bytes, f.setTrainer)
		case 3:
			return eachField(w.bytes, f.setNormalizer)
		}
		return nil
	})
	if err == nil && len(f.pieces) == 0 {
		err = errors.New("not a SentencePiece model: there are no pieces")
	}
	if len(f.pieces) > math.MaxInt32 {
		err = fmt.Errorf("%d pieces are too many", len(f.pieces))
	}
	return f, err
}

func (p *modelPiece) set(w wireField) error {
	switch w.number {
	case 1:
		p.text = string(w.bytes)
	case 2:
		p.score = math.Float32frombits(uint32(w.value))
		if p.score != p.score {
			return fmt.Errorf("the score of piece %q is not a number", p.text)
		}
	case 3:
		p.role = w.value
	}
	return nil
}

func (f *modelFile) setTrainer(w wireField) error {
	switch w.number {
	case 3:
		f.kind = w.value
	case 24:
		f.spaceBehind = w.value != 0
	case 35:
		f.byteFallback = w.value != 0
	case 46:
		f.begin = string(w.bytes)
	case 47:
		f.end = string(w.bytes)
	case 48:
		f.pad = string(w.bytes)
	}
	return nil
}

func (f *modelFile) setNormalizer(w wireField) error {
	switch w.number {
	case 2:
		f.charsmap = w.bytes
	case 3:
		f.dummyPrefix = w.value != 0
	case 4:
		f.squeeze = w.value != 0
	case 5:
		f.escape = w.value != 0
	}
	return nil
}
