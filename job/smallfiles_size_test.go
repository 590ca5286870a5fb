//go:build !soak

package job_test

const smallFilesCount = 5000
