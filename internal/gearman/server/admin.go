package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/store"
)

// posedVersion is the version of gearmand that the admin protocol is that of.
const posedVersion = "1.1.20"

// The answers of the admin protocol, as gearmand has them.
const (
	textOK             = "OK\r\n"
	textUnknownCommand = "ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n"
	textArguments      = "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%s\r\n"
	textUnknownShow    = "ERR UNKNOWN_SHOW_ARGUMENTS\r\n"
	textUnknownJob     = "ERR UNKNOWN_JOB\r\n"
	textUnknownError   = "ERR UNKNOWN_ERROR\r\n"
	textNoFunction     = "ERR function not found\r\n"
	textInUse          = "ERR there are still connected workers or executing clients\r\n"
	textTooMany        = "ERR CREATE_FUNCTION %s\r\n"
	textEnd            = ".\n"
)

// admin answers a line of the admin protocol.
func (c *conn) admin(line []byte) {
	c.settle()
	words := splitLine(line)
	text := c.command(words)
	c.out.share([]byte(text))
	c.mark()
}

// splitLine splits a line as gearmand does: at any number of spaces, and one at the
// end has an empty word behind it.
func splitLine(line []byte) (words []string) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	line, _, _ = bytes.Cut(line, []byte{0})
	for {
		word, rest, more := bytes.Cut(line, []byte(" "))
		words = append(words, string(word))
		if !more {
			return words
		}
		line = bytes.TrimLeft(rest, " ")
	}
}

// command does what a line says and returns the answer.
func (c *conn) command(words []string) string {
	s := c.server
	if text, ok := s.question(words); ok {
		return text
	}
	switch name := strings.ToLower(words[0]); {
	case name == "show" && len(words) > 1:
		return c.show(words[1:])
	case name == "cancel" && len(words) > 2:
		return c.cancel(words)
	case name == "retry" && len(words) == 3 && strings.EqualFold(words[1], "job"):
		return c.retry(words[2])
	case name == "create":
		return s.createFunction(words)
	case name == "drop":
		return s.dropFunction(words)
	case name == "maxqueue":
		return s.maxQueue(words)
	case name == "shutdown" && c.isOperator():
		return s.shutdown()
	}
	return fmt.Sprintf(textUnknownCommand, words[0])
}

// question answers what changes nothing; false if it is something else.
func (s *Server) question(words []string) (string, bool) {
	switch strings.ToLower(words[0]) {
	case "status":
		return s.statusText(), true
	case "prioritystatus":
		return s.priorityText(), true
	case "workers":
		return s.workersText(), true
	case "version":
		return "OK " + posedVersion + "\n", true
	case "verbose":
		return "OK ERROR\n", true
	case "getpid":
		return fmt.Sprintf("OK %d\n", os.Getpid()), true
	}
	return "", false
}

// order returns the functions in the order of gearmand: that of its hash table,
// where the newest comes first.
func (s *Server) order() []*function {
	all := make([]*function, 0, len(s.functions))
	for _, f := range s.functions {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *function) int {
		return cmp.Or(cmp.Compare(bucket(a.name), bucket(b.name)), cmp.Compare(b.serial, a.serial))
	})
	return all
}

// buckets is the size of gearmand's hash tables.
const buckets = 991

// bucket returns where gearmand's hash table has a name: Jenkins' one-at-a-time
// with signed numbers.
func bucket(name string) uint32 {
	var h int32
	for i := range len(name) {
		h += int32(int8(name[i]))
		h += h << 10
		h ^= h >> 6
	}
	h += h << 3
	h ^= h >> 11
	h += h << 15
	if h == 0 {
		h = 1
	}
	return uint32(h) % buckets
}

func (s *Server) statusText() string {
	var b strings.Builder
	for _, f := range s.order() {
		fmt.Fprintf(&b, "%s\t%d\t%d\t%d\n", f.name, f.total, f.running, len(f.workers))
	}
	return b.String() + textEnd
}

func (s *Server) priorityText() string {
	var b strings.Builder
	for _, f := range s.order() {
		fmt.Fprintf(&b, "%s\t%d\t%d\t%d\t%d\n", f.name, f.queued(high), f.queued(normal), f.queued(low), len(f.workers))
	}
	return b.String() + textEnd
}

// queued counts the jobs of a priority that wait.
func (f *function) queued(p int) int { return f.queue[p].size + f.disk[p].ready + f.later[p] }

