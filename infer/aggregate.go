package infer

import (
	"slices"
	"strings"
)

// Aggregation is how the labels of tokens become entities. The rules are those of
// transformers' TokenClassificationPipeline (aggregation_strategy).
type Aggregation uint8

const (
	// AggregateSimple joins neighbouring tokens of one kind; a label that begins with
	// "B-" begins an entity. Words may be cut.
	AggregateSimple  Aggregation = iota
	AggregateFirst               // a word has the label of its first token
	AggregateMax                 // a word has the label of its token with the greatest score
	AggregateAverage             // a word has the label of the greatest mean over its tokens
	AggregateNone                // every token is an entity
)

var aggregationNames = []string{"simple", "first", "max", "average", "none"}

func (a Aggregation) String() string { return aggregationNames[a] }

// ParseAggregation reads the name of an aggregation: simple, first, max, average or none.
func ParseAggregation(name string) (Aggregation, error) {
	i, err := choose("aggregation", name, aggregationNames)
	return Aggregation(i), err
}

// place is where something stands in a text.
type place struct {
	from, to   int32 // in bytes
	start, end int32 // in characters
}

// labelled is a token, a word or an entity with the label that it has.
type labelled struct {
	place
	label int
	score float32
}

// tokenLabels are a text's tokens, those that are not of the text left out.
type tokenLabels struct {
	places  []place
	subword []bool    // the token goes on with the word of the one before
	scores  []float32 // of each label, token by token
	labels  int

	words []labelled
	mean  []float32
}

func (t *tokenLabels) reset() {
	t.places, t.subword, t.scores = t.places[:0], t.subword[:0], t.scores[:0]
}

func (t *tokenLabels) of(token int) []float32 { return t.scores[token*t.labels : (token+1)*t.labels] }

// best is the label with the greatest score; of equal ones the first.
func best(scores []float32) int {
	at := 0
	for i, s := range scores {
		if s > scores[at] {
			at = i
		}
	}
	return at
}

// entities appends what stands in the text, in its order, ignored labels aside.
func (t *tokenLabels) entities(how Aggregation, names *tagNames, into []labelled) []labelled {
	t.words = t.words[:0]
	for i := 0; i < len(t.places); {
		n := 1
		for how != AggregateSimple && how != AggregateNone && i+n < len(t.places) && t.subword[i+n] {
			n++
		}
		t.words = append(t.words, t.word(how, i, n))
		i += n
	}
	if how == AggregateNone {
		for _, w := range t.words {
			if !names.ignored(names.labels[w.label]) {
				into = append(into, w)
			}
		}
		return into
	}
	return group(t.words, names, into)
}

// word is what the n tokens from the one at i on have together.
func (t *tokenLabels) word(how Aggregation, i, n int) labelled {
	scores := t.of(i)
	switch {
	case how == AggregateMax:
		for k := i + 1; k < i+n; k++ {
			if slices.Max(t.of(k)) > slices.Max(scores) {
				scores = t.of(k)
			}
		}
	case how == AggregateAverage && n > 1:
		t.mean = grow(t.mean, t.labels)
		for l := range t.mean {
			sum := 0.0
			for k := i; k < i+n; k++ {
				sum += float64(t.of(k)[l])
			}
			t.mean[l] = float32(sum / float64(n))
		}
		scores = t.mean
	}
	label := best(scores)
	first, last := t.places[i], t.places[i+n-1]
	return labelled{place: place{first.from, last.to, first.start, last.end}, label: label, score: scores[label]}
}

// tagNames are the labels of a model that marks where entities begin ("B-") and go on
// ("I-"); one without such a mark goes on.
type tagNames struct {
	labels  []string
	begins  []bool
	kinds   []string // without the mark
	ignores []string
}

func newTagNames(labels, ignores []string) *tagNames {
	t := &tagNames{labels: labels, ignores: ignores}
	for _, l := range labels {
		kind, begins := strings.CutPrefix(l, "B-")
		if !begins {
			kind = strings.TrimPrefix(l, "I-")
		}
		t.kinds, t.begins = append(t.kinds, kind), append(t.begins, begins)
	}
	return t
}

func (t *tagNames) ignored(label string) bool { return slices.Contains(t.ignores, label) }

// group joins words of one kind. The score is the mean of theirs.
func group(words []labelled, names *tagNames, into []labelled) []labelled {
	for i := 0; i < len(words); {
		kind, sum, n := names.kinds[words[i].label], float64(words[i].score), 1
		for ; i+n < len(words); n++ {
			next := words[i+n].label
			if names.kinds[next] != kind || names.begins[next] {
				break
			}
			sum += float64(words[i+n].score)
		}
		e := words[i]
		last := words[i+n-1]
		e.to, e.end, e.score = last.to, last.end, float32(sum/float64(n))
		if !names.ignored(groupName(names.labels[e.label])) {
			into = append(into, e)
		}
		i += n
	}
	return into
}

// groupName is what stands behind the first "-" of a label, as transformers has it.
func groupName(label string) string {
	if _, kind, ok := strings.Cut(label, "-"); ok {
		return kind
	}
	return label
}
