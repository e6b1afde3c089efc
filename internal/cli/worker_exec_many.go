package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	goio "io"
	"sync"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/unit"
)

// maxWorkloadLine is the longest line that exec-many takes, in bytes.
const maxWorkloadLine = 64 << 20

func workerExecManyCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "exec-many",
		Usage:     "submit a job for each line of standard input and print the results as they come",
		ArgsUsage: "FUNCTION",
		Description: "Each line is a workload. Results come in the order in which the jobs end, each on a\n" +
			"line of its own; --json tells which line of the input each belongs to. What has\n" +
			"failed is said on standard error, with its line, and stops none of the others.\n\n" +
			"Exit codes: 0 all are done, 1 some have failed, 5 no server takes them, 124 after\n" +
			"--timeout.\n\n" +
			examples(
				"printf 'one\\ntwo\\n' | procops worker exec-many reverse",
				"ls | procops worker exec-many resize --parallel 4 --json",
			),
		Flags: []cli.Flag{
			serverFlag(),
			&cli.StringFlag{Name: "priority", Aliases: []string{"p"}, Usage: "`low`, normal or high: which jobs of the function go first", Value: string(gearman.Normal)},
			&cli.IntFlag{Name: "parallel", Aliases: []string{"j"}, Usage: "wait for at most `N` jobs at once", Value: 10},
			timeoutFlag("give up if not all are done within this `TIME`"),
			&cli.BoolFlag{Name: flagJSON, Usage: "print each result as a JSON object in a line"},
		},
		Action: func(c *cli.Context) error { return execMany(c, io) },
	}
}

func execMany(c *cli.Context, io IO) error {
	words, err := args(c, 1, 1, "the FUNCTION that the jobs are for")
	if err != nil {
		return err
	}
	if c.Int("parallel") < 1 {
		return fault.New(fault.Usage, "%s: --parallel must be at least 1", commandName(c))
	}
	job := gearman.Job{Function: words[0]}
	if err := job.Priority.UnmarshalText([]byte(c.String("priority"))); err != nil {
		return fault.Wrap(fault.Usage, err, "%s: --priority", commandName(c))
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
	m := &manyJobs{client: client, job: job, io: io, json: c.Bool(flagJSON)}
	err = m.run(ctx, c.Int("parallel"))
	if _, late := errors.AsType[tooLongError](err); late {
		printError(io.Stderr, err)
		return exit(exitTimeout)
	}
	return err
}

// manyJobs runs a job for each line and prints what comes of them.
type manyJobs struct {
	client *gearman.Client
	job    gearman.Job // without its workload
	io     IO
	json   bool

	mu     sync.Mutex // for what is printed, and below
	done   int
	failed int
}

// line is a line of the input, numbered from 1.
type line struct {
	number   int
	workload []byte
}

func (m *manyJobs) run(ctx context.Context, parallel int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lines := make(chan line)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for l := range lines {
				if err := m.one(ctx, l); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	err := m.read(ctx, lines)
	close(lines)
	workers.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case m.failed > 0:
		return fault.New(fault.Failure, "%d of %d jobs have failed", m.failed, m.failed+m.done)
	default:
		return nil
	}
}

// read hands the lines out until ctx ends.
func (m *manyJobs) read(ctx context.Context, lines chan<- line) error {
	scanner := bufio.NewScanner(m.io.Stdin)
	scanner.Buffer(nil, maxWorkloadLine)
	for n := 1; scanner.Scan(); n++ {
		select {
		case lines <- line{n, bytes.Clone(scanner.Bytes())}:
		case <-ctx.Done():
			return nil
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return fault.New(fault.Usage, "a line of standard input is longer than %s", unit.Size(maxWorkloadLine))
	}
	return scanner.Err()
}

// one runs the job of a line. Its error is one after which the others have no chance.
func (m *manyJobs) one(ctx context.Context, l line) error {
	job := m.job
	job.Workload = l.workload
	var (
		result bytes.Buffer
		handle gearman.Handle
	)
	err := m.client.Execute(ctx, job, func(u gearman.Update) error {
		switch u.Kind {
		case gearman.Created:
			handle = u.Handle
		case gearman.Data, gearman.Complete:
			_, err := goio.Copy(&result, u.Data)
			return err
		case gearman.Warning, gearman.Progress:
		}
		return nil
	})
	failed, isFailed := errors.AsType[*gearman.JobError](err)
	if err != nil && !isFailed {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if isFailed {
		m.failed++
	} else {
		m.done++
	}
	return m.print(l, handle, result.Bytes(), failed)
}

// manyView is what exec-many --json prints of a job.
type manyView struct {
	executedView

	Line int `json:"line"` // of the input, from 1
}

func (m *manyJobs) print(l line, handle gearman.Handle, result []byte, failed *gearman.JobError) error {
	if m.json {
		view := manyView{executedView{handleView: handleViewOf(handle), Function: m.job.Function, State: "completed"}, l.number}
		if failed != nil {
			view.State = "failed"
			view.Exception, view.ExceptionBase64 = textOrBytes(failed.Exception)
		} else {
			view.Result, view.ResultBase64 = textOrBytes(result)
		}
		return json.NewEncoder(m.io.Stdout).Encode(view)
	}
	if failed != nil {
		_, err := fmt.Fprintf(m.io.Stderr, "procops: line %d: %v\n", l.number, failed)
		return err
	}
	if !bytes.HasSuffix(result, []byte{'\n'}) {
		result = append(result, '\n')
	}
	_, err := m.io.Stdout.Write(result)
	return err
}
