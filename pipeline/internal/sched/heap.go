package sched

import "container/heap"

// taskHeap is tasks with the oldest first.
type taskHeap []*task

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].id < h[j].id }
func (h taskHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *taskHeap) Push(x any)        { *h = append(*h, x.(*task)) }
func (h *taskHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	return t
}

func (h *taskHeap) remove(t *task) {
	for i, x := range *h {
		if x == t {
			heap.Remove(h, i)
			return
		}
	}
}
