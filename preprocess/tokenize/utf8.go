package tokenize

import (
	"fmt"
	"unicode/utf8"
)

// InvalidUTF8 is what becomes of a text that is not valid UTF-8.
type InvalidUTF8 uint8

const (
	ReplaceInvalid InvalidUTF8 = iota // it is read with U+FFFD in the place of each maximal invalid part, as Python's errors="replace" reads it
	RefuseInvalid                     // its row fails, with a [UTF8Error]
)

func (i InvalidUTF8) String() string { return [...]string{"replace", "refuse"}[i] }

// UTF8Error is a text that is not valid UTF-8, where that is refused.
type UTF8Error struct {
	Offset int  // of the first byte that is not
	Byte   byte // which is this
}

func (e *UTF8Error) Error() string {
	return fmt.Sprintf("the text is not UTF-8 at byte %d (0x%02X): convert it, or have such bytes replaced", e.Offset, e.Byte)
}

// CheckUTF8 gives a *[UTF8Error] for a text that is not valid UTF-8, else nil.
func CheckUTF8(text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for at := 0; ; {
		c, size := utf8.DecodeRuneInString(text[at:])
		if c == utf8.RuneError && size <= 1 {
			return &UTF8Error{Offset: at, Byte: text[at]}
		}
		at += size
	}
}
