package onnxgraph_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/penstock-data/penstock/internal/onnxgraph"
	"github.com/penstock-data/penstock/internal/testkit"
)

const tiny = "../../infer/testdata/models"

func open(t testing.TB, name string) *onnxgraph.Model {
	t.Helper()
	m, err := onnxgraph.Open(filepath.Join(tiny, name, "onnx", "model.onnx"))
	require.NoError(t, err)
	return m
}

// A model without changes is written as it was, and its weights are not read to open it.
func TestUnchanged(t *testing.T) {
	path := filepath.Join(testkit.MiniLM(t), "onnx", "model.onnx")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := onnxgraph.Open(path)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(m.Size)/20, "bytes to open %d", m.Size)

	want, err := os.ReadFile(path)
	require.NoError(t, err)
	got, err := m.Bytes()
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// What was not changed stays byte for byte: all of the file before and behind the new nodes.
func TestOnlyTheChangeIsNew(t *testing.T) {
	m := open(t, "plain")
	want, err := m.Bytes()
	require.NoError(t, err)
	_, err = m.Suffix(onnxgraph.Steps{Pool: onnxgraph.MeanPooling})
	require.NoError(t, err)
	got, err := m.Bytes()
	require.NoError(t, err)
	nodes := bytes.Index(want, []byte("Gather"))
	start := bytes.LastIndex(got, want[nodes:nodes+40])
	require.Positive(t, start)
	outputs := bytes.Index(want, []byte("last_hidden_state\x12")) // the output's description
	require.Equal(t, want[nodes:outputs-4], got[start:start+outputs-4-nodes], "nodes and weights")
}

func TestOneSourceOfTruth(t *testing.T) {
	m := open(t, "plain")
	results, err := m.Suffix(onnxgraph.Steps{Pool: onnxgraph.MeanPooling, Normalize: true})
	require.NoError(t, err)
	require.Equal(t, []onnxgraph.Tensor{{Name: "last_hidden_state_normalized", Type: onnxgraph.Float32,
		Shape: []onnxgraph.Dim{{Size: -1, Name: "batch"}, {Size: 8}}}}, results)
	require.Equal(t, results, m.Outputs)
	raw, err := m.Bytes()
	require.NoError(t, err)
	again, err := onnxgraph.Parse(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.Equal(t, results, again.Outputs)
	require.Equal(t, m.Inputs, again.Inputs)
}

func TestChangedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.onnx")
	raw, err := open(t, "plain").Bytes()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw, 0o644))
	m, err := onnxgraph.Open(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 100))
	_, err = m.WriteTo(io.Discard)
	require.ErrorContains(t, err, path+" was changed since it was opened")
	require.NoError(t, os.Remove(path))
	_, err = m.Bytes()
	require.ErrorIs(t, err, os.ErrNotExist)
}

// failing refuses what is written from the nth byte on.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	n := min(len(b), f.left)
	f.left -= n
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

func TestWriterFails(t *testing.T) {
	m := open(t, "plain")
	_, err := m.Suffix(onnxgraph.Steps{Pool: onnxgraph.CLSPooling})
	require.NoError(t, err)
	whole, err := m.Bytes()
	require.NoError(t, err)
	for at := range len(whole) {
		n, err := m.WriteTo(&failing{at})
		require.ErrorIs(t, err, errFull, "at byte %d", at)
		require.Equal(t, int64(at), n)
	}
	n, err := m.WriteTo(&failing{len(whole)})
	require.NoError(t, err)
	require.Equal(t, int64(len(whole)), n)
}

