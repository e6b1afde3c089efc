package proc

import (
	"fmt"
	"os"
)

// files are the descriptors of a child, by number, and what captures them.
type files struct {
	list     []*os.File
	ours     []*os.File // ends of pipes to close after the start
	captures []*capture
}

// connect opens what the child gets.
func (h *Host) connect(s *Spec, p *Process) (*files, error) {
	f := &files{list: []*os.File{s.Stdin}}
	if s.Stdin == nil {
		f.list[0] = h.null
	}
	connect := func(given *os.File, stream Stream, lines func(Line), raw func(Stream, []byte)) error {
		switch {
		case given != nil:
			f.list = append(f.list, given)
			return nil
		default:
			return f.pipe(stream, lines, raw, &h.buffers, s.Survive != "")
		}
	}
	err := connect(s.Stdout, Stdout, s.Output, s.Raw)
	if err == nil {
		err = connect(s.Stderr, Stderr, s.Output, s.Raw)
	}
	if err == nil && s.Progress != nil {
		err = connect(nil, Progress, s.Progress, nil)
	}
	if err != nil {
		f.close()
		for _, c := range f.captures {
			c.close()
		}
		return nil, fmt.Errorf("cannot create a pipe for its output: %w", err)
	}
	f.list = append(f.list, s.ExtraFiles...)
	for _, c := range f.captures {
		if c.stream != Progress {
			c.batch = s.Lines
		}
	}
	p.group.captures, p.group.streams = f.captures, len(f.captures)
	return f, nil
}

// pipe makes the next descriptor a captured pipe.
func (f *files) pipe(stream Stream, lines func(Line), raw func(Stream, []byte), pool *buffers, survives bool) error {
	c, theirs, err := newCapture(stream, pool)
	if err != nil {
		return err
	}
	if survives {
		if theirs, err = keepOpen(theirs); err != nil {
			c.close()
			return err
		}
	}
	c.lines, c.raw = lines, raw
	f.list = append(f.list, theirs)
	f.ours = append(f.ours, theirs)
	f.captures = append(f.captures, c)
	return nil
}

// numbers returns the descriptors by the number that they have in the child.
func (f *files) numbers() []int {
	numbers := make([]int, len(f.list))
	for i, file := range f.list {
		numbers[i] = -1
		if file != nil {
			numbers[i] = int(file.Fd())
		}
	}
	return numbers
}

// close closes our copies of the child's ends.
func (f *files) close() {
	for _, file := range f.ours {
		_ = file.Close()
	}
}
