package writers

// What the tests of the package reach of its inside.

type (
	FileSystem = fileSystem
	WriteFile  = writeFile
	ReadFile   = readFile
	OSFS       = osFS
)

var ErrNoExchange = errNoExchange

// WithFS puts a file system in the place of the operating system's.
func (c Config) WithFS(fs FileSystem) Config {
	c.fs = fs
	return c
}

var (
	RecordBytes = recordBytes
	Cut         = func(rows, bytes int64) unit { return unit{rows, bytes} }
	CutRecord   = cut
)
