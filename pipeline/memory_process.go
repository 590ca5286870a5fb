package pipeline

import (
	"math"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
)

// goMemory is what the Go runtime says of its own memory, in bytes.
type goMemory struct {
	mapped  int64 // from the system, and not given back
	objects int64 // on the heap: in use, or dead and not yet swept
	idle    int64 // of the heap, in which no objects lie
	live    int64 // objects that the collector last found in use; 0 before it ran
}

func readGoMemory() (m goMemory) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	var n [6]int64
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			n[i] = int64(min(s.Value.Uint64(), math.MaxInt64))
		}
	}
	return goMemory{mapped: n[0] - n[1], objects: n[2], idle: n[3] + n[4], live: n[5]}
}

// processBaseline is the memory of the process before a run: the program, its libraries and
// what else it holds. What lies idle on the Go heap, or was found dead, is not part of it,
// since the run uses it again. heap is what of it is in use there, and runtime what of it
// the Go runtime has, heap included. All are 0 where the system does not tell.
func processBaseline() (all, heap, runtime int64) {
	rss, _ := residentSet()
	if rss == 0 {
		return 0, 0, 0
	}
	m := readGoMemory()
	heap = m.objects
	if m.live > 0 {
		heap = min(m.live, m.objects)
	}
	dead := m.idle + m.objects - heap
	return max(rss-dead, heap), heap, m.mapped - dead
}

// GoMemoryLimit is what a limit of the whole process leaves the Go runtime, for
// [runtime/debug.SetMemoryLimit]: it knows nothing of the program's text, and of what C
// libraries hold. It looks at the process as it is now.
func GoMemoryLimit(limit int64) int64 {
	rss, _ := residentSet()
	return goLimit(limit, rss-readGoMemory().mapped)
}

// goLimit leaves a part of the limit free besides: the collector is told what to aim at, and
// overshoots while it works.
func goLimit(limit, outside int64) int64 {
	return max(limit-limit/16-max(outside, 0), limit/4)
}

// residentSet is the process's resident memory now and at its peak, in bytes, as the kernel
// says; 0 where it does not. (The peak in getrusage is that of whoever started the process,
// if that was larger.)
func residentSet() (now, peak int64) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	field := func(name string) int64 {
		_, rest, _ := strings.Cut(string(raw), "\n"+name+":")
		line, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
		return n << 10
	}
	return field("VmRSS"), field("VmHWM")
}
