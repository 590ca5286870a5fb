// Package job runs jobs that are written down: a source, stages and a sink, as YAML or as
// plain Go values. It is what the command line does, callable:
//
//	j, err := job.Load("job.yaml", nil)
//	if err != nil { … } // a [Faults]: every fault with its line, column and the nearest right name
//	res, err := j.Run(ctx, job.Options{})
//
// # The file
//
//	source: {path: in/*.parquet, columns: [id, text]}
//	stages:
//	  - embed: {model: build/models/all-MiniLM-L6-v2, column: text, actors: 2, batch_size: 64}
//	sink: {path: out, mode: overwrite}
//	run: {memory_limit: 2GiB, on_error: skip}
//
// A stage may bring in rows of a source of its own, which has stages of its own:
//
//	stages:
//	  - union: {source: {path: more.csv}, stages: [rename: {body: text}]}
//	  - zip: {source: {path: labels.csv}}
//
// Each stage is a map of one key, the name of a stage in a [Registry]. Programs add stages
// of their own to it and so have them in files, too:
//
//	reg := job.Default()
//	reg.Stage("shout", func(a job.Args) (job.Step, error) {
//		var s Shout
//		return s, a.Decode(&s)
//	})
//
// Settings are Go structs, read strictly: an unknown key, a wrong type and a number out of
// its range are faults, and all of them are reported at once. A job without stages copies.
// Paths are relative to the working folder.
package job
