//go:build unix

package job

import "golang.org/x/sys/unix"

// openFiles is the limit of open files, now and at most.
func openFiles() (soft, hard uint64, err error) {
	var limit unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Cur, limit.Max, err
}

// diskSpace is what a user may still write to the disk of a folder, and its size.
func diskSpace(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	err = unix.Statfs(dir, &st)
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), err
}
