// Package sched decides what a running plan does next. It is a pure state machine: events
// go in, actions come out; it has no clock, no goroutine and no data, so that it can be
// simulated and its decisions compared with recorded ones.
//
// # The model
//
// An operator has a queue of tasks, numbered from 0 in the order they are to be delivered,
// and workers that run them. A running task yields blocks. A block is held by its operator
// from the moment it is accepted until whoever consumes it reports it free. What an ordered
// operator holds of tasks that are not its oldest unfinished one is stuck: nobody can have it
// yet.
//
// Where rows are packed, tasks come in sets: the micro-batches of one window. They are started
// in their order and run side by side, on all workers, those of the next sets with them. What
// they yield are parts, which stay with the operator: the last task of a set makes of all parts
// what goes on, and has it reserved before, so the estimate of what a task yields is of parts
// alone. The rules that speak of the oldest task, order and what is stuck, then speak of the
// oldest set; parts are stuck always.
//
// Apply takes in what happened, and accepts blocks that there is room for. When all that
// this led to was applied too, Settle says what runs next: so whoever reads a block stands in
// line when that is decided.
//
// # The rules, in order
//
//   - memory: an operator may use its share of the limit and what is left of the common
//     part. Half of the limit is dealt out in equal shares, the other half is common. What
//     counts is the blocks an operator holds and what its running tasks are expected to
//     yield next: the mean of what was seen, but no less than the peak, which fades. Past its
//     share an operator leaves room to one further downstream that waits for some and holds
//     no more, or readers would take, block by block, what an expanding stage needs at once.
//   - order: a task may not run more than Window tasks, or sets, ahead of the oldest unfinished
//     one, unless it is pinned to a worker.
//   - rate: with [ByRate], a source's task starts only within the measured rate.
//   - turn: an operator that is paused gets none, since nobody can use what it makes yet:
//     the later sides of a union, and the side of a zip that is ahead.
//   - workers and CPU: a task needs a free call of a worker and the operator's CPU tokens.
//     A generator gives its tokens back at each yield and stands in line again, so a long
//     read cannot keep a stage nearer to the model from running. Tasks that are pinned to a
//     worker go before those that any may run.
//   - next: of what may run, the operator goes first that has the fewest bytes waiting for
//     those who read them, without what is stuck; of equals, the one further downstream. If
//     the first needs more CPU than is free, what is free is kept for it.
//   - liveness: when nothing runs, nothing may run, and no worker is being opened that its
//     operator lacks, the head of the operator furthest downstream runs alone, over the limit
//     if it must be. That is counted.
//   - pools: their fewest workers are opened at once, and before any others. From the seconds and bytes of finished
//     tasks follows how many tasks of each operator must run at once for a byte per second to
//     leave the sources, and the highest rate that CPUs, devices and the largest sizes allow:
//     each pool goes in one decision to what that rate asks for, the last one with a pile
//     before it to what works that off beside it. A pool that was not measured, since its
//     models are still loading, is taken to be as slow as the slowest. On devices a pool makes
//     place for another at once if the job gets 5 % faster; else pools shrink when they were
//     too large for a while. A worker has a share of one device, which it keeps until it is
//     closed.
//   - devices: the workers of a lost one get no more tasks, and are closed once nothing runs in
//     them. Tasks that come back stand in line in their old places. Where the fewest workers of
//     all pools have no room on the devices that are left, they become fewer, down to one; where
//     that one has no room beside the workers that are open, these make room, and no other is
//     opened on a device before they have. If there is no room for one of each, the job ends.
//
// The first three stand above all others. An operator that lacks something has the name of
// the rule in its state.
//
// The order of admission, smallest buffered output first, is that of the Ray Data paper
// (arXiv 2501.12407, Algorithm 1); shares and a common part are Ray Data's own
// (ReservationOpResourceAllocator of ray 2.60); the rates are those of operational analysis
// (Denning and Buzen, 1978): the work of a station per unit that leaves the source.
//
// # Admission by rate
//
// The paper's Algorithm 2 admits source tasks at the rate at which the rest of the job is
// measured to work them off. It is there for those who ask for it ([ByRate]), below the rules
// above, and not the default: over 62 simulated jobs (the paper's memory experiment and one with
// an expanding stage before slow devices; 0.3 to 8 GB; even and skewed splits; devices up at
// once and after 30 s)
//
//   - as it is written (P sums up all operators) jobs take 20 % longer on average, -9 to
//     +90 %: operators on CPUs and on devices work side by side, and the sum says that they
//     take turns;
//   - with P of the scarcest kind of slot alone, which is what ByRate does: -0.2 % on average,
//     -13 to +4 %. Where the devices are the bottleneck and memory is plenty, such a job holds
//     less of it: 1.6 GB in the place of 4.
//
// What trying it brought is the second half of the memory rule: it was the readers' memory,
// not their rate, that kept the expanding stage waiting. That rule makes those jobs 37 to 48 %
// faster at 500 MB, and costs up to 15 % where one split in ten takes ten times as long and
// order holds back what is read behind it.
//
// # What holds it to this
//
// Package sim audits each decision against these rules, in random jobs with faults; mutants of
// the policy (see rules) must each be caught at a named fault; testdata holds recorded
// decisions. An event costs what changed and the number of operators, not the number of tasks
// or workers: under a microsecond with 10,000 splits on 500 workers.
package sched
