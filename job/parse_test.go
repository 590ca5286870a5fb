package job_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/job"
)

const fine = `
source: {format: parquet, path: in/*.parquet, columns: [id, text], filter: "score > 0.5"}
stages:
  - embed: {model: models/m, column: text, actors: 2, batch_size: 64}
  - classify: {model: models/m, labels: [a, b: all about b]}
  - select: [id, embedding]
  - drop: label
  - rename: {id: key}
  - filter: key > 1
  - with_column: {name: twice, expr: key * 2}
  - limit: 10
  - source_columns
sink: {format: parquet, path: out, mode: overwrite, max_rows_per_file: 1000, compression: zstd}
run: {memory_limit: 2GiB, cpus: 2, preserve_order: false, on_error: skip, max_errors: 5, batch_size: 32, actors: 3, seed: 7, show: 4,
  packing: off, look_ahead_rows: 500, max_batch_tokens: 4096, threads_per_actor: 2}
`

func TestParse(t *testing.T) {
	j, err := job.Parse([]byte(fine), "job.yaml")
	require.NoError(t, err)
	assert.Equal(t, job.Strings{"in/*.parquet"}, j.Source.Path)
	assert.Equal(t, job.Strings{"id", "text"}, j.Source.Columns)
	assert.Equal(t, "score > 0.5", j.Source.Filter)
	names := make([]string, len(j.Stages))
	for i, s := range j.Stages {
		names[i] = s.Name
	}
	assert.Equal(t, []string{"embed", "classify", "select", "drop", "rename", "filter", "with_column", "limit", "source_columns"}, names)
	assert.Equal(t, job.Embed{Inference: job.Inference{Model: "models/m", Actors: 2, BatchSize: 64}, Column: "text"}, j.Stages[0].Step)
	assert.Equal(t, job.Labels{{Name: "a"}, {Name: "b", Description: "all about b"}}, j.Stages[1].Step.(job.Classify).Labels)
	assert.Equal(t, job.Select{"id", "embedding"}, j.Stages[2].Step)
	assert.Equal(t, job.Drop{"label"}, j.Stages[3].Step)
	assert.Equal(t, job.Rename{"id": "key"}, j.Stages[4].Step)
	assert.Equal(t, "key > 1", j.Stages[5].Step.(job.Filter).Where.String())
	assert.Equal(t, "key * 2", j.Stages[6].Step.(job.WithColumn).Expr.String())
	assert.Equal(t, job.Limit(10), j.Stages[7].Step)
	assert.Equal(t, job.SourceColumns{}, j.Stages[8].Step)
	assert.Equal(t, job.Sink{Format: "parquet", Path: "out", Mode: "overwrite", MaxRowsPerFile: 1000, Compression: "zstd"}, j.Sink)
	no := false
	assert.Equal(t, job.Settings{MemoryLimit: 2 << 30, CPUs: 2, PreserveOrder: &no, OnError: "skip", MaxErrors: 5, BatchSize: 32, Actors: 3,
		Seed: 7, Show: 4, Packing: "off", LookAheadRows: 500, MaxBatchTokens: 4096, ThreadsPerActor: 2}, j.Settings)
}

func TestParseTakesAliases(t *testing.T) {
	j, err := job.Parse([]byte("source: {path: &p in.csv}\nstages: [filter: &f 'a > 1', filter: *f]\nsink: {path: out, file_name: 'part-{group}'}\n"), "")
	require.NoError(t, err)
	require.Len(t, j.Stages, 2)
	assert.Equal(t, j.Stages[0], j.Stages[1])
}

