package cli

import (
	"bytes"
	"errors"
	"fmt"
	goio "io"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/unit"
)

// exitTimeout is the exit code of a command that ran into its time limit, as
// with timeout(1).
const exitTimeout = 124

func workerExecCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "submit a job, wait for it and print its result",
		ArgsUsage: "FUNCTION [WORKLOAD|-]",
		Description: "The result goes to standard output as it comes, byte for byte, warnings of the\n" +
			"worker to standard error. On a terminal the progress is shown.\n\n" +
			"Exit codes: 0 the job is done, 1 it has failed, 5 no server takes it or the\n" +
			"connection was lost, 124 after --timeout.\n\n" +
			examples(
				"procops worker exec reverse 'some text'",
				"procops worker exec resize - < photo.jpg > small.jpg",
				"procops worker exec report --timeout 5m --json",
			),
		Flags: append(jobFlags(),
			timeoutFlag("give up if the job is not done within this `TIME`"),
			jsonFlag(),
		),
		Action: func(c *cli.Context) error { return workerExec(c, io) },
	}
}

// tooLongError says that a job was not done in time.
type tooLongError struct{ limit unit.Duration }

// Error tells the limit.
func (e tooLongError) Error() string { return fmt.Sprintf("it is not done within %s", e.limit) }

func workerExec(c *cli.Context, io IO) error {
	job, err := jobOf(c, io)
	if err != nil {
		return err
	}
	client, err := gearmanClient(c, io)
	if err != nil {
		return err
	}
	ctx, cancel, err := timeLimit(c, func(limit unit.Duration) error { return tooLongError{limit} })
	if err != nil {
		return err
	}
	defer cancel()
	show := &jobPrinter{io: io, terminal: isTerminal(io.Stderr)}
	if c.Bool(flagJSON) {
		show.result = &bytes.Buffer{}
	}
	err = client.Execute(ctx, job, show.update)
	show.clear()
	if show.result != nil {
		err = show.printJSON(job, err)
	}
	if _, late := errors.AsType[tooLongError](err); late {
		printError(io.Stderr, err)
		return exit(exitTimeout)
	}
	return err
}

// jobPrinter shows what comes of a job.
type jobPrinter struct {
	io       IO
	terminal bool          // stderr is one
	shown    bool          // a line with the progress is on it
	result   *bytes.Buffer // keeps the result instead of printing it; may be nil
	handle   gearman.Handle
}

func (p *jobPrinter) update(u gearman.Update) error {
	switch u.Kind {
	case gearman.Created:
		p.handle = u.Handle
	case gearman.Progress:
		p.progress(u.Numerator, u.Denominator)
	case gearman.Warning:
		p.clear()
		_, err := goio.Copy(p.io.Stderr, u.Data)
		return err
	case gearman.Data, gearman.Complete:
		p.clear()
		var to goio.Writer = p.io.Stdout
		if p.result != nil {
			to = p.result
		}
		_, err := goio.Copy(to, u.Data)
		return err
	}
	return nil
}

// progress shows on a terminal how much is done.
func (p *jobPrinter) progress(done, of uint64) {
	if !p.terminal || of == 0 {
		return
	}
	fmt.Fprintf(p.io.Stderr, "\r%d of %d (%.0f%%)%s", done, of, 100*float64(done)/float64(of), clearLine)
	p.shown = true
}

// clear takes the progress off the terminal.
func (p *jobPrinter) clear() {
	if p.shown {
		fmt.Fprint(p.io.Stderr, "\r", clearLine)
		p.shown = false
	}
}

// executedView is what exec --json prints. Result is the result if it is UTF-8;
// else it is in ResultBase64. The same goes for the exception.
type executedView struct {
	handleView
	Function        string  `json:"function"`
	State           string  `json:"state"` // completed or failed
	Result          *string `json:"result,omitempty"`
	ResultBase64    []byte  `json:"result_base64,omitempty"`
	Exception       *string `json:"exception,omitempty"`
	ExceptionBase64 []byte  `json:"exception_base64,omitempty"`
}

// printJSON prints how the job has ended; ended is the error of Execute. One
// that is not the job's own is returned.
func (p *jobPrinter) printJSON(job gearman.Job, ended error) error {
	view := executedView{handleView: handleViewOf(p.handle), Function: job.Function, State: "completed"}
	failed, isFailed := errors.AsType[*gearman.JobError](ended)
	if ended != nil && !isFailed {
		return ended
	}
	view.Result, view.ResultBase64 = textOrBytes(p.result.Bytes())
	if isFailed {
		view.State = "failed"
		if failed.Exception != nil {
			view.Exception, view.ExceptionBase64 = textOrBytes(failed.Exception)
		}
	}
	if err := printJSON(p.io.Stdout, view); err != nil {
		return err
	}
	if isFailed {
		return exit(fault.Failure)
	}
	return nil
}

// textOrBytes returns data as a text if JSON can carry it as one.
func textOrBytes(data []byte) (*string, []byte) {
	if !utf8.Valid(data) {
		return nil, data
	}
	text := string(data)
	return &text, nil
}
