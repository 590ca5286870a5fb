package pipeline

import "github.com/penstock-data/penstock/stage"

// lend gives the writer what its parts are opened with.
func (w *writer) lend(env stage.Env) { w.env = env }

func abs(n int64) int64 { return max(n, -n) }
