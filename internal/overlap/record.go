package overlap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Kind is what a recorded operation does. The numbers are the emulator's.
type Kind uint8

// The kinds of operations.
const (
	CopyIn     Kind = iota + 1 // host to device
	CopyOut                    // device to host
	CopyDevice                 // device to device
	CopyHost                   // host to host
	Fill
	Compute  // a launch
	HostFunc // a function that a stream runs
	Record   // an event is recorded
	Wait     // a stream waits for the record After; 0: for nothing
	Observe  // the host saw that After, and all before it in its stream, was done
	Note     // work of the CPU's, as the program says
	Free     // page-locked memory is given back
	kinds
)

var kindNames = [kinds]string{"", "copy-in", "copy-out", "copy-device", "copy-host", "fill", "compute", "host", "record", "wait", "observe", "note", "free"}

// String is the kind's name.
func (k Kind) String() string {
	if k > 0 && k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(text []byte) error {
	for i := Kind(1); i < kinds; i++ {
		if kindNames[i] == string(text) {
			*k = i
			return nil
		}
	}
	return fmt.Errorf("overlap: no kind of operation is called %q", text)
}

// Buffer is memory that an operation uses.
type Buffer struct {
	Address uint64 `json:"address"`
	Bytes   uint64 `json:"bytes"`
	Write   bool   `json:"write,omitempty"` // otherwise it only reads
}

// Op is one recorded operation. Operations are numbered from 1 in the order in which the host
// asked for them.
type Op struct {
	ID       uint64   `json:"id"`
	Kind     Kind     `json:"kind"`
	Device   int      `json:"device"` // -1: none
	Stream   uint64   `json:"stream,omitempty"`
	Event    uint64   `json:"event,omitempty"`
	After    uint64   `json:"after,omitempty"`
	Thread   uint64   `json:"thread"` // of the host
	Bytes    uint64   `json:"bytes,omitempty"`
	Number   uint64   `json:"number,omitempty"` // of a note: its batch
	Blocking bool     `json:"blocking,omitempty"`
	Pageable bool     `json:"pageable,omitempty"`
	Failed   bool     `json:"failed,omitempty"`
	Buffers  []Buffer `json:"buffers,omitempty"`
}

// Write writes operations as JSON, one a line.
func Write(w io.Writer, ops []Op) error {
	enc := json.NewEncoder(w)
	for i := range ops {
		if err := enc.Encode(&ops[i]); err != nil {
			return fmt.Errorf("overlap: write operation %d: %w", ops[i].ID, err)
		}
	}
	return nil
}

// Read reads what Write wrote.
func Read(r io.Reader) ([]Op, error) {
	dec := json.NewDecoder(r)
	for ops := []Op(nil); ; {
		var op Op
		err := dec.Decode(&op)
		if errors.Is(err, io.EOF) {
			return ops, nil
		}
		if err != nil {
			return nil, fmt.Errorf("overlap: read operation %d: %w", len(ops)+1, err)
		}
		ops = append(ops, op)
	}
}
