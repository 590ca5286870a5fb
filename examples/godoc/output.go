package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// maxText bounds a comment's text, in bytes.
const maxText = 2000

// shorten cuts text to at most maxText bytes, between two runes.
func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// spread returns limit comments at even distances, or all of them where limit
// is 0 or not below their number.
func spread(all []comment, limit int) []comment {
	if limit <= 0 || limit >= len(all) {
		return all
	}
	picked := make([]comment, limit)
	for i := range picked {
		picked[i] = all[i*len(all)/limit]
	}
	return picked
}

// write writes one JSON object per line.
func write(w io.Writer, comments []comment) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for _, c := range comments {
		if err := enc.Encode(c); err != nil {
			return fmt.Errorf("writing %s:%d: %w", c.File, c.Line, err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// writeFile writes the comments to a temporary file and renames it to path
// when it is whole, so that path never holds half of them.
func writeFile(path string, comments []comment) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	err = write(tmp, comments)
	if err == nil {
		err = tmp.Chmod(0o644) // CreateTemp's 0600 would hide the file from others
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
