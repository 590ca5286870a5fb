package sched_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// mutantJobs is how many random jobs each mutant gets at most; most fall to the first few.
const mutantJobs = 400

func TestMutantsAreCaught(t *testing.T) {
	for _, m := range sched.Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			for seed := range uint64(mutantJobs) {
				cfg, _ := sim.Random(seed)
				cfg = sim.WithFaults(cfg, seed)
				switch seed % 4 {
				case 1:
					cfg = sim.WithPools(cfg, seed)
				case 2:
					cfg = sim.WithAdmission(cfg, seed)
				case 3:
					cfg = sim.WithLostDevices(cfg, seed)
				}
				if seed%3 == 1 {
					cfg, _ = sim.WithSets(cfg, seed)
				}
				cfg.New = m.New
				if _, err := sim.Run(cfg); err != nil && caughtAt(err) == m.Fault {
					t.Logf("by job %d: %v", seed, err)
					return
				}
			}
			assert.Fail(t, "it survived", "%d jobs, and none failed with %q", mutantJobs, m.Fault)
		})
	}
}

func caughtAt(err error) string {
	var a *sim.AuditError
	switch {
	case errors.As(err, &a):
		return a.Fault
	case errors.Is(err, sim.ErrStuck):
		return "stuck"
	}
	return err.Error()
}