// Each refusal names the input or output and says what to do; nothing is changed by it.
func TestRefusals(t *testing.T) {
	dir, _ := makeModels(t, "18")
	refused := func(name, want string, ask func(*onnxgraph.Model) error) {
		t.Helper()
		m, err := onnxgraph.Open(filepath.Join(dir, name+".onnx"))
		require.NoError(t, err)
		before, err := m.Bytes()
		require.NoError(t, err)
		require.ErrorContains(t, ask(m), want)
		after, err := m.Bytes()
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	for want, p := range map[string]onnxgraph.Images{
		`has no input "imgaes": it has images float32[batch, 3, height, width]`:                                    {Input: "imgaes"},
		`input "images" has 3 channels, Mean has 2 numbers: give one, or one for each`:                             {Mean: []float32{1, 2}},
		`input "images" has 3 channels, Std has 4 numbers: give one, or one for each`:                              {Std: make([]float32, 4)},
		`input "images" would be divided by 0: Std of channel 1`:                                                   {Std: []float32{1, 0, 1}},
		`input "images" cannot be called "pixels" before the steps: the model has that name already; give another`: {Name: "pixels"},
		`input "images" cannot have layout 7`:                                                                      {Layout: 7},
	} {
		refused("image_18_fp32_nchw_free", want, func(m *onnxgraph.Model) error { _, err := m.Prefix(p); return err })
	}
	refused("text_18_fp32_i64_free", "has the inputs input_ids int64[batch, tokens], attention_mask int64[batch, tokens]: say which one",
		func(m *onnxgraph.Model) error { _, err := m.Prefix(onnxgraph.Images{}); return err })
	refused("text_18_fp32_i64_free", `input "input_ids" takes int64: images are put before one that takes float16 or float32`,
		func(m *onnxgraph.Model) error { _, err := m.Prefix(onnxgraph.Images{Input: "input_ids"}); return err })
	for want, steps := range map[string]onnxgraph.Steps{
		"has the outputs last_hidden_state float32[batch, tokens, 6], logits float32[batch, 6]: say which one": {ArgMax: true},
		`has no output "logit"`: {Output: "logit"},
		`output "logits" is not of tokens (logits float32[batch, 6]): one of [batch, tokens, dim] can be pooled`: {Output: "logits", Pool: onnxgraph.MeanPooling},
		`output "logits" has 6 values in its last dimension: the greatest 7 cannot be taken`:                     {Output: "logits", TopK: 7},
		`output "logits" can have TopK or ArgMax, not both`:                                                      {Output: "logits", TopK: 1, ArgMax: true},
		`output "logits" already is what is asked for: leave the steps out`:                                      {Output: "logits"},
		`output "logits" cannot give "E": the model has that name already; give another`:                         {Output: "logits", ArgMax: true, Name: "E"},
		`output "logits" cannot be activated by 9`:                                                               {Output: "logits", Activation: 9},
		`output "last_hidden_state" cannot be pooled by 9`:                                                       {Output: hidden, Pool: 9},
		`output "last_hidden_state" cannot be pooled by the mask "mask": the model's inputs are input_ids`:       {Output: hidden, Pool: onnxgraph.MaxPooling, Mask: "mask"},
	} {
		refused("text_18_fp32_i64_free", want, func(m *onnxgraph.Model) error { _, err := m.Suffix(steps); return err })
	}
}

// A step cannot be put on a step's result: its place in the file is taken.
func TestTwice(t *testing.T) {
	dir, _ := makeModels(t, "18")
	m, err := onnxgraph.Open(filepath.Join(dir, "image_18_fp32_nchw_free.onnx"))
	require.NoError(t, err)
	_, err = m.Prefix(onnxgraph.Images{})
	require.NoError(t, err)
	_, err = m.Prefix(onnxgraph.Images{})
	require.ErrorContains(t, err, `input "images_uint8" takes images as bytes already`)
	_, err = m.Suffix(onnxgraph.Steps{Half: true})
	require.NoError(t, err)
	_, err = m.Suffix(onnxgraph.Steps{ArgMax: true})
	require.ErrorContains(t, err, `output "pixels_float16" is a result of steps: ask for all steps at once`)
}

// message is a field of bytes.
func message(number protowire.Number, parts ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), strings.Join(parts, "")))
}

func parse(raw string) (*onnxgraph.Model, error) {
	return onnxgraph.Parse(strings.NewReader(raw), int64(len(raw)))
}

func TestOldOperators(t *testing.T) {
	value := message(1, "x") + message(2, message(1, "\x08\x01"))
	graph := message(7, message(1, message(4, "Relu")), message(11, value), message(12, value))
	m, err := parse(graph + message(8, "\x10\x0a"))
	require.NoError(t, err)
	_, err = m.Prefix(onnxgraph.Images{Layout: onnxgraph.NCHW})
	require.ErrorContains(t, err, `input "x" is of opset 10, and steps need 11 or newer: convert the model with onnx.version_converter`)
	_, err = m.Suffix(onnxgraph.Steps{ArgMax: true})
	require.ErrorContains(t, err, "opset 10")

	m, err = parse(graph + message(8, "\x10\x0b"))
	require.NoError(t, err)
	_, err = m.Prefix(onnxgraph.Images{})
	require.ErrorContains(t, err, "has no shape in the file: say its layout")
	in, err := m.Prefix(onnxgraph.Images{Layout: onnxgraph.NCHW})
	require.NoError(t, err)
	require.Equal(t, "x_uint8 uint8[?, ?, ?, 3]", in.String())
}

func TestBrokenFiles(t *testing.T) {
	node := message(1, message(4, "Relu"))
	opset := message(8, "\x10\x0b")
	for what, raw := range map[string]string{
		"empty":         "",
		"no graph":      opset,
		"no operators":  message(7, node),
		"no nodes":      message(7) + opset,
		"two graphs":    message(7, node) + message(7, node) + opset,
		"cut short":     (message(7, node) + opset)[:4],
		"a group":       "\x0b" + message(7, node) + opset,
		"field 0":       "\x02\x00" + message(7, node) + opset,
		"endless":       "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"a long varint": "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		_, err := parse(raw)
		require.ErrorContains(t, err, "ONNX file", what)
	}
	nested := func(levels int) error {
		inner := ""
		for range levels {
			inner = message(1, message(5, message(6, inner))) // a node with a subgraph
		}
		_, err := parse(message(7, node, inner) + opset)
		return err
	}
	require.NoError(t, nested(30))
	require.ErrorContains(t, nested(40), "nested too deep")
}

// No file, however broken, makes the reader or a change crash, hang or grow.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"plain", "external", "old_inputs", "half"} {
		raw, err := os.ReadFile(filepath.Join(tiny, name, "onnx", "model.onnx"))
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte{})
	f.Add([]byte{0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := onnxgraph.Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, in := range slices.Clone(m.Inputs) {
			_, _ = m.Prefix(onnxgraph.Images{Input: in.Name}) // refused by most
		}
		for _, out := range slices.Clone(m.Outputs) {
			_, _ = m.Suffix(onnxgraph.Steps{Output: out.Name, Pool: onnxgraph.MeanPooling, TopK: 1})
		}
		raw, err := m.Bytes()
		require.NoError(t, err)
		again, err := onnxgraph.Parse(bytes.NewReader(raw), int64(len(raw)))
		require.NoError(t, err, "what was read, changed and written can be read")
		require.Len(t, again.Outputs, len(m.Outputs))
	})
}
