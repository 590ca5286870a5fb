package job

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// Sink says where the rows of a job go: a folder of files, or a sink of the caller's own.
type Sink struct {
	Format         string  `yaml:"format"`                           // parquet, jsonl, csv or ipc; empty: parquet
	Path           string  `yaml:"path"`                             // the folder
	Mode           string  `yaml:"mode"`                             // error, overwrite, append or ignore; empty: error
	MaxRowsPerFile int64   `yaml:"max_rows_per_file" check:"min=1"`  // 0: no bound
	MinRowsPerFile int64   `yaml:"min_rows_per_file" check:"min=1"`  // small files are joined until they have so many
	PartitionBy    Strings `yaml:"partition_by"`                     // columns whose values become folders
	FileName       string  `yaml:"file_name"`                        // a template: part-{group}
	Compression    string  `yaml:"compression"`                      // default, none, snappy, zstd, lz4 or gzip
	RowGroupRows   int64   `yaml:"row_group_rows" check:"min=1"`     // parquet
	RowGroupBytes  Size    `yaml:"row_group_bytes" check:"min=1024"` // parquet

	To stage.Sink // a sink of the caller's own, in place of files
}

// config is what the writers are told. Faults have the keys of the section.
func (s Sink) config(formats []string) (writers.Config, Faults) {
	cfg := writers.Config{Path: s.Path, MaxRowsPerFile: s.MaxRowsPerFile, MinRowsPerFile: s.MinRowsPerFile, PartitionBy: s.PartitionBy,
		FileName: s.FileName, RowGroupRows: s.RowGroupRows, RowGroupBytes: int64(s.RowGroupBytes)}
	var faults Faults
	set := func(key, name string, own []string, parse func() error) {
		if name != "" && parse() != nil {
			f := Fault{Key: key, Problem: fmt.Sprintf("there is no %s %q", key, name), Nearest: stage.Nearest(name, own)}
			if f.Nearest == "" {
				f.Problem += " (known: " + strings.Join(own, ", ") + ")"
			}
			faults = append(faults, f)
		}
	}
	set("format", s.Format, slices.Concat([]string{"parquet", "jsonl", "csv", "ipc"}, formats), func() (err error) {
		cfg.Format, err = writers.ParseFormat(s.Format)
		return err
	})
	set("mode", s.Mode, []string{"error", "overwrite", "append", "ignore"}, func() (err error) {
		cfg.Mode, err = writers.ParseMode(s.Mode)
		return err
	})
	set("compression", s.Compression, []string{"default", "none", "snappy", "zstd", "lz4", "gzip"}, func() (err error) {
		cfg.Compression, err = writers.ParseCompression(s.Compression)
		return err
	})
	return cfg, faults
}

func (s Sink) faults(formats []string) Faults {
	if s.To != nil {
		return nil
	}
	cfg, faults := s.config(formats)
	if s.Path == "" {
		return append(faults, Fault{Key: "path", Problem: "the sink has no path"})
	}
	if err := cfg.Validate(); err != nil && faults == nil {
		var many interface{ Unwrap() []error }
		errs := []error{err}
		if errors.As(err, &many) {
			errs = many.Unwrap()
		}
		for _, e := range errs {
			faults = append(faults, Fault{Problem: packagePrefix.ReplaceAllString(e.Error(), "")})
		}
	}
	return faults
}

func (s Sink) open() (stage.Sink, error) {
	if s.To != nil {
		return s.To, nil
	}
	cfg, faults := s.config(nil)
	if err := faults.err(); err != nil {
		return nil, err
	}
	return writers.Files(cfg)
}

// given lists the names of the fields of a settings struct that are set.
func given(settings any) []string {
	var names []string
	v := reflect.ValueOf(settings)
	for _, f := range fieldsOf(v.Type()) {
		if !v.FieldByIndex(f.index).IsZero() {
			names = append(names, f.name)
		}
	}
	return names
}
