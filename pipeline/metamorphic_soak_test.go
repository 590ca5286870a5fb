//go:build soak

package pipeline_test

const randomPlans = 4000
