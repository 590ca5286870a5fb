package writers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/penstock-data/penstock/stage"
)

// join puts small files of neighbouring parts together until each has MinRowsPerFile
// rows. The new files stand beside the small ones, which keep their names.
func (r *run) join(ctx context.Context, files []File) ([]File, error) {
	var folders []string
	byFolder := map[string][]File{}
	for _, f := range files {
		folder := path.Dir(f.Path)
		if _, seen := byFolder[folder]; !seen {
			folders = append(folders, folder)
		}
		byFolder[folder] = append(byFolder[folder], f)
	}
	var out []File
	for _, folder := range folders {
		for _, group := range r.neighbours(byFolder[folder]) {
			if len(group) == 1 {
				out = append(out, group[0])
				continue
			}
			f, err := r.joinFiles(ctx, group)
			if err != nil {
				return nil, fmt.Errorf("writers: join %d small files to %s: %w", len(group), r.out.file(f.Path), bare(err))
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// neighbours says which files, in their order, become one.
func (r *run) neighbours(files []File) [][]File {
	least, most := r.cfg.MinRowsPerFile, r.cfg.MaxRowsPerFile
	fits := func(rows int64) bool { return most == 0 || rows <= most }
	var groups [][]File
	var sums []int64
	for _, f := range files {
		k := len(groups) - 1
		if k >= 0 && sums[k] < least && fits(sums[k]+f.Rows) {
			groups[k] = append(groups[k], f)
			sums[k] += f.Rows
			continue
		}
		groups, sums = append(groups, []File{f}), append(sums, f.Rows)
	}
	// What is left over at the end goes to the file before it.
	if k := len(groups) - 1; k > 0 && sums[k] < least && fits(sums[k-1]+sums[k]) {
		groups[k-1] = append(groups[k-1], groups[k]...)
		groups = groups[:k]
	}
	return groups
}

func (r *run) joinFiles(ctx context.Context, group []File) (File, error) {
	fsys := r.cfg.fs
	out := File{Path: r.joinedName(group[0].Path, group[len(group)-1].Path)}
	tmp := filepath.Join(r.st.tmp(), "join")
	w, err := createFile(fsys, stage.Env{}, tmp, r.out.file(out.Path), r.rows.textCompression())
	if err != nil {
		return out, err
	}
	from := make([]readFile, 0, len(group))
	for _, f := range group {
		var in readFile
		if in, err = fsys.Open(r.st.file(f.Path)); err != nil {
			break
		}
		from = append(from, in)
		out.Rows += f.Rows
	}
	if err == nil {
		err = r.rows.format.join(ctx, w, from)
	}
	for _, in := range from {
		// Some of arrow's readers have closed it already.
		_ = in.Close()
	}
	if w.err == nil {
		w.err = err
	}
	if err := w.close(); err != nil {
		return out, errors.Join(err, fsys.Remove(tmp))
	}
	out.Bytes = w.size
	if err := fsys.Rename(tmp, r.st.file(out.Path)); err != nil {
		return out, err
	}
	return out, fsys.SyncDir(filepath.Dir(r.st.file(out.Path)))
}

// joinedName is the first file's name with the last one's numbers behind its own:
// part-000000-to-000003.parquet.
func (r *run) joinedName(first, last string) string {
	ext := r.cfg.extension()
	name := strings.TrimSuffix(first, ext)
	numbers := r.numbers(strings.TrimSuffix(path.Base(last), ext))
	return name + "-to-" + numbers + ext
}

// numbers is the group, and the file where names have one, in a file's name.
func (r *run) numbers(name string) string {
	t := regexp.QuoteMeta(r.cfg.template(r.rows.manyFiles()))
	for _, p := range []string{"group", "file"} {
		t = strings.Replace(t, regexp.QuoteMeta("{"+p+"}"), "(?P<"+p+">[0-9]+)", 1)
		t = strings.ReplaceAll(t, regexp.QuoteMeta("{"+p+"}"), "[0-9]+")
	}
	t = strings.ReplaceAll(t, regexp.QuoteMeta("{run}"), "[0-9a-f]+")
	re, err := regexp.Compile("^" + t + "$")
	if err != nil {
		return digest(4, []byte(name))
	}
	found := re.FindStringSubmatch(name)
	if found == nil {
		return digest(4, []byte(name))
	}
	return strings.Join(found[1:], "-")
}

// joinText copies the lines of files of a text format, without the line that each
// begins with.
func joinText(ctx context.Context, w *outFile, from []readFile, header []byte) error {
	for _, r := range from {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyText(w, r, header); err != nil {
			return err
		}
	}
	return w.fault()
}

func copyText(w *outFile, from readFile, header []byte) error {
	in, done, err := uncompressed(bufio.NewReaderSize(from, fileBuffer))
	if err != nil {
		return err
	}
	defer done()
	head := make([]byte, len(header))
	if _, err := io.ReadFull(in, head); err != nil {
		return err
	}
	if !bytes.Equal(head, header) {
		return errors.New("a file does not begin with its header")
	}
	_, err = io.Copy(w, in)
	return err
}

// uncompressed reads what createFile wrote, by its first bytes.
func uncompressed(in *bufio.Reader) (_ io.Reader, done func(), err error) {
	head, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(in)
		return r, func() {}, err
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return in, func() {}, nil
}