func (s *Server) workersText() string {
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *conn) int { return cmp.Compare(b.number, a.number) })
	var b strings.Builder
	for _, c := range all {
		id := c.id
		if id == "" {
			id = "-"
		}
		fmt.Fprintf(&b, "%d %s %s :", c.number, c.host, id)
		for _, a := range slices.Backward(c.abilities) {
			b.WriteString(" " + a.fn.name)
		}
		b.WriteString("\n")
	}
	return b.String() + textEnd
}

func (c *conn) show(words []string) string {
	s := c.server
	switch words := strings.ToLower(strings.Join(words, " ")); words {
	case "jobs":
		var b strings.Builder
		for _, j := range s.inOrder(func(j *job) string { return string(s.appendHandle(nil, j.id)) }) {
			fmt.Fprintf(&b, "%s%d\t%d\t%d\t%d\n", s.prefix, j.id, j.tries, oneIf(j.ignored()), oneIf(j.wanted))
		}
		for _, j := range c.listShelved("1, 2") {
			fmt.Fprintf(&b, "%s%d\t%d\t0\t1\n", s.prefix, j.id, j.tries)
		}
		return b.String() + textEnd
	case "unique jobs":
		var b strings.Builder
		for _, j := range s.inOrder(func(j *job) string { return string(j.key()) }) {
			fmt.Fprintf(&b, "%s\n", j.key())
		}
		for _, j := range c.listShelved("1, 2") {
			key, _, _ := bytes.Cut(j.key, []byte{0})
			fmt.Fprintf(&b, "%s\n", key)
		}
		return b.String() + textEnd
	case "functions":
		return c.functionsText()
	case "buried jobs":
		var b strings.Builder
		for _, j := range c.listShelved("3") {
			fmt.Fprintf(&b, "%s%d\t%d\t%s\n", s.prefix, j.id, j.tries, j.function)
		}
		return b.String() + textEnd
	}
	return textUnknownShow
}

// functionsText is what procops alone tells: the functions with all that is known of
// their jobs, numbers separated by tabs.
func (c *conn) functionsText() string {
	buried := map[string]int{}
	c.server.pause(func() {
		var err error
		if buried, err = c.server.countBuried(context.Background()); err != nil {
			c.server.log.Error().Err(err).Msg("cannot count the buried jobs")
		}
	})
	var b strings.Builder
	now := time.Now()
	for _, f := range c.server.order() {
		s := f.figures()
		age := int64(0)
		if !s.Oldest.IsZero() {
			age = max(0, now.Sub(s.Oldest).Milliseconds())
		}
		fmt.Fprintf(&b, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", f.name, s.Queued, s.Scheduled, s.Running, s.Workers, s.OnDisk, buried[f.name], age)
		delete(buried, f.name)
	}
	for _, name := range slices.Sorted(maps.Keys(buried)) {
		fmt.Fprintf(&b, "%s\t0\t0\t0\t0\t0\t%d\t0\n", name, buried[name])
	}
	return b.String() + textEnd
}

// countBuried counts the jobs of which too many workers have died, by function.
func (s *Server) countBuried(ctx context.Context) (counts map[string]int, err error) {
	counts = map[string]int{}
	if !s.durable {
		return counts, nil
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		all, err := countStored(tx, queryBuried)
		for _, c := range all {
			counts[c.Function] += c.Jobs
		}
		return err
	})
	return counts, err
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// inOrder returns the jobs in memory in the order of gearmand's hash tables.
func (s *Server) inOrder(name func(*job) string) []*job {
	type placed struct {
		job    *job
		bucket uint32
	}
	all := make([]placed, 0, s.jobs.size)
	for _, p := range s.jobs.pages {
		for _, j := range &p.jobs {
			if j != nil && j.state != StateNew {
				all = append(all, placed{j, bucket(name(j))})
			}
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(b.job.id, a.job.id)) })
	jobs := make([]*job, len(all))
	for i, p := range all {
		jobs[i] = p.job
	}
	return jobs
}

// listShelved lists jobs that are on disk only.
func (c *conn) listShelved(places string) (all []shelvedJob) {
	s := c.server
	if !s.durable {
		return nil
	}
	s.pause(func() {
		err := s.store.View(context.Background(), func(tx *store.Tx) (err error) {
			all, err = shelved(tx, places)
			return err
		})
		if err != nil {
			s.log.Error().Err(err).Msg("cannot list jobs")
		}
	})
	return all
}