// TestFaults holds the messages as they are: people see them.
func TestFaults(t *testing.T) {
	const in, out = "source: {path: in.csv}\n", "sink: {path: out}\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"empty":             {"", "j.yaml:1:1: the file is empty: a job has a source and a sink"},
		"null":              {"# nothing\n", "j.yaml:1:1: the file is empty: a job has a source and a sink"},
		"not YAML":          {"source: {path: a\nsink: b", "j.yaml:1:1: not YAML: did not find expected ',' or '}'"},
		"tab":               {"source:\n\tpath: a\n", "j.yaml:2:2: not YAML: found character that cannot start any token"},
		"two documents":     {in + out + "---\n" + in, "j.yaml:3:1: a second document begins here: a file holds one job"},
		"a list":            {"- a\n", "j.yaml:1:1: want a map, not a list"},
		"a word":            {"copy\n", `j.yaml:1:1: want a map, not the string "copy"`},
		"no sink":           {in, `j.yaml:1:1: "sink" is missing`},
		"unknown section":   {in + "snk: {path: out}\n", "j.yaml:1:1: \"sink\" is missing\nj.yaml:2:1: unknown key \"snk\"; did you mean \"sink\"?"},
		"far off":           {in + out + "zzzzzz: 1\n", `j.yaml:3:1: unknown key "zzzzzz" (known: source, stages, sink, run)`},
		"twice":             {in + out + "sink: {path: b}\n", `j.yaml:3:1: the key "sink" stands here twice, first in line 2`},
		"key of a list":     {in + out + "? [a]\n: 1\n", "j.yaml:3:3: a key must be a name, not a list"},
		"merge":             {"source: &s {path: in.csv}\nsink: {<<: *s}\n", "j.yaml:2:7: sink.path: the sink has no path\nj.yaml:2:8: sink: merge keys (<<) are not known here: write the settings out"},
		"source path":       {"source: {columns: [a]}\n" + out, "j.yaml:1:9: source.path: the source has no path"},
		"source of wrong":   {"source: in.csv\n" + out, "j.yaml:1:9: source: want a map, not the string \"in.csv\""},
		"format":            {"source: {path: a, format: parqet}\n" + out, `j.yaml:1:27: source.format: there is no format "parqet"; did you mean "parquet"?`},
		"option of another": {"source: {path: a, format: jsonl, delimiter: ';'}\n" + out, `j.yaml:1:45: source.delimiter: is for csv, not for jsonl`},
		"delimiter":         {"source: {path: a, delimiter: ';;'}\n" + out, `j.yaml:1:30: source.delimiter: ";;" is not one character`},
		"type of column":    {"source: {path: a, schema: {a: in64}}\n" + out, `j.yaml:1:27: source.schema: column "a": there is no type "in64"`},
		"filter":            {"source: {path: a, filter: 'a >'}\n" + out, `j.yaml:1:27: source.filter: "a >" at its end: expected a column, a value or (`},
		"negative":          {"source: {path: a, limit: -1}\n" + out, "j.yaml:1:26: source.limit: -1 is too small: at least 0"},
		"huge":              {"source: {path: a, limit: 99999999999999999999}\n" + out, "j.yaml:1:26: source.limit: want a whole number, not the number 99999999999999999999"},
		"list item":         {"source: {path: [a, 3]}\n" + out, "j.yaml:1:20: source.path[1]: want a string, not the number 3 (put it in quotes)"},
		"null item":         {"source: {path: [a, ~]}\n" + out, "j.yaml:1:20: source.path[1]: want a value, not null"},
		"mode":              {in + "sink: {path: out, mode: overwite}\n", `j.yaml:2:25: sink.mode: there is no mode "overwite"; did you mean "overwrite"?`},
		"compression":       {in + "sink: {path: out, format: csv, compression: snappy}\n", "j.yaml:2:7: sink: csv files cannot be compressed with snappy"},
		"size":              {in + out + "run: {memory_limit: 2 gallons}\n", `j.yaml:3:21: run.memory_limit: "2 gallons" is not a size: write 512MiB, 2GiB or a number of bytes`},
		"small size":        {in + out + "run: {memory_limit: 2KiB}\n", "j.yaml:3:21: run.memory_limit: 2 KiB is too small: at least 1 MiB"},
		"one of":            {in + out + "run: {on_error: skp}\n", `j.yaml:3:17: run.on_error: "skp" is not one of fail, skip; did you mean "skip"?`},
		"bool":              {in + out + "run: {preserve_order: yes please}\n", `j.yaml:3:23: run.preserve_order: want true or false, not the string "yes please"`},
		"stages of a map":   {in + "stages: {embed: {}}\n" + out, "j.yaml:2:9: stages: want a list of stages, not a map"},
		"unknown stage":     {in + "stages:\n  - embd: {model: m}\n" + out, `j.yaml:3:5: stages[0]: there is no stage "embd"; did you mean "embed"?`},
		"stage far off":     {in + "stages: [xyzzy]\n" + out, `j.yaml:2:10: stages[0]: there is no stage "xyzzy" (known: classify, collect, drop, embed, filter, infer, limit, materialize, ner, random_sample, randomize_block_order, rename, repartition, rerank, select, similarity, source_columns, union, with_column, zeroshot, zip)`},
		"indentation":       {in + "stages:\n  - embed:\n    model: m\n" + out, "j.yaml:3:5: stages[0]: want a stage as a map of one key, such as `select: [id, text]`, not a map of 2 keys (is the indentation right?)"},
		"stage is a number": {in + "stages: [3]\n" + out, "j.yaml:2:10: stages[0]: want a stage as a map of one key, such as `select: [id, text]`, not the number 3"},
		"unknown setting":   {in + "stages:\n  - embed: {model: m, bach_size: 3}\n" + out, `j.yaml:3:23: stages[0].embed: unknown key "bach_size"; did you mean "batch_size"?`},
		"wrong type":        {in + "stages:\n  - embed: {model: m, batch_size: many}\n" + out, `j.yaml:3:35: stages[0].embed.batch_size: want a whole number or auto, not the string "many"`},
		"no batch size":     {in + out + "run: {batch_size: 0}\n", `j.yaml:3:19: run.batch_size: 0 is too small: at least 1`},
		"not even auto":     {in + out + "run: {batch_size: -1}\n", `j.yaml:3:19: run.batch_size: -1 is too small: at least 1`},
		"fraction":          {in + "stages:\n  - embed: {model: m, actors: 1.5}\n" + out, `j.yaml:3:31: stages[0].embed.actors: want a whole number, not the number 1.5`},
		"out of range":      {in + "stages:\n  - embed: {model: m, actors: 0}\n" + out, `j.yaml:3:31: stages[0].embed.actors: 0 is too small: at least 1`},
		"no such packing":   {in + out + "run: {packing: maybe}\n", `j.yaml:3:16: run.packing: "maybe" is not one of on, off`},
		"too large":         {in + "stages:\n  - embed: {model: m, batch_size: 2000000}\n" + out, `j.yaml:3:35: stages[0].embed.batch_size: 2000000 is too large: at most 1000000`},
		"missing":           {in + "stages:\n  - embed: {column: text}\n" + out, `j.yaml:3:12: stages[0].embed: "model" is missing`},
		"missing all":       {in + "stages:\n  - embed\n" + out, `j.yaml:3:5: stages[0].embed: "model" is missing`},
		"empty setting":     {in + "stages:\n  - embed: {model: ''}\n" + out, `j.yaml:3:20: stages[0].embed.model: must not be empty`},
		"nothing to select": {in + "stages:\n  - select:\n" + out, "j.yaml:3:12: stages[0].select: want settings, not null"},
		"rename a list":     {in + "stages:\n  - rename: [a, b]\n" + out, "j.yaml:3:13: stages[0].rename: want a map, not a list"},
		"expression":        {in + "stages:\n  - with_column: {name: a, expr: 'length('}\n" + out, `j.yaml:3:34: stages[0].with_column.expr: "length(" at its end: expected a column, a value or (`},
		"limit":             {in + "stages:\n  - limit: ten\n" + out, `j.yaml:3:12: stages[0].limit: want a number of rows, not the string "ten"`},
		"labels":            {in + "stages:\n  - classify: {model: m, labels: [[a]]}\n" + out, `j.yaml:3:34: stages[0].classify.labels: want labels as names or as name: description, not a list (line 3)`},
		"alias in itself":   {"source: {path: &p [a, *p]}\n" + out, "j.yaml:1:16: source.path[1]: want a string, not a list"},
		"several": {"source: {formt: csv, path: in}\nstages:\n  - embed: {modle: m}\nsink: {path: out, mode: [x]}\nrun: {cpus: two}\n",
			`j.yaml:1:10: source: unknown key "formt"; did you mean "format"?` + "\n" +
				`j.yaml:3:12: stages[0].embed: "model" is missing` + "\n" +
				`j.yaml:3:13: stages[0].embed: unknown key "modle"; did you mean "model"?` + "\n" +
				"j.yaml:4:25: sink.mode: want a string, not a list\n" +
				`j.yaml:5:13: run.cpus: want a whole number, not the string "two"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := job.Parse([]byte(c.yaml), "j.yaml")
			var faults job.Faults
			require.ErrorAs(t, err, &faults)
			if name == "type of column" {
				assert.Contains(t, err.Error(), c.want)
				return
			}
			assert.Equal(t, c.want, err.Error())
		})
	}
}

func TestSet(t *testing.T) {
	const text = "source: {path: in.csv}\nstages:\n  - embed: {model: m}\nsink: {path: out}\n"
	j, err := job.Config{Set: []string{"source.path=[a.csv, b.csv]", "stages.0.embed.batch_size=32", "stages.1.limit=5", "run.memory_limit=1GiB",
		"sink.path=a: b", "source.filter=x > 1 # really", "sink.file_name=*-{group}", "run.on_error='skip'"}}.Parse([]byte(text), "j.yaml")
	require.Error(t, err) // the filter has something behind it
	assert.Equal(t, `--set source.filter=x > 1 # really: source.filter: "x > 1 # really" at character 7 ("#"): this character has no meaning here`, err.Error())
	assert.Nil(t, j)

	j, err = job.Config{Set: []string{"source.path=[a.csv, b.csv]", "stages.0.embed.batch_size=32", "stages.1.limit=5", "run.memory_limit=1GiB",
		"sink.path=a: b", "source.filter=x > 1", "sink.file_name=*-{group}", "run.on_error='skip'"}}.Parse([]byte(text), "j.yaml")
	require.NoError(t, err)
	assert.Equal(t, job.Strings{"a.csv", "b.csv"}, j.Source.Path)
	assert.EqualValues(t, 32, j.Stages[0].Step.(job.Embed).BatchSize)
	assert.Equal(t, job.Limit(5), j.Stages[1].Step)
	assert.Equal(t, job.Size(1<<30), j.Settings.MemoryLimit)
	assert.Equal(t, "a: b", j.Sink.Path)
	assert.Equal(t, "*-{group}", j.Sink.FileName)
	assert.Equal(t, "skip", j.Settings.OnError)

	for set, want := range map[string]string{
		"sink.mode":                 "--set sink.mode: want key=value, such as source.path=in.csv",
		"=x":                        "--set =x: want key=value, such as source.path=in.csv",
		"sink.path.x=1":             `--set sink.path.x=1: sink.path is the string "out", and has no "x"`,
		"stages.7.limit=1":          `--set stages.7.limit=1: stages is a list of 1: there is no item "7"`,
		"stages.0.embed.actors=lot": `--set stages.0.embed.actors=lot: stages[0].embed.actors: want a whole number, not the string "lot"`,
		"source.path=[a, 3]":        `--set source.path=[a, 3]: source.path[1]: want a string, not the number 3 (put it in quotes)`,
		"sink.mod=x":                `--set sink.mod=x: sink: unknown key "mod"; did you mean "mode"?`,
	} {
		_, err := job.Config{Set: []string{set}}.Parse([]byte(text), "j.yaml")
		if assert.Error(t, err, set) {
			assert.Equal(t, want, err.Error())
		}
	}
}

func TestBatchSize(t *testing.T) {
	j, err := job.Parse([]byte("source: {path: in.csv}\nstages:\n  - embed: {model: m, batch_size: auto}\n  - embed: {model: m}\nsink: {path: out}\nrun: {batch_size: auto}\n"), "j.yaml")
	require.NoError(t, err)
	assert.Equal(t, job.AutoBatch, j.Stages[0].Step.(job.Embed).BatchSize)
	assert.Equal(t, job.AutoBatch, j.Settings.BatchSize)
	j.Pool(0, 32)
	assert.EqualValues(t, 32, j.Stages[1].Step.(job.Embed).BatchSize)
	for text, want := range map[string]job.BatchSize{"auto": job.AutoBatch, "64": 64, "1000000": 1_000_000} {
		var b job.BatchSize
		require.NoError(t, b.UnmarshalText([]byte(text)))
		assert.Equal(t, want, b)
		assert.Equal(t, text, b.String())
	}
	for _, text := range []string{"", "-1", "0", "1000001", "1e3", "automatic", "12 rows"} {
		var b job.BatchSize
		assert.Error(t, b.UnmarshalText([]byte(text)), text)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]job.Size{"0": 0, "4096": 4096, "2GiB": 2 << 30, "1.5 GiB": 3 << 29, "512MB": 512e6, "3 kB": 3000, "7B": 7, "1TiB": 1 << 40} {
		var s job.Size
		require.NoError(t, s.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, s, text)
	}
	for _, text := range []string{"", "GiB", "two", "-1", "1e30", "nan", "inf", "2 GiBs"} {
		var s job.Size
		assert.Error(t, s.UnmarshalText([]byte(text)), text)
	}
	for want, s := range map[string]job.Size{"0 B": 0, "1023 B": 1023, "1 KiB": 1024, "1.5 MiB": 3 << 19, "312 MiB": 312<<20 + 5, "2 GiB": 2 << 30, "5000 TiB": 5000 << 40} {
		assert.Equal(t, want, s.String())
	}
}

func TestParseLabels(t *testing.T) {
	for list, want := range map[string]job.Labels{
		"a,b":                          {{Name: "a"}, {Name: "b"}},
		` a , "c: x, y" ,,b: z`:        nil,
		`a,"c: x, y",b: z`:             {{Name: "a"}, {Name: "c", Description: "x, y"}, {Name: "b", Description: "z"}},
		"":                             nil,
		"one label: with: two colons ": {{Name: "one label", Description: "with: two colons"}},
	} {
		labels, err := job.ParseLabels(list)
		if strings.HasPrefix(list, " a") {
			assert.ErrorContains(t, err, `job: labels " a , \"c: x, y\" ,,b: z"`)
			continue
		}
		require.NoError(t, err, list)
		assert.Equal(t, want, labels, list)
	}
}

func TestLoadLabels(t *testing.T) {
	labels, err := job.LoadLabels("../examples/labels.txt")
	require.NoError(t, err)
	require.Len(t, labels, 10)
	assert.Equal(t, infer.Label{Name: "billing", Description: "a bill, an invoice, a price or a payment"}, labels[1])
	_, err = job.LoadLabels(file(t, "labels.txt", "a\n\n# none\n: what\n"))
	assert.ErrorContains(t, err, `labels.txt:4: ": what" has no name before the colon`)
	_, err = job.LoadLabels(file(t, "labels.txt", "# none\n"))
	assert.ErrorContains(t, err, "has no labels: write one a line")
	_, err = job.LoadLabels("/nowhere/labels.txt")
	assert.ErrorContains(t, err, "no such file")
}

// FuzzParse: whatever stands in a file, there is a job or there are faults, each at a place
// in the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(fine), "sink.path=x")
	f.Add([]byte("source: {path: in}\nsink: {path: out}\n"), "stages.0.limit=3")
	f.Add([]byte("source: &a [*a]\nstages: [{? {a: b}: c}]\nsink: *a\n"), "source.0=1")
	f.Add([]byte("a: &x [1]\nb: *x\n<<: *x\n---\n"), "=")
	f.Add([]byte("stages:\n- embed: {<<: {model: m}}\n- filter: !!binary aGk=\n- select: {}\n"), "run={show: 1}")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		j, err := job.Config{Set: []string{set}}.Parse(data, "j.yaml")
		if err == nil {
			require.NotNil(t, j)
			return
		}
		var faults job.Faults
		require.ErrorAs(t, err, &faults)
		lines := strings.Count(string(data), "\n") + 2
		for _, fault := range faults {
			require.NotEmpty(t, fault.Problem)
			if fault.File == "j.yaml" {
				require.Positive(t, fault.Line)
				require.Positive(t, fault.Column)
				require.LessOrEqual(t, fault.Line, lines+strings.Count(string(data), "\r")+strings.Count(string(data), "\u0085")+
					strings.Count(string(data), "\u2028")+strings.Count(string(data), "\u2029"))
			}
		}
	})
}
