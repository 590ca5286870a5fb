// Package overlap computes how well copies, device work and CPU work overlap in a run that was
// recorded on the emulated CUDA driver (csrc/emulator).
//
// Threads on a CPU have no device's timing, so a run's own clock says nothing. What it does say
// is what waited for what: the order of the work in each stream, the events that streams waited
// for, what the host had seen done before it queued more, and which memory each piece of work
// used. [NewGraph] makes a graph of that record, and [Graph.Run] gives each piece of work a
// duration and computes when everything would happen if the host took no time: a list schedule
// in recorded order over one copy engine each way and one compute engine a device, and a pool
// of CPU workers. A longer duration never makes anything earlier.
//
// # What is an edge
//
//   - Work in a stream comes after what is before it in the stream.
//   - A wait comes after the record of its event.
//   - What a thread queued after it had blocked on the device comes after what it blocked on.
//   - Work that uses memory of an earlier batch, or of an earlier piece of its own batch, comes
//     after all of that batch's work that the host had seen done by then: the program waited
//     for the memory. What the host had merely seen, of memory that the work doesn't use, is no
//     edge: another device's pace would have shown it later, and the program would have done
//     the same.
//   - A batch's work on the CPU comes before the batch's copy, and after all the work of the
//     batch that had its memory before.
//
// Batches are followed by their memory: a note of the CPU's work names the buffer that it
// writes, the copy that reads that buffer is of the same batch, and so on through the device.
package overlap
