package sim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// jobs is how many random jobs each test tries: many with -tags soak, or in make soak. The race
// detector needs few: a job runs on one goroutine, and only tests share what there is to race for.
func jobs() uint64 {
	switch {
	case soak:
		return 100_000
	case raced:
		return 400
	default:
		return 2_000
	}
}

func TestRandomJobsAreDeliveredByTheRules(t *testing.T) {
	t.Parallel()
	for seed := range jobs() {
		cfg, want := sim.Random(seed)
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		require.Equal(t, want, res.Delivered, "seed %d", seed)
	}
}

func TestFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	for seed := range jobs() / 4 {
		cfg, want := sim.Random(seed)
		cfg = sim.WithFaults(cfg, seed)
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		require.Equal(t, want, res.Delivered, "seed %d", seed)
	}
}

func TestStoppedJobsEnd(t *testing.T) {
	t.Parallel()
	for seed := range jobs() / 4 {
		cfg, want := sim.Random(seed)
		cfg = sim.WithStop(sim.WithFaults(cfg, seed), seed)
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		require.LessOrEqual(t, res.Delivered, want, "seed %d", seed)
	}
}

func TestSetsAreDeliveredWhole(t *testing.T) {
	t.Parallel()
	for seed := range jobs() / 2 {
		cfg, _ := sim.Random(seed)
		switch seed % 4 {
		case 1:
			cfg = sim.WithFaults(cfg, seed)
		case 2:
			cfg = sim.WithPools(cfg, seed)
		case 3:
			cfg = sim.WithStop(cfg, seed)
		}
		cfg, want := sim.WithSets(cfg, seed)
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		if seed%4 == 3 {
			require.LessOrEqual(t, res.Delivered, want, "seed %d", seed)
		} else {
			require.Equal(t, want, res.Delivered, "seed %d", seed)
		}
	}
}

func TestSourcesKeepToTheirRate(t *testing.T) {
	t.Parallel()
	for seed := range jobs() / 2 {
		cfg, want := sim.Random(seed)
		switch seed % 4 {
		case 1:
			cfg = sim.WithFaults(cfg, seed)
		case 2:
			cfg = sim.WithPools(cfg, seed)
		case 3:
			cfg, want = sim.WithSets(sim.WithFaults(cfg, seed), seed)
		}
		res, err := sim.Run(sim.WithAdmission(cfg, seed))
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		require.Equal(t, want, res.Delivered, "seed %d", seed)
	}
}

func TestLostDevicesLoseNothing(t *testing.T) {
	t.Parallel()
	returned, ended := 0, 0
	for seed := range jobs() {
		cfg, want := sim.Random(seed)
		if seed%3 == 1 {
			cfg = sim.WithFaults(cfg, seed)
		}
		cfg = sim.WithLostDevices(cfg, seed)
		if seed%4 == 3 {
			cfg, want = sim.WithSets(cfg, seed)
		}
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		if returned += res.Returned; res.Ended {
			ended++
			require.LessOrEqual(t, res.Delivered, want, "seed %d", seed)
		} else {
			require.Equal(t, want, res.Delivered, "seed %d", seed)
		}
	}
	t.Logf("%d tasks came back; of %d jobs %d had to end", returned, jobs(), ended)
	require.NotZero(t, returned)
	require.NotZero(t, ended)
	require.Less(t, ended, int(jobs())*3/4)
}

func TestPoolsKeepToTheirSizesAndDevices(t *testing.T) {
	t.Parallel()
	closed := 0
	for seed := range jobs() / 4 {
		cfg, want := sim.Random(seed)
		cfg = sim.WithPools(sim.WithFaults(cfg, seed), seed)
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		require.Equal(t, want, res.Delivered, "seed %d", seed)
		closed += res.Closed
	}
	require.NotZero(t, closed, "no pool ever shrank")
}
