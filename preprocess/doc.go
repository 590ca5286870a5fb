// Package preprocess holds the CPU stages that stand before a model: its
// sub-packages turn raw values (text, images, sound) into what a model reads.
package preprocess
