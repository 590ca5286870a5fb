//go:build !unix

package cache

import (
	"errors"
	"fmt"
)

// roll is where a lock would be needed that this system does not have.
func (s *Store) roll() error {
	return fmt.Errorf("results are only kept where files can be locked: %w", errors.ErrUnsupported)
}
