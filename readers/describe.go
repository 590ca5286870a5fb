package readers

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// Info is what can be said of data without decoding it.
type Info struct {
	Path        string
	Format      Format
	Schema      *arrow.Schema
	Files       int64
	Bytes       int64    // as stored
	Rows        int64    // that can be read
	BadRows     int64    // that cannot
	Parts       int64    // row groups or record batches; the files, where a format has no such parts
	Compression []string // of files or pages, in alphabetical order; "none" too
}

// Describe looks at a file, folder or glob. Of Parquet and IPC files it reads the footers
// only; of other formats it counts the rows.
func Describe(ctx context.Context, path string) (Info, error) {
	src, err := Open(ctx, Config{Files: Paths(path)})
	if err != nil {
		return Info{}, err
	}
	files := src.(*fileSource)
	planned, err := src.Plan(ctx, stage.ScanRequest{})
	if err != nil {
		return Info{}, err
	}
	scan := planned.(*fileScan)
	info := Info{Path: path, Format: files.format.name(), Schema: scan.full}
	last := ""
	for split, err := range scan.Splits(ctx) {
		if err != nil {
			return Info{}, err
		}
		info.Parts++
		if split.Path != last {
			last = split.Path
			if err := info.file(ctx, scan, split.Path); err != nil {
				return Info{}, err
			}
		}
		if split.Exact {
			info.Rows += split.Rows
		} else if err := info.count(ctx, scan, split); err != nil {
			return Info{}, err
		}
	}
	slices.Sort(info.Compression)
	return info, nil
}

// file adds one more file.
func (info *Info) file(ctx context.Context, scan *fileScan, path string) error {
	in, err := openInput(ctx, stage.Env{}, scan.fs, path)
	if err != nil {
		return err
	}
	defer in.Close()
	info.Files++
	info.Bytes += in.info.Size()
	if info.Format == ParquetFormat {
		f, err := openParquet(in, nil)
		if err != nil {
			return err
		}
		for _, rg := range f.MetaData().RowGroups {
			for _, col := range rg.Columns {
				info.compressed(strings.ToLower(col.GetMetaData().GetCodec().String()))
			}
		}
		return nil
	}
	s, err := in.content()
	if err != nil {
		return err
	}
	defer s.Close()
	info.compressed(s.codec)
	return nil
}

func (info *Info) compressed(codec string) {
	if codec == "" || codec == "uncompressed" {
		codec = "none"
	}
	if !slices.Contains(info.Compression, codec) {
		info.Compression = append(info.Compression, codec)
	}
}

// count reads a split.
func (info *Info) count(ctx context.Context, scan *fileScan, split stage.Split) error {
	r, err := scan.Open(ctx, stage.Env{}, split, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		batch, err := r.Next(ctx, 0)
		var bad *stage.RowError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad) && bad.Skippable:
			info.BadRows++
			continue
		case err != nil:
			return err
		}
		info.Rows += int64(batch.NumRows())
		batch.Release()
	}
}
