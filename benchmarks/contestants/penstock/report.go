package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// report is what a contestant says of its run. Times are seconds of the machine's monotonic clock, the one that Python's
// time.monotonic reads.
type report struct {
	Begin     float64             `json:"begin"`
	First     float64             `json:"first"` // when the first rows came out; 0: the task gives none
	Last      float64             `json:"last"`
	End       float64             `json:"end"`
	FirstRows int64               `json:"first_rows"`
	Rows      int64               `json:"rows"`
	Checksum  map[string][]string `json:"checksum"`
}

func newReport() *report { return &report{Begin: now(), Checksum: map[string][]string{}} }

func now() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return float64(t.Sec) + float64(t.Nsec)/1e9
}

func (c checksum) result() map[string][]string {
	out := map[string][]string{}
	for name, s := range c {
		out[name] = []string{strconv.FormatUint(s.nulls, 10), strconv.FormatUint(s.sum, 10), strconv.FormatUint(s.bytes, 10)}
	}
	return out
}