// cancel drops a job, whether or not somebody waits for it.
func (c *conn) cancel(words []string) string {
	if len(words) != 3 || !strings.EqualFold(words[1], "job") {
		return textUnknownError
	}
	s := c.server
	id, ok := s.parseHandle([]byte(words[2]))
	if !ok {
		return textUnknownJob
	}
	if j := s.jobs.get(id); j != nil && j.state != StateNew {
		j.tell(func(to *conn) { to.fail(j) })
		j.dismiss()
		durable := j.durable
		j.wanted, j.durable = false, false
		j.fn.stats.dropped++
		s.forgetKey(j)
		s.abandon(j)
		if durable {
			c.ended = append(c.ended, id)
			c.settle()
		}
		return textOK
	}
	if s.durable && c.takeOut(id) {
		return textOK
	}
	return textUnknownJob
}

// takeOut removes a job that is on disk only.
func (c *conn) takeOut(id uint64) (found bool) {
	s := c.server
	var (
		t     tally
		place int
	)
	s.pause(func() {
		s.loading.Lock()
		defer s.loading.Unlock()
		err := s.store.Update(context.Background(), func(tx *store.Tx) (err error) {
			t, place, found, err = takeOut(tx, id)
			return err
		})
		if err != nil {
			s.log.Error().Err(err).Msg("cannot cancel a job")
			found = false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		f := s.functions[t.function]
		if !found || f == nil || place == placeBuried {
			return
		}
		f.total--
		f.stats.dropped++
		s.unshelved(f, 1)
		if place == placeLater {
			f.later[t.priority]--
		} else {
			f.disk[t.priority].ready--
		}
	})
	return found
}

// retry brings a buried job back.
func (c *conn) retry(handle string) string {
	s := c.server
	id, ok := s.parseHandle([]byte(handle))
	if !ok || !s.durable {
		return textUnknownJob
	}
	var (
		t     tally
		found bool
	)
	s.pause(func() {
		s.loading.Lock()
		defer s.loading.Unlock()
		err := s.store.Update(context.Background(), func(tx *store.Tx) (err error) {
			t, found, err = digUp(tx, id)
			return err
		})
		if err != nil {
			s.log.Error().Err(err).Msg("cannot bring back a job")
			found = false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if found {
			s.restock(t, false)
			if f := s.functions[t.function]; f != nil {
				s.wake(f, s.cfg.WorkerWakeup)
			}
		}
	})
	if !found {
		return textUnknownJob
	}
	return textOK
}

func (s *Server) createFunction(words []string) string {
	if len(words) != 3 || !strings.EqualFold(words[1], "function") {
		return fmt.Sprintf(textArguments, words[0])
	}
	if s.function([]byte(words[2])) == nil {
		return fmt.Sprintf(textTooMany, words[2])
	}
	return textOK
}

func (s *Server) dropFunction(words []string) string {
	if len(words) != 3 || !strings.EqualFold(words[1], "function") {
		return fmt.Sprintf(textArguments, words[0])
	}
	f := s.functions[words[2]]
	for _, other := range s.order() {
		if f == nil && strings.EqualFold(other.name, words[2]) {
			f = other
		}
	}
	switch {
	case f == nil:
		return textNoFunction
	case len(f.workers) > 0 || f.total > 0:
		return textInUse
	}
	f.gone = true
	delete(s.functions, f.name)
	return textOK
}

// maxQueue limits the jobs of a function, all together, at the submission of one: by
// priority, or for all of them.
func (s *Server) maxQueue(words []string) string {
	if len(words) == 1 {
		return fmt.Sprintf(textArguments, words[0])
	}
	var limits [priorities]uint32
	for p := range limits {
		if len(words) > p+2 {
			limits[p] = atoi([]byte(strings.TrimPrefix(words[p+2], "+")))
		}
	}
	if len(words) <= 3 {
		limits[normal], limits[low] = limits[high], limits[high]
	}
	if f := s.functions[words[1]]; f != nil {
		f.limits = limits
	}
	return textOK
}

// isOperator reports whether the other end is a process of the same user, or of
// root, on a unix socket.
func (c *conn) isOperator() bool {
	if _, ok := c.net.(*net.UnixConn); !ok || c.raw == nil {
		return false
	}
	trusted := false
	err := c.raw.Control(func(fd uintptr) {
		peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		trusted = err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
	})
	return err == nil && trusted
}

// shutdown has the server stop as by a signal.
func (s *Server) shutdown() string {
	if !s.stopping {
		s.stopping = true
		close(s.quit)
	}
	return textOK
}
