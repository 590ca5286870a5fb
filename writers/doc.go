// Package writers holds the sinks: rows go into a folder of Parquet, JSON lines, CSV or
// Arrow IPC files, and the files of a job become visible as one set.
//
// # What stands in an output
//
//	OUT/part-000000.parquet        one file for each part that has rows
//	OUT/part-000000-0001.parquet   where a part is split ([Config.MaxRowsPerFile])
//	OUT/year=2024/part-000000.parquet   with [Config.PartitionBy]
//	OUT/_errors/part-000000.parquet     dead letters, in the schema of stage.ErrorSchema
//	OUT/_SUCCESS.json              the [Manifest], always written last
//
// A part without rows has no file. A job without rows has one file, so that its schema
// is known. Files appended to an output carry a token of their run in the name.
//
// # How a set becomes visible
//
// Until Commit everything stands in a hidden folder beside the output,
// .OUT.penstock-<fingerprint of the job>, on the same file system: every file is written
// under tmp/, synced, and renamed into files/, and then a small record of the part is
// written to records/. A job that is killed leaves this folder, and the next run of the
// same job finds its finished parts there; a run of another job clears it. A lock file
// (.OUT.penstock.lock) keeps two jobs from writing one output at a time; the kernel
// drops the lock of a process that dies.
//
// Commit writes the manifest and a journal, and then
//
//   - where the output is new or an empty folder, renames files/ to OUT;
//   - where it is overwritten, exchanges files/ and OUT in one step (RENAME_EXCHANGE),
//     and removes the old files after that. So even a program that only lists the folder
//     sees one set or the other. On a file system or system that cannot exchange, OUT is
//     renamed into the staging folder and then files/ to OUT: between the two there is no
//     OUT, and a job killed just there has its old set put back by the next Begin;
//   - where it is appended to, renames the new files into OUT and then replaces the
//     manifest. Programs that read the manifest see one set or the other; those that
//     only list the folder may see some of the new files early. What a killed append
//     moved is moved back by the next Begin. An append whose manifest was replaced has
//     happened, also if the job was killed before it could say so: the same job run
//     once more appends once more.
//
// Every file and folder is synced before anything points at it.
package writers
