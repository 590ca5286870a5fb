package infer

import "bytes"

// ParseModel reads the header of an ONNX file in memory.
func ParseModel(data []byte) (inputs, outputs []TensorInfo, err error) {
	p, err := parseModel(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, err
	}
	return p.file.inputs, p.file.outputs, nil
}

// CutRuns cuts rows of these lengths into runs and gives the lengths in each.
func CutRuns(lengths []int, budget, maxRows int) [][]int {
	rows := make([]row, len(lengths))
	for i, n := range lengths {
		rows[i] = row{ids: make([]int32, n), at: int32(i)}
	}
	sortRows(rows)
	var p planner
	var out [][]int
	start := int32(0)
	for _, end := range p.cut(rows, budget, maxRows) {
		var run []int
		for _, r := range rows[start:end] {
			run = append(run, len(r.ids))
		}
		out = append(out, run)
		start = end
	}
	return out
}

// RunCost is what a run costs beside its tokens.
const RunCost = runCost

// CheckLibrary looks at a library without loading it.
func CheckLibrary(path string) (version string, err error) { return checkLibrary(path) }

// MinLibraryMinor is the oldest release 1.n that is taken.
const MinLibraryMinor = minLibraryMinor
