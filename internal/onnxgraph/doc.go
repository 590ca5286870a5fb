// Package onnxgraph reads what an ONNX file says of itself, and puts steps before and behind
// the model: a prefix that takes images as bytes ([Model.Prefix]), a suffix that gives vectors
// or classes instead of hidden states ([Model.Suffix]). Both then run where the model runs, so
// that little crosses the bus to a GPU.
//
// # Splicing
//
// A file is read through a small window; weights are stepped over. A change is kept as bytes
// to be put in at, or in place of, a range of the file's graph: new nodes at its start and its
// end, new descriptions of inputs and outputs where the old ones stood. [Model.WriteTo] copies
// the file with these put in. Nothing else is decoded, so that weights, subgraphs, functions and
// whatever newer versions of ONNX add go through as they are. Constants of the new nodes are
// Constant nodes, which every version of the format takes.
//
// # Weights in files of their own
//
// A model may keep weights beside itself; the changed model still names those files relative to
// the folder that it lies in. ONNX Runtime loads it from memory ([Model.Bytes]) when the session's
// configuration entry session.model_external_initializers_file_folder_path names that folder
// ([Model.Folder]); or write it into that folder and open it there. It refuses files
// outside the model's folder, also behind links.
//
// Messages and fields are numbered as in onnx.proto (ONNX IR specification).
package onnxgraph
