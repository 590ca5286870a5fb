// Package readers holds sources: text lines, CSV, JSON Lines, Parquet and Arrow IPC over
// files, and records, ranges and functions in memory.
//
// A source is made by a constructor per format, or by [Open], which finds the format out
// from the names of the files and, failing that, from what is in them:
//
//	src := readers.Parquet(readers.ParquetConfig{Files: readers.Paths("in/*.parquet")})
//	src, err := readers.Open(ctx, readers.Config{Files: readers.Paths("in")})
//
// A path is a file, a folder or a glob with **. A folder is read with all that is below
// it, in the order of names; names that begin with "_" or "." are passed over, and so are
// files without an extension of the format. Names are listed while files are being read,
// so a folder of 100,000 files starts at once: planning looks at the first file alone.
//
// # Rows
//
// The physical row of text and JSON Lines is the number of the line, from 0, so that the
// file and row of an error are what an editor shows, less one. That of CSV counts records
// behind the header. That of Parquet and IPC counts rows of the file.
//
// A row that cannot be read gives a [stage.RowError] that is Skippable: Next goes on
// behind it. A file that is cut short or damaged gives an error that is not.
//
// # Memory
//
// Records are made with the allocator of each field in buffers that are no larger than
// their content. What a reader holds beside them (read and decompression buffers, pages)
// is booked as [stage.ReaderBuffers].
package readers
