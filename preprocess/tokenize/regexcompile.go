package tokenize

import "unicode/utf8"

// longestProgram bounds what counted repeats may grow to.
const longestProgram = 20_000

// compiler turns a pattern's nodes into a program.
type compiler struct{ re *regex }

func (c *compiler) emit(in inst) int {
	c.re.prog = append(c.re.prog, in)
	return len(c.re.prog) - 1
}

// here is where the next instruction will stand.
func (c *compiler) here() int32 { return int32(len(c.re.prog)) }

func (c *compiler) node(n *node) error {
	if len(c.re.prog) > longestProgram {
		return refuse("it is too large")
	}
	switch n.kind {
	case nodeSet:
		c.setNode(n.set)
	case nodeConcat:
		for _, s := range n.subs {
			if err := c.node(s); err != nil {
				return err
			}
		}
	case nodeAlt:
		return c.alternatives(n.subs)
	case nodeRepeat:
		return c.repeat(n)
	case nodeLook:
		return c.look(n)
	case nodeAtomic:
		return c.within(inst{op: opAtomic}, n.subs[0])
	case nodeBack:
		c.emit(inst{op: opBack, x: int32(n.min)})
	case nodeAssert:
		c.emit(inst{op: opAssert, x: int32(n.assert)})
	}
	return nil
}

func (c *compiler) setNode(set runeSet) {
	if len(set) == 1 && set[0][0] == set[0][1] {
		for _, b := range utf8.AppendRune(nil, set[0][0]) {
			c.emit(inst{op: opByte, x: int32(b)})
		}
		return
	}
	c.emit(inst{op: opSet, x: c.setIndex(set)})
}

func (c *compiler) setIndex(set runeSet) int32 {
	s := byteSet{set: set}
	for b := range s.ascii {
		s.ascii[b] = set.has(rune(b))
	}
	c.re.sets = append(c.re.sets, s)
	return int32(len(c.re.sets) - 1)
}

func (c *compiler) alternatives(subs []*node) error {
	var ends []int
	for i, s := range subs {
		fork := -1
		if i < len(subs)-1 {
			fork = c.emit(inst{op: opFork, x: c.here() + 1})
		}
		if err := c.node(s); err != nil {
			return err
		}
		if fork >= 0 {
			ends = append(ends, c.emit(inst{op: opJump}))
			c.re.prog[fork].y = c.here()
		}
	}
	for _, e := range ends {
		c.re.prog[e].x = c.here()
	}
	return nil
}

func (c *compiler) repeat(n *node) error {
	sub := n.subs[0]
	if sub.kind == nodeSet && n.mode != lazy {
		c.emit(inst{
			op: opSpan, neg: n.mode == possessive, x: c.setIndex(sub.set), min: int32(n.min), max: int32(n.max),
		})
		return nil
	}
	if n.mode == possessive {
		return c.within(inst{op: opAtomic}, &node{kind: nodeRepeat, min: n.min, max: n.max, subs: n.subs})
	}
	for range n.min {
		if err := c.node(sub); err != nil {
			return err
		}
	}
	if n.max == unbounded {
		return c.loop(sub, n.mode)
	}
	var forks []int
	for range n.max - n.min {
		forks = append(forks, c.emit(inst{op: opFork, x: c.here() + 1}))
		if err := c.node(sub); err != nil {
			return err
		}
	}
	for _, f := range forks {
		c.ways(f, n.mode)
	}
	return nil
}

// loop repeats a node any number of times.
func (c *compiler) loop(sub *node, mode repeatMode) error {
	fork := c.emit(inst{op: opFork, x: c.here() + 1})
	if err := c.node(sub); err != nil {
		return err
	}
	c.emit(inst{op: opJump, x: int32(fork)})
	c.ways(fork, mode)
	return nil
}

// ways gives a fork its way out, which is here, and their order.
func (c *compiler) ways(fork int, mode repeatMode) {
	in := &c.re.prog[fork]
	in.y = c.here()
	if mode == lazy {
		in.x, in.y = in.y, in.x
	}
}

// within compiles a program of its own, which an instruction runs.
func (c *compiler) within(in inst, body *node) error {
	at := c.emit(in)
	if err := c.node(body); err != nil {
		return err
	}
	c.emit(inst{op: opMatch})
	c.re.prog[at].x = c.here()
	return nil
}

// look compiles a look ahead, or behind by alternatives of a fixed length.
func (c *compiler) look(n *node) error {
	body := n.subs[0]
	if n.behind {
		alts := []*node{body}
		if body.kind == nodeAlt {
			alts = body.subs
		}
		body = &node{kind: nodeAlt}
		for _, a := range alts {
			length, ok := a.length()
			if !ok {
				return refuse("a look behind of no fixed length")
			}
			back := &node{kind: nodeBack, min: length}
			body.subs = append(body.subs, &node{kind: nodeConcat, subs: []*node{back, a}})
		}
	}
	return c.within(inst{op: opLook, neg: n.neg}, body)
}

// length is the number of code points that a node takes, if that is fixed.
func (n *node) length() (int, bool) {
	sum := 0
	switch n.kind {
	case nodeSet:
		return 1, true
	case nodeConcat:
		for _, s := range n.subs {
			k, ok := s.length()
			if !ok {
				return 0, false
			}
			sum += k
		}
	case nodeAlt:
		for i, s := range n.subs {
			k, ok := s.length()
			if !ok || i > 0 && k != sum {
				return 0, false
			}
			sum = k
		}
	case nodeRepeat, nodeAtomic:
		k, ok := n.subs[0].length()
		if n.kind == nodeAtomic {
			return k, ok
		}
		return k * n.min, ok && n.min == n.max
	}
	return sum, true
}
