package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/penstock-data/penstock/job"
)

// app is the program with its surroundings, so that tests can run it in their own process.
type app struct {
	stdout, stderr io.Writer
	width          int  // of the terminal; 0: none, or not known
	bars           bool // stderr is a terminal
	color          bool // unless NO_COLOR is set
}

// grammar is the command line.
type grammar struct {
	Classify   classifyCmd   `cmd:"" help:"Label text, by a trained model or by descriptions of the labels."`
	Zeroshot   zeroshotCmd   `cmd:"" help:"Label text by labels that the model was never trained on."`
	Embed      embedCmd      `cmd:"" help:"Add embeddings of a column of text."`
	NER        nerCmd        `cmd:"" name:"ner" help:"Find the entities in text: names, places, dates."`
	Rerank     rerankCmd     `cmd:"" help:"Score how well texts answer a query."`
	Similarity similarityCmd `cmd:"" help:"Compare two columns of text."`
	Infer      inferCmd      `cmd:"" help:"Take columns of numbers through any ONNX model."`
	Run        runCmd        `cmd:"" help:"Run a job that is written down as YAML."`
	Inspect    inspectCmd    `cmd:"" help:"Say what a data file, a folder or a model holds."`
	Optimize   optimizeCmd   `cmd:"" help:"Make a smaller and faster variant of a model, and measure it."`
	Doctor     doctorCmd     `cmd:"" help:"Say what jobs need, what of it was found here, and how to get the rest."`
	Search     searchCmd     `cmd:"" help:"Find the rows of an embed output that are most like a query."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version and exit."`
}

type versionCmd struct{}

func (versionCmd) Run(a *app) error {
	fmt.Fprintln(a.stdout, versionLine())
	return nil
}

// exited is how kong's --help and --version leave the parser in the middle of it.
type exited int

// run does what the arguments say and gives the exit code.
func (a *app) run(ctx context.Context, args []string) (code int) {
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(exited)
			if !ok {
				panic(p)
			}
			code = int(e)
		}
	}()
	var g grammar
	parser, err := kong.New(&g, kong.Name("penstock"), kong.Writers(a.stdout, a.stderr),
		kong.Description("A streaming data engine for AI: Arrow batches through ONNX models, in bounded memory."),
		kong.UsageOnError(), kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": versionLine(), "model": defaultModel}, kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		return a.fail(err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	at, err := parser.Parse(args)
	if err != nil {
		return a.usage(err)
	}
	return a.fail(stopped(ctx, at.Run(a)))
}

// stopped puts the signal that ended a context in the place of what it led to.
func stopped(ctx context.Context, err error) error {
	var stop, told interrupted
	if err != nil && errors.As(context.Cause(ctx), &stop) && !errors.As(err, &told) {
		return stop
	}
	return err
}

func (a *app) usage(err error) int {
	a.complain(err)
	help := "penstock --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context.Command() != "" {
		verb, _, _ := strings.Cut(parse.Context.Command(), " ")
		help = "penstock " + verb + " --help"
	}
	fmt.Fprintf(a.stderr, "See `%s`.\n", help)
	return exitUsage
}

// skippedRows says that a job is done and has left rows out.
type skippedRows struct{}

func (skippedRows) Error() string { return "rows were skipped" }

// misuse is an error in how the program was called.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// unwell says that doctor found something that keeps jobs from running.
type unwell struct{}

func (unwell) Error() string { return "jobs cannot run here" }

// fail tells an error to the user and gives the exit code for it.
func (a *app) fail(err error) int {
	var stop interrupted
	var faults job.Faults
	var wrong misuse
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, skippedRows{}):
		return exitSkipped
	case errors.Is(err, unwell{}):
		return exitFailed
	case errors.As(err, &stop):
		a.complain(err)
		return exitSignal + int(stop.signal)
	case errors.As(err, &faults), errors.As(err, &wrong):
		a.complain(err)
		return exitUsage
	}
	a.complain(err)
	return exitFailed
}

// inner are the marks by which our packages' errors say where they come from and of what
// kind they are: for programs. People are told the rest.
var inner = regexp.MustCompile(`(?m)(^|: )(?:readers|writers|infer|job|pipeline|expr|stage): (?:not found|output exists)?(?:: )?`)

// complain prints every line of an error as one of ours.
func (a *app) complain(err error) {
	text := inner.ReplaceAllString(inner.ReplaceAllString(err.Error(), "$1"), "$1") // where two follow each other
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fmt.Fprintln(a.stderr, "penstock: "+strings.TrimSuffix(line, ": "))
	}
}
