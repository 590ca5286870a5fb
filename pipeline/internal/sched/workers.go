package sched

// workers are those of an operator that are up. Their free calls stand in a queue, so that
// work goes round all workers. A call that was taken out of turn, or whose worker is gone,
// stays in the queue and is passed over when it comes up: that costs each one look in all.
type workers struct {
	up    map[int]*worker
	queue fifo[*worker]
	free  int // calls that may be taken; the queue may hold more
}

// worker is one life of a worker: another that comes up under its number is another worker.
type worker struct {
	id     int
	free   int // calls that nothing runs in
	queued int // entries of the queue
	gone   bool
	closed bool // it gets pinned tasks only
	told   bool // of a pool: it was said that it is to be closed
}

func (ws *workers) add(id, calls int) *worker {
	w := &worker{id: id, free: calls, queued: calls}
	ws.up[id] = w
	ws.free += calls
	for range calls {
		ws.queue.push(w)
	}
	return w
}

// close has a worker get pinned tasks only.
func (ws *workers) close(w *worker) {
	ws.free -= w.free
	w.closed = true
}

// remove gives the worker that was there, or nil.
func (ws *workers) remove(id int) *worker {
	w := ws.up[id]
	if w == nil {
		return nil
	}
	delete(ws.up, id)
	if !w.closed {
		ws.free -= w.free
	}
	w.free, w.gone = 0, true
	return w
}

// has says whether a task can be given a call: of one worker if it is pinned to it.
func (ws *workers) has(q queued) bool {
	if q.pin {
		w := ws.up[q.worker]
		return w != nil && w.free > 0
	}
	return ws.free > 0
}

// none says that there is no worker that any task could be given to.
func (ws *workers) none() bool {
	for _, w := range ws.up {
		if !w.closed {
			return false
		}
	}
	return true
}

// take takes a call, where has has said that there is one.
func (ws *workers) take(q queued) *worker {
	w := ws.up[q.worker]
	if !q.pin {
		w = ws.next()
	}
	w.free--
	if !w.closed {
		ws.free--
	}
	return w
}

// next takes the next entry that counts off the queue.
func (ws *workers) next() *worker {
	for {
		w := ws.queue.pop()
		w.queued--
		if w.queued < w.free && !w.closed { // else a call of this worker was taken out of turn
			return w
		}
	}
}

// giveBack frees a call.
func (ws *workers) giveBack(w *worker) {
	if w.gone {
		return
	}
	w.free++
	if w.closed {
		return
	}
	ws.free++
	if w.queued < w.free {
		w.queued++
		ws.queue.push(w)
	}
}

// fifo is a queue. Its operations take constant time, spread over all of them.
type fifo[T any] struct {
	items []T
	at    int
}

func (f *fifo[T]) len() int  { return len(f.items) - f.at }
func (f *fifo[T]) front() *T { return &f.items[f.at] }
func (f *fifo[T]) push(x T)  { f.items = append(f.items, x) }
func (f *fifo[T]) all() []T  { return f.items[f.at:] }

func (f *fifo[T]) pop() T {
	x := f.items[f.at]
	var none T
	f.items[f.at] = none
	f.at++
	switch {
	case f.at == len(f.items):
		f.items, f.at = f.items[:0], 0
	case f.at > 64 && f.at > len(f.items)/2:
		n := copy(f.items, f.items[f.at:])
		clear(f.items[n:])
		f.items, f.at = f.items[:n], 0
	}
	return x
}
