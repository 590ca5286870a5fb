package sched

import "fmt"

// Op describes an operator to the scheduler.
type Op struct {
	Name      string
	In        []int   // operators before it whose blocks it reads; none: a source. For the measured rates
	CPU       float64 // tokens that a running task holds
	GPU       float64 // of a pool: the share of a device that an open worker holds, up to 1
	Workers   int     // that are being opened: as long as one is not up, something still happens. Of a pool: the fewest
	Max       int     // 0: the workers are what they are. Else a pool that the scheduler opens, grows up to this and shrinks
	Calls     int     // tasks at once on one worker; 0: 1
	Sets      bool    // its tasks come in sets, as Ready says, whose blocks go on together; else each task is one
	Window    int64   // sets that may be started ahead of the oldest unfinished one; 0: no bound
	Generator bool    // yields many blocks per task, and waits before each
	Ordered   bool    // its blocks go on in the order of its sets: those of later ones wait for the oldest unfinished
	Output    bool    // yields blocks at all: a sink does not, and has no share of the memory
	Estimate  int64   // bytes of a yield before one was seen
}

// Config is a graph: operators from the sources to the sink.
type Config struct {
	Ops    []Op
	Memory int64   // limit for blocks, bytes
	CPUs   float64 // tokens
	GPUs   int     // devices

	Admission Admission
}

// Check finds what can never run: pools whose fewest workers do not fit on the devices.
func (c Config) Check() error {
	fewest := make([]int, len(c.Ops))
	for i, o := range c.Ops {
		if o.Max == 0 {
			continue
		}
		if o.GPU < 0 || o.GPU > 1 {
			return fmt.Errorf("a worker of %s asks for %v of a device: a share is between 0 and 1", o.Name, o.GPU)
		}
		fewest[i] = max(o.Workers, 1)
	}
	if i, placed := newDevices(c.GPUs).placeAll(c.Ops, fewest); i >= 0 {
		return fmt.Errorf("%d workers of %s with %v of a device each do not fit on %d devices beside the others: %d do",
			fewest[i], c.Ops[i].Name, c.Ops[i].GPU, c.GPUs, placed)
	}
	return nil
}

// Rule names what keeps an operator from running.
type Rule string

const (
	RuleNone    Rule = ""
	RuleInput   Rule = "no input"
	RuleWorkers Rule = "all workers busy"
	RuleCPU     Rule = "no CPU free"
	RuleMemory  Rule = "memory limit"
	RuleOrder   Rule = "order window"
	RuleTurn    Rule = "not its turn"
	RuleRate    Rule = "admission rate"
)

// EventKind is what happened.
type EventKind uint8

const (
	// Task of Op can be started; Bytes it reads are held elsewhere. Pin: only on Worker. Set, of an
	// operator that has any: the tasks of one come one behind the other, in one Apply.
	Ready         EventKind = iota
	WorkerUp                // Worker of Op is open
	WorkerDown              // Worker of Op is gone; what it ran is reported Done or runs on
	Yield                   // Task wants to hand over a block of Bytes, and waits. Part: see Event
	Reserve                 // Task wants Bytes more before it goes on, and waits
	Done                    // Task is finished
	Free                    // Bytes that Op holds are free again. Part: of parts
	Stop                    // Op gets no more turns: what is queued is dropped
	Pause                   // Op gets no turns for now: nobody can use what it makes
	Unpause                 // Op gets turns again
	LimitChange             // the limit for blocks is now Bytes
	WorkerOpening           // another worker of Op is being opened: WorkerUp or WorkerDown will tell
	Tick                    // Seconds have passed: the pools are looked at
	DeviceLost              // Device can no longer be used: what its workers run is reported Done or Returned
	Returned                // Task is not finished, and its worker can do no more: it stands in line again. Bytes it still reads
)

// Event is one thing that happened.
type Event struct {
	Kind   EventKind
	Op     int
	Task   int64
	Set    int64 // of Task, from 0
	Worker int
	Device int
	Pin    bool
	Bytes  int64
	// Part says of a block of an operator with sets that nobody can have it: it waits until the
	// rest of its set is there. The last task of the set makes one of all parts, which it yields
	// behind a Reserve, and then they are free.
	Part bool
	// Seconds of Tick; of Yield and Done: those that the task was at work since it started or
	// went on, without what it waited for its turn. Pools are sized by them.
	Seconds float64
}

// ActionKind is what is to be done.
type ActionKind uint8

const (
	Start  ActionKind = iota // run Task of Op on Worker
	Accept                   // take over the block that Task has yielded
	Resume                   // let Task go on behind its yield
	// Open a worker of a pool on Device (-1: on none), under the next number, from 0.
	OpenWorker
	// Close an idle worker of a pool. It gets no more tasks but those that are pinned to it, so
	// that it can be asked for what it still holds; then it is closed, and WorkerDown gives its
	// share of the device back.
	CloseWorker
	// NoPlace says that the devices that are left have no room for a single worker of Op, beside
	// one of each other pool: the job cannot be done.
	NoPlace
)

// Action is one thing to do. Alone says that it goes over the limit because nothing else
// could run.
type Action struct {
	Kind   ActionKind
	Op     int
	Task   int64
	Worker int
	Device int
	Alone  bool
}
