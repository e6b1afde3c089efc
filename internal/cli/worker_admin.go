package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/gearman"
)

func workerAdminCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "admin",
		Usage:     "ask a job server about itself, or tell it what to do",
		ArgsUsage: "COMMAND...",
		Description: "The command is a line of the admin protocol of gearmand, which procops worker server\n" +
			"knows as well. It goes to the first server only.\n\n" +
			"  status                      the functions and their jobs\n" +
			"  prioritystatus              the same, by priority\n" +
			"  workers                     the connections and what they can do\n" +
			"  show jobs                   the jobs; also show unique jobs\n" +
			"  cancel job HANDLE           drop a job that waits\n" +
			"  maxqueue FUNCTION [N]       refuse jobs beyond N; with three numbers for the\n" +
			"                              priorities high, normal and low\n" +
			"  create function NAME        also drop function NAME\n" +
			"  version, getpid, verbose\n" +
			"  show buried jobs            procops only: what too many workers have died of;\n" +
			"                              retry job HANDLE brings one back\n" +
			"  shutdown                    procops only, on its unix socket\n\n" +
			"Exit codes: 0 done, 1 the server refuses it, 5 the server does not answer.\n\n" +
			examples(
				"procops worker admin status",
				"procops worker admin show jobs --json",
				"procops worker admin maxqueue resize 1000 --server queue2",
			),
		Flags: []cli.Flag{
			serverFlag(),
			timeoutFlag("give up if the server has not answered within this `TIME`, besides answer_timeout of the config"),
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return workerAdmin(c, io) },
	}
}

// adminList is an answer that is a list, as a table and as JSON.
type adminList struct {
	headings []string
	keys     []string // of the JSON objects
	numbers  []string // those of the keys whose values are numbers
	nameLast bool
}

// adminLists returns the lists that the admin protocol knows.
func adminLists() map[string]adminList {
	return map[string]adminList{
		"status": {
			headings: []string{"FUNCTION", "JOBS", "RUNNING", "WORKERS"},
			keys:     []string{"function", "jobs", "running", "workers"}, numbers: []string{"jobs", "running", "workers"},
		},
		"prioritystatus": {
			headings: []string{"FUNCTION", "HIGH", "NORMAL", "LOW", "WORKERS"},
			keys:     []string{"function", "high", "normal", "low", "workers"}, numbers: []string{"high", "normal", "low", "workers"},
		},
		"show jobs": {
			headings: []string{"HANDLE", "TRIES", "DROPPED", "BACKGROUND"},
			keys:     []string{"handle", "tries", "dropped", "background"}, numbers: []string{"tries", "dropped", "background"},
		},
		"show unique jobs": {headings: []string{"UNIQUE"}, keys: []string{"unique"}},
		"show buried jobs": {
			headings: []string{"HANDLE", "TRIES", "FUNCTION"},
			keys:     []string{"handle", "tries", "function"}, numbers: []string{"tries"}, nameLast: true,
		},
	}
}

func workerAdmin(c *cli.Context, io IO) error {
	words, err := args(c, 1, 6, "a COMMAND such as status")
	if err != nil {
		return err
	}
	client, err := gearmanClient(c, io)
	if err != nil {
		return err
	}
	ctx, cancel, err := timeLimit(c, noAnswer)
	if err != nil {
		return err
	}
	defer cancel()
	line, server := strings.Join(words, " "), client.Servers()[0]
	lines, err := client.Admin(ctx, server, line)
	if err != nil {
		if _, refused := errors.AsType[*gearman.ServerError](err); refused {
			return fault.Wrap(fault.Failure, err, "cannot do %q", line).WithHint("%s --help lists the commands", commandName(c))
		}
		return fmt.Errorf("cannot ask job server %w", err)
	}
	what := strings.ToLower(strings.Join(strings.Fields(line), " "))
	if list, ok := adminLists()[what]; ok {
		return list.print(io, lines, c.Bool(flagJSON))
	}
	if what == "workers" {
		return printWorkers(io, lines, c.Bool(flagJSON))
	}
	if c.Bool(flagJSON) {
		return printJSON(io.Stdout, adminAnswer{Server: string(server), Answer: strings.Join(lines, "\n")})
	}
	for _, line := range lines {
		fmt.Fprintln(io.Stdout, oneLine(line))
	}
	return nil
}

// adminAnswer is what admin --json prints of an answer that is no list.
type adminAnswer struct {
	Server string `json:"server"`
	Answer string `json:"answer"`
}

func (l adminList) print(io IO, lines []string, asJSON bool) error {
	t, objects := newTable(io.Stdout, l.headings...), []map[string]any{}
	for _, line := range lines {
		fields, err := gearman.SplitAdmin(line, len(l.keys), l.nameLast)
		if err != nil {
			return err
		}
		object := map[string]any{}
		for i, key := range l.keys {
			object[key] = fields[i]
		}
		for _, key := range l.numbers {
			text, _ := object[key].(string)
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return fmt.Errorf("an answer that procops does not understand: %q", line)
			}
			object[key] = n
		}
		t.row(fields...)
		objects = append(objects, object)
	}
	if asJSON {
		return printJSON(io.Stdout, objects)
	}
	return t.flush()
}

// peerView is a connection as workers --json prints it.
type peerView struct {
	FD        int      `json:"fd"`
	Address   string   `json:"address"`
	ID        string   `json:"id"`
	Functions []string `json:"functions"`
}

// printWorkers prints the connections of a server. A function with a space in its
// name cannot be told from two.
func printWorkers(io IO, lines []string, asJSON bool) error {
	t, peers := newTable(io.Stdout, "FD", "ADDRESS", "ID", "FUNCTIONS"), []peerView{}
	for _, line := range lines {
		before, functions, found := strings.Cut(line, " :")
		words := strings.SplitN(before, " ", 3)
		if !found || len(words) < 3 {
			return fmt.Errorf("an answer that procops does not understand: %q", line)
		}
		fd, err := strconv.Atoi(words[0])
		if err != nil {
			return fmt.Errorf("an answer that procops does not understand: %q", line)
		}
		p := peerView{FD: fd, Address: words[1], ID: words[2], Functions: strings.Fields(functions)}
		t.row(words[0], p.Address, p.ID, strings.Join(p.Functions, " "))
		peers = append(peers, p)
	}
	if asJSON {
		return printJSON(io.Stdout, peers)
	}
	return t.flush()
}
