package pipeline

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/penstock-data/penstock/stage"
)

// Config says how a Dataset is run. The zero value works.
type Config struct {
	// MemoryLimit is for the whole process, in bytes: what it held before the job, and
	// everything that the job holds. 0: 70 % of the cgroup's or the machine's memory.
	// The Go runtime's own limit is the caller's to set: see GoMemoryLimit.
	MemoryLimit int64
	BlockLimit  int64 // bytes of blocks at once; 0: what MemoryLimit leaves them
	CPUs        int   // CPU tokens shared by readers, stages and models; 0: GOMAXPROCS
	GPUs        []int // ordinals of the devices whose shares ([stage.Need].GPU) workers get; none: no stage can have any
	BlockBytes  int64 // target size of a block; 0: 8 MiB, less where the limit is small
	GroupBytes  int64 // source bytes per group of splits, which is an output part; 0: 256 MiB
	Admission   Admission
	Unordered   bool // rows may come out in another order than that of the source
	NoOptimise  bool // run the plan as it was written: slower
	Seed        uint64
	OnError     OnError

	// Progress is called every ProgressEvery (0: 200 ms) while the job runs, and once
	// at its end, never twice at once.
	Progress      func(Stats)
	ProgressEvery time.Duration
	// DeviceLoad gives Stats.Devices each time that Progress is due. It must not wait. nil: there are none.
	DeviceLoad func() []DeviceLoad
	Trace      io.Writer // a Chrome trace (JSON) of every task, and of every run on a device, if set
	Log        *slog.Logger
}

// Admission says when a source may begin with another split.
type Admission uint8

const (
	// ByBytes: as soon as a worker, a CPU and memory are free, which go to the stages furthest
	// downstream first.
	ByBytes Admission = iota
	// ByRate: no faster, either, than the stages behind are measured to work off what it reads
	// (Algorithm 2 of the Ray Data paper, arXiv 2501.12407). Such a job holds less memory where a
	// model is the bottleneck, and takes about as long. Rates are looked at every ProgressEvery.
	ByRate
)

// OnError says what becomes of rows that fail. The zero value: the first one ends the job.
type OnError struct {
	Skip        bool    // go on without the row; it is written as a dead letter where the sink can hold it
	MaxRows     int64   // end the job when more rows than this have failed; 0: no bound
	MaxFraction float64 // or more than this share of the rows read, judged once 1,000 were; 0: no bound
	// DeadLetter is told each row that failed, from one goroutine at a time; for
	// consumers that have no sink.
	DeadLetter func(*stage.RowError)
}

// StageConfig overrides, for one use of a stage, what it asks for. The zero value leaves
// everything as the stage says.
type StageConfig struct {
	Name      string // in errors, statistics and plans
	Actors    int    // workers, all opened at once
	MaxActors int    // more than Actors: a pool that grows up to this by measured rates, and shrinks when it is idle
	BatchSize int    // rows per batch
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.MemoryLimit < 0 || c.BlockLimit < 0 || c.CPUs < 0 || c.BlockBytes < 0 || c.GroupBytes < 0 {
		errs = append(errs, errors.New("pipeline: MemoryLimit, BlockLimit, CPUs, BlockBytes and GroupBytes must not be negative"))
	}
	for i, d := range c.GPUs {
		if d < 0 || slices.Contains(c.GPUs[:i], d) {
			errs = append(errs, fmt.Errorf("pipeline: GPUs is %v: it must list ordinals from 0 on, each once", c.GPUs))
			break
		}
	}
	if c.Admission > ByRate {
		errs = append(errs, fmt.Errorf("pipeline: there is no Admission %d: there are ByBytes and ByRate", c.Admission))
	}
	if c.OnError.MaxFraction < 0 || c.OnError.MaxFraction > 1 {
		errs = append(errs, fmt.Errorf("pipeline: OnError.MaxFraction is %v: it must be between 0 and 1", c.OnError.MaxFraction))
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = DefaultMemoryLimit()
	}
	if c.CPUs == 0 {
		c.CPUs = runtime.GOMAXPROCS(0)
	}
	if c.BlockBytes == 0 {
		c.BlockBytes = min(8<<20, max(64<<10, c.MemoryLimit/64))
	}
	if c.GroupBytes == 0 {
		c.GroupBytes = 256 << 20
	}
	if c.ProgressEvery == 0 {
		c.ProgressEvery = 200 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(errs...)
}
