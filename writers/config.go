package writers

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// Config says where rows go and in what form. Only Path must be set.
type Config struct {
	Path   string // the output folder
	Format Format
	Mode   Mode

	// MaxRowsPerFile cuts the rows of a part into several files. 0: one file.
	MaxRowsPerFile int64
	// MinRowsPerFile joins files of neighbouring parts, in their order, when the job is
	// committed, until each has at least so many rows (fewer only where the whole
	// output, or a whole partition of it, has fewer, or MaxRowsPerFile would be
	// passed). What is read back are the small files alone.
	MinRowsPerFile int64
	// PartitionBy names columns by whose values rows go into folders of their own, in
	// Hive's form: name=value/. The columns are left out of the files.
	PartitionBy []string
	// FileName is a template for names of files, without the extension. It must hold
	// {group}, the number of the part; it may hold {file}, the number of the file
	// within its part, and {run}, the token of the run. The last two are added at the
	// end where they are needed to keep names apart. Empty: "part-{group}".
	FileName string

	Compression Compression
	// RowGroupBytes and RowGroupRows bound a Parquet row group, and with it the memory
	// of a writer: it holds one row group, of which flat columns are compressed already
	// but for those that get a dictionary. Row groups end with the row that reaches
	// RowGroupBytes of Arrow data, or 1 MiB if it is less. 0: 32 MiB and 1 Mi rows.
	RowGroupBytes int64
	RowGroupRows  int64

	fs fileSystem // nil: the operating system's. For tests
}

// Format is the form of the files.
type Format uint8

const (
	Parquet Format = iota
	JSONL          // one JSON object a line
	CSV            // RFC 4180 with a header line
	IPC            // Arrow IPC files, also known as Feather 2
)

// Mode says what is done where the output exists. An empty folder counts as none.
type Mode uint8

const (
	ErrorIfExists Mode = iota // fail with stage.ErrOutputExists
	Overwrite                 // replace it, in one step, once the new one is whole
	Append                    // add files to it
	Ignore                    // leave it as it is: Check and Begin return ErrIgnored
)

// Compression of the files.
type Compression uint8

const (
	// DefaultCompression is snappy for Parquet and none for the others. On text, snappy
	// writes 2.6 times as fast as zstd to 1.6 times the size (270 and 100 MB/s a core,
	// 0.48 and 0.30 of the bytes); on columns of numbers 1.7 times as fast to 1.2 times.
	DefaultCompression Compression = iota
	NoCompression
	Snappy // Parquet
	Zstd   // all formats; text formats get the suffix .zst
	LZ4    // IPC
	Gzip   // Parquet and text formats, which get the suffix .gz
)

var (
	formatNames      = []string{"parquet", "jsonl", "csv", "ipc"}
	modeNames        = []string{"error", "overwrite", "append", "ignore"}
	compressionNames = []string{"default", "none", "snappy", "zstd", "lz4", "gzip"}

	formatAliases = map[string]Format{"ndjson": JSONL, "json": JSONL, "arrow": IPC, "feather": IPC}
)

// ErrIgnored is returned by Check and Begin where the output exists and the mode is
// Ignore: there is nothing to do, which is no failure.
var ErrIgnored = errors.New("writers: the output exists and is left as it is")

// ParseFormat knows parquet, jsonl (also ndjson, json), csv and ipc (also arrow, feather).
func ParseFormat(name string) (Format, error) {
	if f, ok := formatAliases[strings.ToLower(name)]; ok {
		return f, nil
	}
	i, err := parseName("format", name, formatNames)
	return Format(i), err
}

// ParseMode knows error, overwrite, append and ignore.
func ParseMode(name string) (Mode, error) {
	i, err := parseName("mode", name, modeNames)
	return Mode(i), err
}

// ParseCompression knows default, none, snappy, zstd, lz4 and gzip.
func ParseCompression(name string) (Compression, error) {
	i, err := parseName("compression", name, compressionNames)
	return Compression(i), err
}

func parseName(what, name string, names []string) (int, error) {
	for i, n := range names {
		if strings.EqualFold(n, name) {
			return i, nil
		}
	}
	hint := ""
	if near := stage.Nearest(strings.ToLower(name), names); near != "" {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	return 0, fmt.Errorf("writers: unknown %s %q; %s(known: %s)", what, name, hint, strings.Join(names, ", "))
}

func (f Format) String() string      { return nameOf(int(f), formatNames) }
func (m Mode) String() string        { return nameOf(int(m), modeNames) }
func (c Compression) String() string { return nameOf(int(c), compressionNames) }

func nameOf(i int, names []string) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

// MarshalText and UnmarshalText make the types usable in job files and flags.
func (f Format) MarshalText() ([]byte, error)      { return []byte(f.String()), nil }
func (m Mode) MarshalText() ([]byte, error)        { return []byte(m.String()), nil }
func (c Compression) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (f *Format) UnmarshalText(b []byte) (err error) {
	*f, err = ParseFormat(string(b))
	return err
}

func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}

