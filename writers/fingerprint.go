package writers

import (
	"crypto/sha256"
	"encoding/hex"
)

// digest is a short name for what the texts say together: SHA-256, the first n bytes in
// hex. The texts are kept apart by their length.
func digest(n int, texts ...[]byte) string {
	h := sha256.New()
	for _, t := range texts {
		sum := sha256.Sum256(t)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:n])
}
