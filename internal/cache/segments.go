//go:build unix

package cache

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// roll gives up the segment that is full and takes another: the newest one, if nobody
// writes it and it has room, else a new one. What is over the bound goes first.
func (s *Store) roll() error {
	if s.own != nil {
		if err := unix.Flock(int(s.own.data.Fd()), unix.LOCK_UN); err != nil {
			return err
		}
		s.own = nil
	}
	if err := s.refresh(); err != nil {
		return err
	}
	if err := s.evict(); err != nil {
		return err
	}
	have, err := s.numbers()
	if err != nil {
		return err
	}
	next := uint64(1)
	if len(have) > 0 {
		last := have[len(have)-1]
		if seg := s.segments[last]; seg != nil && seg.end+seg.read < s.segment/2 && tryLock(seg.data) {
			return s.takeOver(seg)
		}
		next = last + 1
	}
	for ; ; next++ {
		seg, err := s.open(next, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if errors.Is(err, fs.ErrExist) {
			continue // another process was faster
		}
		if err != nil {
			return err
		}
		if !tryLock(seg.data) { // somebody took it over the moment it was there
			s.segments[next] = seg
			continue
		}
		s.segments[next], s.own = seg, seg
		return nil
	}
}

// takeOver goes on with a segment that another process left. What it wrote last may have
// been cut short: the rest of an entry is written over.
func (s *Store) takeOver(seg *segment) error {
	if err := s.learn(seg); err != nil { // it may have grown before it was locked
		return err
	}
	info, err := seg.data.Stat()
	if err != nil {
		return err
	}
	seg.end = max(seg.end, info.Size())
	s.own = seg
	return nil
}

// evict removes the oldest segments until there is room for a full one within the bound.
// One that is being written stays.
func (s *Store) evict() error {
	have, err := s.numbers()
	if err != nil {
		return err
	}
	sizes := make([]int64, len(have))
	total := int64(0)
	for i, n := range have {
		for _, suffix := range []string{dataSuffix, indexSuffix} {
			if info, err := os.Stat(s.path(n, suffix)); err == nil {
				sizes[i] += info.Size()
			}
		}
		total += sizes[i]
	}
	for i, n := range have {
		if total+s.segment <= s.max {
			break
		}
		seg := s.segments[n]
		if seg == nil || !tryLock(seg.data) {
			continue
		}
		errs := []error{s.remove(n, indexSuffix), s.remove(n, dataSuffix), s.forget(n)}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		total -= sizes[i]
	}
	for key, at := range s.where {
		if s.segments[at.segment] == nil {
			delete(s.where, key)
		}
	}
	return nil
}

func (s *Store) remove(n uint64, suffix string) error {
	if err := os.Remove(s.path(n, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// tryLock takes the lock of a segment, unless another process, or another store of this
// one, has it. It goes when the file is closed.
func tryLock(f *os.File) bool {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}
