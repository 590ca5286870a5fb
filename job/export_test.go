package job

import (
	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// Peek is what keeps the first rows for [Result].Shown.
type Peek struct{ *peek }

func NewPeek(to stage.Sink, rows int) Peek { return Peek{newPeek(to, rows)} }

func (p Peek) Shown() []arrow.Record { return p.shown() }

// Best runs the search over records that are there already.
func (s Search) Best(query []float32, recs ...arrow.Record) ([]Hit, error) {
	cols, err := s.columns(recs[0].Schema())
	if err != nil {
		return nil, err
	}
	h := &hits{most: s.Top}
	for _, rec := range recs {
		h.scan(rec, cols, query)
	}
	return h.best(), nil
}

// LoadText is doctor's line of what GPUs do.
var LoadText = loadText

// Loads finds a job's GPUs among those that NVML sees.
var Loads = loads
