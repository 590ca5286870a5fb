package stagetest

// Sample is the rows that Sink writes where it is given none.
var Sample = sample
