package cache

import "time"

// ExpireRefresh has the next miss look for what others have written.
func ExpireRefresh(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshed = time.Time{}
}
