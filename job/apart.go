package job

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// apart makes sure that the job does not write where it reads.
func (j *Job) apart() error {
	if j.Sink.To != nil {
		return nil
	}
	out := realPath(j.Sink.Path)
	var inputs []string
	j.eachBranch(func(_ string, b Branch) {
		if b.Source.From == nil {
			inputs = append(inputs, b.Source.Path...)
		}
	})
	for _, given := range inputs {
		in, pattern := realPath(given), false
		if !exists(in) && strings.ContainsAny(given, "*?[{") {
			base, _ := doublestar.SplitPattern(filepath.ToSlash(given))
			in, pattern = realPath(base), true
		}
		problem := ""
		switch {
		case in == out && !pattern:
			problem = "is also the input: give another folder"
		case within(in, out):
			problem = fmt.Sprintf("holds the input %s: give another folder", given)
		case within(out, in) && (!pattern || reaches(given, out)):
			problem = fmt.Sprintf("lies inside the input %s, so the job would read what it writes: give another folder", given)
		}
		if problem != "" {
			return Faults{{File: j.Name, Key: "sink.path", Problem: fmt.Sprintf("the output %s %s", j.Sink.Path, problem)}}
		}
	}
	return nil
}

// realPath is the absolute path with links followed as far as it exists.
func realPath(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	for rest, at := "", abs; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if at == filepath.Dir(at) {
			return abs
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

func exists(path string) bool {
	_, err := filepath.EvalSymlinks(path)
	return err == nil
}

// within says whether path lies in folder, or is it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// reaches says whether a glob would find the files of an output in a folder.
func reaches(glob, out string) bool {
	base, rest := doublestar.SplitPattern(filepath.ToSlash(glob))
	rel, err := filepath.Rel(realPath(base), out)
	if err != nil {
		return true
	}
	for rel = filepath.ToSlash(rel); rel != "."; rel = filepath.ToSlash(filepath.Dir(rel)) {
		if ok, err := doublestar.Match(rest, rel); ok || err != nil {
			return true // a folder that matches is read with all that is in it
		}
	}
	rel, _ = filepath.Rel(realPath(base), out)
	for _, name := range []string{"part-000000.parquet", "part-000000.jsonl", "part-000000.csv", "part-000000.arrow"} {
		if ok, _ := doublestar.Match(rest, filepath.ToSlash(filepath.Join(rel, name))); ok {
			return true
		}
	}
	return false
}
