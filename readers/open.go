package readers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// Format is a file format.
type Format string

const (
	TextFormat    Format = "text"    // lines
	CSVFormat     Format = "csv"     // comma-separated values, and those of tabs
	JSONLFormat   Format = "jsonl"   // one JSON object a line
	ParquetFormat Format = "parquet" // Apache Parquet
	IPCFormat     Format = "ipc"     // Apache Arrow IPC: the file format (Feather V2) and the stream format
)

// Formats are all file formats.
func Formats() []Format {
	return []Format{TextFormat, CSVFormat, JSONLFormat, ParquetFormat, IPCFormat}
}

// extensions are those of a format, of which the first is the usual one.
func extensions(f Format) []string {
	switch f {
	case TextFormat:
		return []string{".txt", ".log"}
	case CSVFormat:
		return []string{".csv", ".tsv"}
	case JSONLFormat:
		return []string{".jsonl", ".ndjson", ".json"}
	case ParquetFormat:
		return []string{".parquet"}
	case IPCFormat:
		return []string{".arrow", ".feather", ".ipc", ".arrows"}
	}
	return nil
}

// splitName takes the extension of a compression off a name.
func splitName(name string) (rest, codec string) {
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, ".gz"):
		return name[:len(name)-3], "gzip"
	case strings.HasSuffix(lower, ".zst"):
		return name[:len(name)-4], "zstd"
	}
	return name, ""
}

// formatOf tells a format by the name of a file; "" if its extension is of none.
func formatOf(name string) Format {
	rest, _ := splitName(name)
	ext := strings.ToLower(path.Ext(rest))
	for _, f := range Formats() {
		for _, e := range extensions(f) {
			if e == ext {
				return f
			}
		}
	}
	return ""
}

// Config is a source over files of whatever format.
type Config struct {
	Files
	Format Format // empty: by the first file's extension, then by its content

	// Settings of the formats, used by the one that is found. Their Files are not.
	Text  TextConfig
	CSV   CSVConfig
	JSONL JSONLConfig
	IPC   IPCConfig
}

// Open makes a source over files. Where the format is left open, the first file decides,
// and a file whose extension is of another format is an error; in folders, files with an
// extension of no format are passed over.
func Open(ctx context.Context, cfg Config) (stage.Source, error) {
	if cfg.Format != "" {
		return cfg.source(cfg.Format, "")
	}
	if len(cfg.Paths) == 0 {
		return nil, fmt.Errorf("readers: no path was given: %w", stage.ErrNotFound)
	}
	var all []string
	for _, f := range Formats() {
		all = append(all, extensions(f)...)
	}
	l := lister{fs: cfg.fileSystem(), want: func(name string) bool { return formatOf(name) != "" },
		kind: "files ending in " + strings.Join(all, ", ")}
	var format Format
	var first string
	const looked = 1000 // a folder of more starts at once all the same
	n := 0
	for file, err := range l.all(ctx, cfg.Paths) {
		if err != nil {
			return nil, err
		}
		if n == 0 {
			if format, err = detect(ctx, l.fs, file); err != nil {
				return nil, err
			}
			first = file
		}
		if err := sameFormat(format, first, file); err != nil {
			return nil, err
		}
		if n++; n == looked {
			break
		}
	}
	return cfg.source(format, first)
}

func (cfg Config) source(format Format, strict string) (stage.Source, error) {
	s := &fileSource{files: cfg.Files, strict: strict}
	switch format {
	case TextFormat:
		s.format = textFormat{cfg: cfg.Text}
	case CSVFormat:
		s.format = csvFormat{cfg: cfg.CSV}
	case JSONLFormat:
		s.format = jsonlFormat{cfg: cfg.JSONL}
	case ParquetFormat:
		s.format = parquetFormat{}
	case IPCFormat:
		s.format = ipcFormat{cfg.IPC}
	default:
		names := make([]string, len(Formats()))
		for i, f := range Formats() {
			names[i] = string(f)
		}
		hint := ""
		if near := stage.Nearest(string(format), names); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, fmt.Errorf("readers: there is no format %q%s (formats: %s)", format, hint, strings.Join(names, ", "))
	}
	return s, nil
}

// sameFormat refuses a file whose extension is of another format than that of first.
func sameFormat(format Format, first, file string) error {
	if f := formatOf(file); f != "" && f != format {
		return fmt.Errorf("readers: %s is %s and %s is %s: give the format, or read them on their own", first, format, file, f)
	}
	return nil
}

// detect tells the format of a file by its extension, then by its first bytes.
func detect(ctx context.Context, fsys FileSystem, file string) (Format, error) {
	if f := formatOf(file); f != "" {
		return f, nil
	}
	in, err := openInput(ctx, stage.Env{}, fsys, file)
	if err != nil {
		return "", err
	}
	s, err := in.content()
	if err != nil {
		in.Close()
		return "", err
	}
	defer s.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(s, head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("readers: %s: %w", file, s.explain(err))
	}
	return sniff(head[:n]), nil
}

// sniff tells a format by the first bytes of what a file holds.
func sniff(head []byte) Format {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		return ParquetFormat
	case bytes.HasPrefix(head, ipcMagic), bytes.HasPrefix(head, ipcContinuation):
		return IPCFormat
	case bytes.HasPrefix(text, []byte("{")):
		return JSONLFormat
	}
	return TextFormat
}
