package batcher

// SetOverhead replaces the share of a full batch that a batch itself is held to cost.
func (b *Batcher) SetOverhead(share float64) { b.overhead = share }
