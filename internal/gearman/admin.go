package gearman

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/fault"
)

// maxAdmin is how much of an answer of the admin protocol is taken, in bytes.
const maxAdmin = 256 << 20

// Admin sends a line of the admin protocol to a server and returns its answer, line
// by line, without the lone dot that ends a list. An answer that begins with ERR is a
// *ServerError.
func (c *Client) Admin(ctx context.Context, server Address, line string) ([]string, error) {
	if strings.ContainsAny(line, "\r\n\x00") || line == "" {
		return nil, fault.New(fault.Usage, "%q is no line of the admin protocol", line)
	}
	conn, err := c.connect(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	if err := conn.write([]byte(line + "\n")); err != nil {
		return nil, err
	}
	var (
		from  = bufio.NewReader(io.LimitReader(conn.net, maxAdmin))
		lines []string
	)
	for {
		if err := conn.net.SetReadDeadline(time.Now().Add(conn.answer)); err != nil {
			return nil, conn.failed(err)
		}
		text, err := from.ReadString('\n')
		if speaksTLS([]byte(text)) {
			return nil, wantsTLS(server)
		}
		if err != nil {
			return nil, conn.failed(err)
		}
		text = strings.TrimRight(text, "\r\n")
		switch {
		case isList(line) && text == ".":
			return lines, nil
		case len(lines) == 0 && strings.HasPrefix(text, "ERR "):
			return nil, adminRefusal(server, text)
		}
		lines = append(lines, text)
		if !isList(line) {
			return lines, nil
		}
	}
}

// isList reports whether the answer to a line is a list, which a dot ends.
func isList(line string) bool {
	words := strings.Fields(strings.ToLower(line))
	switch words[0] {
	case "status", "prioritystatus", "workers":
		return true
	case "show":
		return len(words) > 1
	}
	return false
}

// adminRefusal makes an error of a line such as "ERR UNKNOWN_JOB", in which "+"
// stands for a space.
func adminRefusal(server Address, text string) error {
	code, more, _ := strings.Cut(strings.TrimPrefix(text, "ERR "), " ")
	if strings.ToUpper(code) != code {
		code, more = "ERR", strings.TrimPrefix(text, "ERR ")
	}
	if more == "" {
		more = strings.ToLower(strings.ReplaceAll(code, "_", " "))
	}
	return &ServerError{Server: server, Code: code, Text: strings.ReplaceAll(more, "+", " ")}
}

// SplitAdmin splits a line of an answer into as many fields as a list has. The one
// with a name, which may have tabs in it, is the first, or with nameLast the last.
func SplitAdmin(line string, fields int, nameLast bool) ([]string, error) {
	words := strings.Split(line, "\t")
	more := len(words) - fields
	switch {
	case more < 0:
		return nil, fmt.Errorf("an answer that procops does not understand: %q", line)
	case nameLast:
		return append(words[:fields-1:fields-1], strings.Join(words[fields-1:], "\t")), nil
	}
	return append([]string{strings.Join(words[:more+1], "\t")}, words[more+1:]...), nil
}

// FunctionStatus is what a server says of a function.
type FunctionStatus struct {
	Name                     string
	Queued, Running, Workers int
	Detail                   *FunctionDetail // nil: the server does not tell
}

// FunctionDetail is what only the server of procops says of a function.
type FunctionDetail struct {
	Scheduled int           // jobs that wait for their time; they are not counted as queued
	OnDisk    int           // of the queued and scheduled ones: those that are on disk only
	Buried    int           // jobs of which too many workers have died
	Oldest    time.Duration // how long the first in line has waited
}

// The lists of functions, and how many fields their lines have.
const (
	listFunctions   = "show functions" // of procops
	functionsFields = 8
	listStatus      = "status"
	statusFields    = 4
	codeNoSuchList  = "UNKNOWN_SHOW_ARGUMENTS"
)

// Functions asks a server for its functions, ordered by name.
func (c *Client) Functions(ctx context.Context, server Address) ([]FunctionStatus, error) {
	list, fields := listFunctions, functionsFields
	lines, err := c.Admin(ctx, server, list)
	if refusal, ok := errors.AsType[*ServerError](err); ok && refusal.Code == codeNoSuchList {
		list, fields = listStatus, statusFields
		lines, err = c.Admin(ctx, server, list)
	}
	if err != nil {
		return nil, err
	}
	all := make([]FunctionStatus, 0, len(lines))
	for _, line := range lines {
		f, err := readFunction(line, fields)
		if err != nil {
			return nil, unreachable(server, notUnderstood+"%q to %s", line, list)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b FunctionStatus) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// readFunction reads a line of one of the lists.
func readFunction(line string, fields int) (f FunctionStatus, err error) {
	words, err := SplitAdmin(line, fields, false)
	if err != nil {
		return f, err
	}
	numbers := make([]int, fields-1)
	for i, word := range words[1:] {
		if numbers[i], err = strconv.Atoi(word); err != nil {
			return f, err
		}
	}
	if fields == statusFields {
		return FunctionStatus{Name: words[0], Queued: numbers[0] - numbers[1], Running: numbers[1], Workers: numbers[2]}, nil
	}
	return FunctionStatus{
		Name: words[0], Queued: numbers[0], Running: numbers[2], Workers: numbers[3],
		Detail: &FunctionDetail{
			Scheduled: numbers[1], OnDisk: numbers[4], Buried: numbers[5], Oldest: time.Duration(numbers[6]) * time.Millisecond,
		},
	}, nil
}
