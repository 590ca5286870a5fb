package expr

import "github.com/apache/arrow/go/v17/arrow"

// MayFail says whether evaluation can fail because of the values in a row: by integer arithmetic, or by a cast that not every value survives. Where
// it says no, rows may be left out or come in another order without anybody seeing it in the errors. It may say yes of what never fails.
func (b *Bound) MayFail() bool { return mayFail(b.root) }

func mayFail(n node) bool {
	switch n := n.(type) {
	case *arithNode:
		if id := n.typ.ID(); id == arrow.INT64 || id == arrow.UINT64 {
			return true
		}
	case *castNode:
		from, to := classOf(n.x.dataType()), classOf(n.to)
		total := to == classFloat || to == classBool
		if !total || from != classBool && !from.number() {
			return true
		}
	}
	for _, in := range n.inputs() {
		if mayFail(in) {
			return true
		}
	}
	return false
}
