package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// splitsAhead is how many splits are listed before they are needed: enough to keep readers
// busy over many small files, few enough that a listing of millions takes no memory.
const splitsAhead = 256

// startSource starts the lister of splits and the readers.
func (r *run) startSource(o *operator) {
	ctx := r.operatorContext(o)
	o.splitRoom = make(chan struct{}, splitsAhead)
	o.alive++
	r.wg.Go(func() {
		err := r.list(ctx, o)
		r.events <- event{kind: evListed, op: o, err: err}
		r.events <- event{kind: evGone, op: o}
	})
	o.addWorkers(r.readers(), 1)
	for w := range o.workers {
		r.wg.Go(func() { r.read(ctx, o, w) })
	}
}

func (r *run) list(ctx context.Context, o *operator) (err error) {
	defer o.recovered(r, "list: ", &err)
	for s, err := range o.node.scan.Splits(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s: list: %w", o.name, err)
		}
		select {
		case o.splitRoom <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		r.events <- event{kind: evSplits, op: o, splits: []stage.Split{s}}
	}
	return nil
}

// wantSplit makes room for the lister to give one more. The loop never waits.
func (o *operator) wantSplit() {
	select {
	case <-o.splitRoom:
	default:
	}
}

// addSplits queues splits and puts them in groups: a group ends with the split that brings
// it to GroupBytes, so groups are a function of the input alone.
func (r *run) addSplits(o *operator, splits []stage.Split) {
	for i := range splits {
		s := &splits[i]
		r.stats.addSplit(s)
		if o.stopped {
			continue
		}
		t := r.newTask(o, o.group)
		t.split = s
		r.ready(t, sched.Event{Bytes: max(s.Bytes, 0)})
		if o.groupBytes += max(s.Bytes, 1); o.groupBytes >= r.cfg.GroupBytes && !r.cfg.Unordered {
			o.groupBytes = 0
			o.group++
		}
	}
}

// read is one reader: it takes splits until there are no more.
func (r *run) read(ctx context.Context, o *operator, w int) {
	r.events <- event{kind: evUp, op: o, worker: w}
	for t := range o.workers[w].tasks {
		c := &call{r: r, op: o, t: t, worker: w, started: time.Now()}
		c.env = r.env(o, stage.Blocks)
		c.env.Reserve = c.reserve
		err := c.readSplit(ctx)
		c.done(err)
	}
	r.events <- event{kind: evGone, op: o}
}

func (c *call) readSplit(ctx context.Context) (err error) {
	defer c.op.recovered(c.r, c.file(), &err)
	reader, err := c.op.node.scan.Open(ctx, c.env, *c.t.split, 0)
	if err != nil {
		return c.readError(err)
	}
	defer func() {
		if e := reader.Close(); e != nil && err == nil {
			err = c.readError(e)
		}
	}()
	for {
		b, err := reader.Next(ctx, c.r.cfg.BlockBytes)
		var row *stage.RowError
		switch {
		case err == nil:
			if c.op.source > 0 {
				b.Parts[0].Origin = b.Parts[0].Origin.WithInput(c.op.source)
			}
			if err := c.tooLarge(b); err != nil {
				b.Release()
				return err
			}
			if err := c.handOver(ctx, []*block{c.newBlock(b)}); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &row) && row.Skippable:
			c.failed = append(c.failed, row)
			if len(c.failed) >= failuresAtOnce || !c.r.cfg.OnError.Skip {
				if err := c.handOver(ctx, nil); err != nil {
					return err
				}
			}
		default:
			return c.readError(err)
		}
	}
}

// file is the file of the call's split, in front of what is wrong there.
func (c *call) file() string {
	if c.t.split.Path == "" {
		return ""
	}
	return c.t.split.Path + ": "
}

// readError says which source an error is of, and which file unless it does so itself.
func (c *call) readError(err error) error {
	file := c.file()
	if strings.Contains(err.Error(), c.t.split.Path) {
		file = ""
	}
	return fmt.Errorf("%s: %s%w", c.op.name, file, err)
}

// recovered makes an error of a panic. It is to be deferred. at is where it was, in front of
// what is wrong there.
func (o *operator) recovered(r *run, at string, err *error) {
	if p := recover(); p != nil {
		r.cfg.Log.Error("panic", "operator", o.name, "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("%s: %spanic: %v", o.name, at, p)
	}
}

// failuresAtOnce bounds the failed rows that a call keeps before it hands them over.
const failuresAtOnce = 1024
