// Package sched decides what a running plan does next. It is a pure state machine: events
// go in, actions come out; it has no clock, no goroutine and no data, so that it can be
// simulated and its decisions compared with recorded ones.
//
// # The model
//
// An operator has a queue of tasks, numbered from 0 in the order they are to be delivered,
// and workers that run them. A running task yields blocks. A block is held by its operator
// from the moment it is accepted until whoever consumes it reports it free.
//
// # The rules, in order
//
//   - memory: an operator may use its share of the limit and what is left of the common
//     part. Half of the limit is dealt out in equal shares, the other half is common. What
//     counts is the blocks an operator holds and what its running tasks are expected to
//     yield next.
//   - order: a task may not run more than Window tasks ahead of the oldest unfinished one.
//   - turn: an operator that is paused gets none, since nobody can use what it makes yet:
//     the later sides of a union, and the side of a zip that is ahead.
//   - workers and CPU: a task needs a free call of a worker and the operator's CPU tokens.
//     A generator gives its tokens back at each yield and stands in line again, so a long
//     read cannot keep a stage nearer to the model from running.
//   - next: of what may run, the operator that holds the fewest bytes goes first; of equals,
//     the one further downstream.
//   - liveness: when nothing runs, no worker is being opened and nothing may run, the head of the operator furthest
//     downstream runs alone, over the limit if it must be. That is counted.
package sched
