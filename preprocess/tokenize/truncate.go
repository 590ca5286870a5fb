package tokenize

import (
	"errors"
	"fmt"
	"math"
)

// Strategy says which text of a pair gives way to a limit.
type Strategy uint8

// The strategies. FileStrategy is the file's own, LongestFirst if it has none.
const (
	FileStrategy Strategy = iota
	LongestFirst
	OnlyFirst
	OnlySecond
)

// Direction says from which end tokens are cut off.
type Direction uint8

// The directions. FileDirection is the file's own, Right if it has none; Right
// keeps the beginning of a text, Left its end.
const (
	FileDirection Direction = iota
	Right
	Left
)

// Unlimited as Config.MaxTokens switches truncation off.
const Unlimited = -1

// ErrNotTruncated says that a pair is over the limit and the strategy doesn't
// allow to cut it to size.
var ErrNotTruncated = errors.New("tokenize: the text that the strategy cuts is too short to bring the pair under the limit")

// truncation is a limit in force.
type truncation struct {
	max       int // tokens with special ones; negative: no limit
	strategy  Strategy
	direction Direction
}

// with overrides what the configuration states.
func (tr truncation) with(c Config) truncation {
	switch {
	case c.MaxTokens < 0:
		tr.max = Unlimited
	case c.MaxTokens > 0:
		tr.max = c.MaxTokens
	}
	if c.TruncationStrategy != FileStrategy {
		tr.strategy = c.TruncationStrategy
	}
	if c.TruncationDirection != FileDirection {
		tr.direction = c.TruncationDirection
	}
	return tr
}

// room is how many tokens of text fit beside n special ones.
func (tr truncation) room(n int) int {
	if tr.max < 0 {
		return math.MaxInt
	}
	return max(tr.max-n, 0)
}

func (tr truncation) check(p *plan) error {
	if tr.max >= 0 && tr.max < p.added {
		return fmt.Errorf("tokenize: a limit of %d tokens has no room for the %d special ones", tr.max, p.added)
	}
	return nil
}

// cutPair gives how many tokens of each text remain under a limit.
func (tr truncation) cutPair(a, b, room int) (int, int, error) {
	over := a + b - room
	if over <= 0 {
		return a, b, nil
	}
	if room == 0 {
		return 0, 0, nil
	}
	switch tr.strategy {
	case OnlyFirst:
		if a <= over {
			return 0, 0, ErrNotTruncated
		}
		return a - over, b, nil
	case OnlySecond:
		if b <= over {
			return 0, 0, ErrNotTruncated
		}
		return a, b - over, nil
	}
	short := min(a, b)
	long := max(short, room-short)
	if short+long > room {
		short = room / 2
		long = room - short
	}
	if a > b {
		return long, short, nil
	}
	return short, long, nil
}

// cut is the part of n tokens that remains.
func (tr truncation) cut(list []token, keep int) []token {
	if keep >= len(list) {
		return list
	}
	if tr.direction == Left {
		return list[len(list)-keep:]
	}
	return list[:keep]
}
