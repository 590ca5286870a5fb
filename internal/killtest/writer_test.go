package killtest_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage/stagetest"
	"github.com/penstock-data/penstock/writers"
)

// The victim's orders, in its environment.
const (
	envOutput = "KILLTEST_OUTPUT" // the folder to write
	envMode   = "KILLTEST_MODE"   // append, or else overwrite
	envFirst  = "KILLTEST_FIRST"  // number of the first job
	envJobs   = "KILLTEST_JOBS"   // how many; 0: no end
)

// What one job writes: every row has the job's number.
const (
	splits       = 6
	rowsPerSplit = 50
	rowsPerJob   = splits * rowsPerSplit
	perFile      = 40
)

func TestMain(m *testing.M) {
	if out := os.Getenv(envOutput); out != "" {
		if err := write(out); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write is the victim: one job after the other, and a line for each that is done.
func write(out string) error {
	first, err := strconv.Atoi(os.Getenv(envFirst))
	if err != nil {
		return err
	}
	jobs, err := strconv.Atoi(os.Getenv(envJobs))
	if err != nil {
		return err
	}
	mode := writers.Overwrite
	if os.Getenv(envMode) == "append" {
		mode = writers.Append
	}
	fmt.Println("ready")
	for n := first; jobs == 0 || n < first+jobs; n++ {
		sink, err := writers.Files(writers.Config{Path: out, Mode: mode, MaxRowsPerFile: perFile})
		if err != nil {
			return err
		}
		st := &stagetest.FakeStage{Column: "row"}
		_, err = pipeline.Read(rowsOf(int64(n))).Apply(st, pipeline.StageConfig{BatchSize: 16}).
			Write(context.Background(), sink, pipeline.Config{BlockBytes: 512, GroupBytes: 1500, MemoryLimit: 256 << 20})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
	return nil
}

// rowsOf is the input of a job, of which its number is a part.
func rowsOf(n int64) *stagetest.FakeSource {
	schema := arrow.NewSchema([]arrow.Field{{Name: "job", Type: arrow.PrimitiveTypes.Int64}, {Name: "row", Type: arrow.PrimitiveTypes.Int64}}, nil)
	all := make([][]arrow.Record, splits)
	for s := range all {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range int64(rowsPerSplit) {
			b.Field(0).(*array.Int64Builder).Append(n)
			b.Field(1).(*array.Int64Builder).Append(int64(s)*rowsPerSplit + i)
		}
		all[s] = []arrow.Record{b.NewRecord()}
	}
	src := stagetest.NewSource(schema, all...)
	src.Name = fmt.Sprintf("job-%d", n)
	return src
}
