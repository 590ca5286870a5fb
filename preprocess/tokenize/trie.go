package tokenize

import "sort"

// trie is a vocabulary as a double array (Aoe 1989): the child of node n by
// byte b is cell base[n]+b, if that cell's parent is n. It is read-only.
type trie struct{ cells []cell }

type cell struct {
	base, parent int32
	value        int32 // id of the token that ends here, noToken if none does
}

// root is the trie's first node; no node is its child.
const root = 0

// step is the child of node by b, or root if there is none.
func (t *trie) step(node int32, b byte) int32 {
	next := t.cells[node].base + int32(b)
	if t.cells[next].parent != node {
		return root
	}
	return next
}

// find is the node that s leads to from the root, root if none.
func (t *trie) find(s string) int32 {
	node := int32(root)
	for i := range len(s) {
		if node = t.step(node, s[i]); node == root {
			return root
		}
	}
	return node
}

// whole gives the id of a piece that isn't empty and is a whole token, noToken
// if it isn't one.
func (t *trie) whole(piece []byte) int32 {
	node := int32(root)
	for _, b := range piece {
		if node = t.step(node, b); node == root {
			return noToken
		}
	}
	return t.cells[node].value
}

// lookup gives the id of a whole token.
func (t *trie) lookup(s string) (int32, bool) {
	node := t.find(s)
	if node == root && s != "" {
		return 0, false
	}
	id := t.cells[node].value
	return id, id != noToken
}

// vocabEntry is a token and its id.
type vocabEntry struct {
	text string
	id   int32
}

// newTrie builds the trie of entries whose texts are all different. It sorts
// them in place.
func newTrie(entries []vocabEntry) *trie {
	sort.Slice(entries, func(i, k int) bool { return entries[i].text < entries[k].text })
	b := trieBuilder{entries: entries, from: 1}
	b.grow(512)
	b.cells[root].parent = root
	type job struct{ lo, hi, depth, node int }
	queue := []job{{hi: len(entries)}}
	for len(queue) > 0 {
		j := queue[0]
		queue = queue[1:]
		if j.lo < j.hi && len(entries[j.lo].text) == j.depth {
			b.cells[j.node].value = entries[j.lo].id
			j.lo++
		}
		b.children = b.children[:0]
		for lo := j.lo; lo < j.hi; {
			c := entries[lo].text[j.depth]
			hi := lo + 1
			for hi < j.hi && entries[hi].text[j.depth] == c {
				hi++
			}
			b.children = append(b.children, child{c, lo, hi})
			lo = hi
		}
		if len(b.children) == 0 {
			continue
		}
		base := b.place()
		b.cells[j.node].base = int32(base)
		for _, c := range b.children {
			b.cells[base+int(c.label)].parent = int32(j.node)
			queue = append(queue, job{c.lo, c.hi, j.depth + 1, base + int(c.label)})
		}
	}
	return &trie{cells: b.cells}
}

// trieBuilder lays nodes out, shallow ones first, so that those that every word
// passes through lie together.
type trieBuilder struct {
	entries  []vocabEntry
	cells    []cell
	children []child
	from     int // where the search for room begins
}

type child struct {
	label  byte
	lo, hi int
}

const freeCell = -1

func (b *trieBuilder) grow(n int) {
	for len(b.cells) < n {
		b.cells = append(b.cells, cell{parent: freeCell, value: noToken})
	}
}

// place finds a base under which all children fall on free cells. The cells
// reach 256 beyond any base, so that a step needs no bounds of its own.
func (b *trieBuilder) place() int {
	first := int(b.children[0].label)
	taken := 0
	for pos := max(b.from, first+1); ; pos++ {
		b.grow(pos + 512)
		if b.cells[pos].parent != freeCell {
			taken++
			continue
		}
		if base := pos - first; b.fits(base) {
			// Where nearly all is taken the next search needn't look again.
			if taken*20 >= (pos-b.from+1)*19 {
				b.from = pos
			}
			return base
		}
	}
}

func (b *trieBuilder) fits(base int) bool {
	for _, c := range b.children {
		if b.cells[base+int(c.label)].parent != freeCell {
			return false
		}
	}
	return true
}