func (c *Compression) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCompression(string(b))
	return err
}

const (
	defaultRowGroupBytes = 32 << 20
	defaultRowGroupRows  = 1 << 20
	defaultFileName      = "part-{group}"
)

// Validate says all that is wrong with the settings by themselves.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("writers: "+format, args...))
	}
	if c.Path == "" {
		fault("no output folder is given")
	}
	if int(c.Format) >= len(formatNames) || int(c.Mode) >= len(modeNames) || int(c.Compression) >= len(compressionNames) {
		fault("unknown format, mode or compression: %s, %s, %s", c.Format, c.Mode, c.Compression)
	}
	notNegative := func(name string, v int64) {
		if v < 0 {
			fault("%s is %d; it cannot be negative", name, v)
		}
	}
	notNegative("MaxRowsPerFile", c.MaxRowsPerFile)
	notNegative("MinRowsPerFile", c.MinRowsPerFile)
	notNegative("RowGroupBytes", c.RowGroupBytes)
	notNegative("RowGroupRows", c.RowGroupRows)
	if c.MaxRowsPerFile > 0 && c.MinRowsPerFile > c.MaxRowsPerFile {
		fault("MinRowsPerFile %d is more than MaxRowsPerFile %d", c.MinRowsPerFile, c.MaxRowsPerFile)
	}
	if !c.compressionFits() {
		fault("%s files cannot be compressed with %s", c.Format, c.Compression)
	}
	seen := map[string]bool{}
	for _, name := range c.PartitionBy {
		if seen[name] {
			fault("PartitionBy names column %q twice", name)
		}
		seen[name] = true
		if name == "" || strings.ContainsAny(name[:1], "_.") {
			fault("PartitionBy column %q: readers pass over folders whose name begins with _ or .", name)
		}
	}
	if err := checkTemplate(c.FileName); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (c Config) compressionFits() bool {
	switch c.Compression {
	case Snappy:
		return c.Format == Parquet
	case LZ4:
		return c.Format == IPC
	case Gzip:
		return c.Format != IPC
	}
	return true
}

// checkTemplate refuses names that readers would pass over, that leave the folder, or
// that hold an unknown placeholder.
func checkTemplate(t string) error {
	if t == "" {
		return nil
	}
	left := t
	for _, p := range []string{"{group}", "{file}", "{run}"} {
		left = strings.ReplaceAll(left, p, "")
	}
	switch {
	case strings.ContainsAny(left, "{}"):
		return fmt.Errorf("writers: file name %q: the placeholders are {group}, {file} and {run}", t)
	case !strings.Contains(t, "{group}"):
		return fmt.Errorf("writers: file name %q lacks {group}, so all parts would have one name", t)
	case strings.ContainsAny(t, "/\\\x00"):
		return fmt.Errorf("writers: file name %q must be a name, not a path", t)
	case strings.ContainsAny(t[:1], "_."):
		return fmt.Errorf("writers: file name %q: readers pass over names that begin with a dot or a low line", t)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.RowGroupBytes == 0 {
		c.RowGroupBytes = defaultRowGroupBytes
	}
	if c.RowGroupRows == 0 {
		c.RowGroupRows = defaultRowGroupRows
	}
	if c.FileName == "" {
		c.FileName = defaultFileName
	}
	if c.Compression == DefaultCompression {
		c.Compression = NoCompression
		if c.Format == Parquet {
			c.Compression = Snappy
		}
	}
	if c.fs == nil {
		c.fs = osFS{}
	}
	return c
}

// extension is that of the files, with the dot.
func (c Config) extension() string {
	ext := [...]string{".parquet", ".jsonl", ".csv", ".arrow"}[c.Format]
	if c.Format == JSONL || c.Format == CSV {
		switch c.Compression {
		case Gzip:
			return ext + ".gz"
		case Zstd:
			return ext + ".zst"
		}
	}
	return ext
}

// template is FileName with what is needed to keep files apart.
func (c Config) template(manyFiles bool) string {
	t := c.FileName
	if manyFiles && !strings.Contains(t, "{file}") {
		t += "-{file}"
	}
	if c.Mode == Append && !strings.Contains(t, "{run}") {
		t += "-{run}"
	}
	return t
}

// fileName is the name of a file, below folder dir of the output (slashes).
func (c Config) fileName(dir, group string, file int, run string, manyFiles bool) string {
	name := strings.NewReplacer("{group}", group, "{file}", fmt.Sprintf("%04d", file), "{run}", run).
		Replace(c.template(manyFiles))
	return filepath.ToSlash(filepath.Join(dir, name+c.extension()))
}
