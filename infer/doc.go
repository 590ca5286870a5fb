// Package infer runs ONNX models on the CPU and, where package infer/gpu is imported, on GPUs: it
// opens a model as people have it (a Hugging Face folder), says what is in it, and makes stages of
// it that embed or classify text. Underneath is ONNX Runtime, loaded at run time as a shared
// library: this package builds with plain `go build`, wherever it is imported.
//
//	model, err := infer.Open(ctx, infer.Config{Path: "models/all-MiniLM-L6-v2"})
//	if err != nil { … }
//	defer model.Close()
//	task, err := model.Embed(infer.EmbedConfig{Column: "text"})
//
// A model of any other kind runs between columns of numbers: [Model.Infer]. Images come to it as
// columns of bytes, which it brings into its own form where it runs: [Images].
//
// # One session, several callers
//
// A model's weights are loaded once. All workers of all stages made from a [Model] call
// the same session at the same time, each from its own thread with ONNX Runtime's own
// pools kept down to that thread: on a CPU that is as fast as one call over all cores
// when the machine is idle, and faster when it is shared. Each worker has its own tensors
// in C memory, which it fills anew for each run.
//
// # Runs
//
// A batch goes through the model in several runs: its rows are put in order of length
// and cut so that little is padded and no run is larger than [Config.RunTokens]. That
// bounds the memory of a run, and the time until a cancelled one ends. How a batch is cut
// depends on the lengths of its rows and nothing else, so that the same batch gives the
// same bits, whoever works on it.
package infer
