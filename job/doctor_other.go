//go:build !unix

package job

import "errors"

func openFiles() (soft, hard uint64, err error) { return 0, 0, errors.ErrUnsupported }

func diskSpace(string) (free, total int64, err error) { return 0, 0, errors.ErrUnsupported }
