package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/gearman"
	"procops/internal/gearman/wire"
	"procops/internal/store"
	"procops/internal/unit"
)

// wantStored counts the jobs in a state directory.
func wantStored(t *testing.T, dir string, want int) {
	t.Helper()
	st, err := store.Open(t.Context(), dir, store.Options{})
	check(t, err)
	defer func() { _ = st.Close() }()
	var got int
	check(t, st.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow("SELECT count(*) FROM gearman_jobs").Scan(&got)
	}))
	if got != want {
		t.Errorf("%d jobs are recorded, want %d", got, want)
	}
}

// TestRestart has all that is known of background jobs survive, and foreground jobs
// not.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	r := start(t, openStore(t, dir), nil)
	client, worker := r.dial(), r.dial()
	client.submit(wire.SubmitJobLowBg, "f", "", "low")
	client.submit(wire.SubmitJobBg, "f", "key", "normal\x00\x00")
	client.submit(wire.SubmitJobHighBg, "f", "", "high")
	client.submit(wire.SubmitJobBg, "f", "-", "its own key")
	client.submit(wire.SubmitReduceBg, "f", "reduced", "reducer", "aggregator", "")
	running := client.submit(wire.SubmitJobHighBg, "g", "", "running")
	last := client.submit(wire.SubmitJob, "f", "", "foreground")
	worker.send(wire.CanDo, "g")
	worker.grab()
	done := client.submit(wire.SubmitJobBg, "g", "", "done")
	worker.grab()
	worker.send(wire.WorkComplete, done, "")
	worker.quiet()
	r.crash()

	r = start(t, openStore(t, dir), nil)
	client, worker = r.dial(), r.dial()
	client.submit(wire.SubmitJobBg, "f", "key", "joins")
	client.submit(wire.SubmitJobBg, "f", "-", "its own key")
	r.wantAdmin("status", "f\t5\t0\t0\ng\t1\t0\t0\n.\n")
	worker.send(wire.CanDo, "f")
	for _, want := range []string{"high", "normal\x00\x00", "its own key", "", "low"} {
		if got := worker.do(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	worker.send(wire.CanDo, "g")
	if got := worker.grab(); got != running+"|g||running" {
		t.Errorf("got %q", got)
	}
	worker.send(wire.WorkFail, running)
	worker.quiet()
	if next := client.submit(wire.SubmitJobBg, "f", "", "new"); number(next) <= number(last) {
		t.Errorf("%s after %s", next, last)
	}
	r.end()
	wantStored(t, dir, 1)
}

func number(handle string) (n int) {
	_, _ = fmt.Sscanf(handle, "H:test:%d", &n)
	return n
}

// TestNumbersAreNotReused looks at the numbers after a server that has ended well
// and after one that was killed.
func TestNumbersAreNotReused(t *testing.T) {
	for _, durability := range []gearman.ServerDurability{gearman.DurableNone, gearman.DurableProcess} {
		dir, last := t.TempDir(), 0
		for range 3 {
			r := start(t, openStore(t, dir), func(c *gearman.ServerConfig) { c.Durability = durability })
			n := number(r.dial().submit(wire.SubmitJobBg, "f", "", ""))
			if n != last+1 {
				t.Errorf("%s: %d after %d", durability, n, last)
			}
			last = n
			r.end()
		}
		r := start(t, openStore(t, dir), nil)
		r.wantAdmin("version", "OK 1.1.20\n")
		r.server.mu.Lock()
		r.server.numbers.next, r.server.numbers.end = 0, 0 // as if it were killed: nothing is given back
		r.server.mu.Unlock()
		r.end()
		r = start(t, openStore(t, dir), nil)
		if n := number(r.dial().submit(wire.SubmitJobBg, "f", "", "")); n != last+1+numbersAtOnce {
			t.Errorf("%s: %d after a crash and %d", durability, n, last)
		}
		r.end()
	}
}

// TestNumbersDoNotEnd submits more jobs than there are numbers at once.
func TestNumbersDoNotEnd(t *testing.T) {
	dir := t.TempDir()
	r := start(t, openStore(t, dir), func(c *gearman.ServerConfig) { c.Durability = gearman.DurableNone })
	client := r.dial()
	before := number(client.submit(wire.SubmitJobBg, "f", "", ""))
	r.server.mu.Lock()
	r.server.numbers.next += numbersAtOnce - 10
	r.server.mu.Unlock()
	deadline := time.Now().Add(patience)
	for many := 0; many < 30; {
		client.send(wire.SubmitJobBg, "f", "", "")
		got := client.hear()
		if handle, ok := strings.CutPrefix(got, "JOB_CREATED "); ok {
			if n := number(handle); n <= before {
				t.Fatalf("%d after %d", n, before)
			} else {
				before = n
			}
			many++
		}
		if time.Now().After(deadline) {
			t.Fatalf("no numbers: %s", got)
		}
	}
}

// TestEpochAcrossRestart has a job wait for its time, which comes after a restart:
// a worker that sleeps is woken, and not before.
func TestEpochAcrossRestart(t *testing.T) {
	for name, memory := range map[string]int{"in memory": 1 << 20, "on disk": 0} {
		t.Run(name, func(t *testing.T) {
			change := func(c *gearman.ServerConfig) { c.Memory = unit.Size(memory) }
			dir := t.TempDir()
			r := start(t, openStore(t, dir), change)
			at := time.Now().Add(2 * time.Second).Unix()
			r.dial().submit(wire.SubmitJobBg, "other", "", "fills the memory")
			handle := r.dial().submit(wire.SubmitJobEpoch, "f", "key", fmt.Sprint(at), "work")
			far := r.dial().submit(wire.SubmitJobEpoch, "f", "", "4000000000", "far")
			r.crash()

			r = start(t, openStore(t, dir), change)
			worker, client := r.dial(), r.dial()
			worker.send(wire.CanDo, "f")
			worker.ask(wire.GrabJob, nil, "NO_JOB")
			worker.ask(wire.PreSleep, nil)
			client.ask(wire.GetStatus, []string{handle}, "STATUS_RES "+handle+"|1|0|0|0")
			r.wantAdmin("prioritystatus", "other\t0\t1\t0\t0\nf\t0\t2\t0\t1\n.\n")
			worker.want("NOOP")
			if now := time.Now().Unix(); now < at {
				t.Errorf("woken %d s too early", at-now)
			}
			if got := worker.do(); got != "work" {
				t.Errorf("got %q", got)
			}
			worker.ask(wire.GrabJob, nil, "NO_JOB")
			client.ask(wire.GetStatus, []string{far}, "STATUS_RES "+far+"|1|0|0|0")
			r.end()
			wantStored(t, dir, 2)
		})
	}
}

// TestBuried has a job of which too many workers die buried, and brought back.
func TestBuried(t *testing.T) {
	dir := t.TempDir()
	bus := event.NewBus("test")
	var (
		mu    sync.Mutex
		heard []string
	)
	bus.Subscribe("worker.*", func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, e.Type+" "+e.Subject)
	})
	st, err := store.Open(t.Context(), dir, store.Options{Bus: bus})
	check(t, err)
	defer func() { _ = st.Close() }()
	r := start(t, st, func(c *gearman.ServerConfig) { c.JobRetries = 2 })
	client := r.dial()
	handle := client.submit(wire.SubmitJobBg, "f", "key", "poison")
	if got := client.submit(wire.SubmitJob, "f", "key", ""); got != handle {
		t.Errorf("not the same job: %s", got)
	}
	die := func() {
		worker := r.dial()
		worker.send(wire.CanDo, "f")
		worker.grab()
		check(t, worker.net.Close())
	}
	die()
	r.eventually("show jobs", handle+"\t1\t0\t1\n.\n")
	die()
	client.want("WORK_FAIL " + handle)
	r.eventually("show buried jobs", handle+"\t2\tf\n.\n")
	r.wantAdmin("status", "f\t0\t0\t0\n.\n")
	client.ask(wire.GetStatus, []string{handle}, "STATUS_RES "+handle+"|0|0|0|0")
	mu.Lock()
	if len(heard) != 1 || heard[0] != "worker.job.buried "+handle {
		t.Errorf("heard %q", heard)
	}
	mu.Unlock()
	r.crash()

	r = start(t, st, nil)
	r.wantAdmin("show buried jobs", handle+"\t2\tf\n.\n")
	r.wantAdmin("retry job H:test:99", textUnknownJob)
	worker := r.dial()
	worker.send(wire.CanDo, "f")
	worker.ask(wire.PreSleep, nil)
	r.wantAdmin("retry job "+handle, textOK)
	worker.want("NOOP")
	if got := worker.do(); got != "poison" {
		t.Errorf("got %q", got)
	}
	worker.quiet()
	r.wantAdmin("show buried jobs", ".\n")
	r.end()
}

// TestTriesSurvive has the count of the workers that have died survive.
func TestTriesSurvive(t *testing.T) {
	dir := t.TempDir()
	r := start(t, openStore(t, dir), nil)
	handle := r.dial().submit(wire.SubmitJobBg, "f", "", "work")
	worker := r.dial()
	worker.send(wire.CanDo, "f")
	worker.grab()
	check(t, worker.net.Close())
	r.eventually("show jobs", handle+"\t1\t0\t1\n.\n")
	r.end()
	r = start(t, openStore(t, dir), nil)
	r.wantAdmin("show jobs", handle+"\t1\t0\t1\n.\n")
}

// TestDisk has more jobs than there is memory for: they come in their order, memory
// stays bounded, and all that can be asked about a job can be asked about those on
// disk.
func TestDisk(t *testing.T) {
	const jobs, memory = 3000, 64 << 10
	dir := t.TempDir()
	change := func(c *gearman.ServerConfig) { c.Memory = memory }
	r := start(t, openStore(t, dir), change)
	client := r.dial()
	var last string
	for i := range jobs {
		last = client.submit(wire.SubmitJobBg, "f", fmt.Sprint("key ", i), fmt.Sprintf("%100d", i))
	}
	bounded := func() {
		t.Helper()
		if m := r.server.Stats().Memory; m > memory+memory/2 {
			t.Fatalf("%d bytes in memory", m)
		}
	}
	bounded()
	high := client.submit(wire.SubmitJobHighBg, "f", "", "high")
	r.wantAdmin("status", fmt.Sprintf("f\t%d\t0\t0\n.\n", jobs+1))
	r.wantAdmin("prioritystatus", fmt.Sprintf("f\t1\t%d\t0\t0\n.\n", jobs))
	for _, line := range []string{"show jobs", "show unique jobs"} {
		if got := strings.Count(r.admin(line), "\n"); got != jobs+2 {
			t.Errorf("%s: %d lines", line, got)
		}
	}
	client.ask(wire.GetStatus, []string{last}, "STATUS_RES "+last+"|1|0|0|0")
	client.ask(wire.GetStatusUnique, []string{fmt.Sprint("key ", jobs-1)}, fmt.Sprintf("STATUS_RES_UNIQUE key %d|1|0|0|0|0", jobs-1))
	if got := client.submit(wire.SubmitJobBg, "f", fmt.Sprint("key ", jobs-1), "twin"); got != last {
		t.Errorf("a twin of the last: %s, want %s", got, last)
	}
	waits := r.dial()
	if got := waits.submit(wire.SubmitJob, "f", fmt.Sprint("key ", jobs-1), "twin"); got != last {
		t.Errorf("a client waits for %s, want %s", got, last)
	}
	r.wantAdmin("cancel job H:test:2000", textOK)
	r.wantAdmin("cancel job H:test:2000", textUnknownJob)
	r.wantAdmin("status", fmt.Sprintf("f\t%d\t0\t0\n.\n", jobs))
	r.crash()

	r = start(t, openStore(t, dir), change)
	bounded()
	r.wantAdmin("status", fmt.Sprintf("f\t%d\t0\t0\n.\n", jobs))
	worker := r.dial()
	worker.send(wire.CanDo, "f")
	if got := worker.grab(); got != high+"|f||high" {
		t.Errorf("got %q", got)
	}
	worker.send(wire.WorkComplete, high, "")
	for want, i := 0, 0; i < jobs-1; i++ {
		var got int
		_, _ = fmt.Sscan(worker.do(), &got)
		switch {
		case got == jobs-1: // a client has fetched it
			continue
		case want == 1999:
			want++ // cancelled
		}
		if got != want {
			t.Fatalf("job %d, want %d", got, want)
		}
		want++
		if i%100 == 0 {
			bounded()
		}
	}
	worker.ask(wire.GrabJob, nil, "NO_JOB")
	r.wantAdmin("status", "f\t0\t0\t1\n.\n")
	r.end()
	wantStored(t, dir, 0)
}

// TestDiskAndManyPeers has jobs go to disk and come back while many submit and work.
func TestDiskAndManyPeers(t *testing.T) {
	const peers, jobs = 4, 400
	dir := t.TempDir()
	r := start(t, openStore(t, dir), func(c *gearman.ServerConfig) { c.Memory = 8 << 10 })
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		done = map[string]int{}
	)
	for range peers {
		w := r.dial()
		w.send(wire.CanDo, "f")
		all.Go(func() {
			for {
				w.send(wire.GrabJobUniq)
				got := w.hear()
				job, ok := strings.CutPrefix(got, "JOB_ASSIGN_UNIQ ")
				if !ok {
					mu.Lock()
					n := len(done)
					mu.Unlock()
					if n == peers*jobs {
						return
					}
					continue
				}
				words := strings.Split(job, "|")
				mu.Lock()
				done[words[3]]++
				mu.Unlock()
				w.send(wire.WorkComplete, words[0], "")
			}
		})
	}
	for i := range peers {
		c := r.dial()
		all.Go(func() {
			for n := range jobs {
				c.submit(wire.SubmitJobBg, "f", fmt.Sprintf("key %d.%d", i, n), fmt.Sprintf("work %d.%d", i, n))
			}
		})
	}
	all.Wait()
	for work, n := range done {
		if n != 1 {
			t.Errorf("%s was done %d times", work, n)
		}
	}
	r.wantAdmin("status", fmt.Sprintf("f\t0\t0\t%d\n.\n", peers))
	r.end()
	wantStored(t, dir, 0)
}

// TestOneKeyManyPeers has many submit the same key at once: it is one job.
func TestOneKeyManyPeers(t *testing.T) {
	const peers, rounds = 8, 50
	r := start(t, openStore(t, t.TempDir()), func(c *gearman.ServerConfig) { c.Memory = 0 })
	for round := range rounds {
		handles := make(chan string, peers)
		var all sync.WaitGroup
		for i := range peers {
			p := r.dial()
			all.Go(func() {
				typ := wire.SubmitJobBg
				if i%4 == 3 {
					typ = wire.SubmitJob
				}
				handles <- p.submit(typ, "f", fmt.Sprint("key ", round), "work")
			})
		}
		all.Wait()
		first := <-handles
		for range peers - 1 {
			if other := <-handles; other != first {
				t.Fatalf("two jobs, %s and %s", first, other)
			}
		}
	}
	r.wantAdmin("status", fmt.Sprintf("f\t%d\t0\t0\n.\n", rounds))
}

// TestDiskFull has nothing recorded: nothing is accepted.
func TestDiskFull(t *testing.T) {
	st := openStore(t, t.TempDir())
	r := start(t, st, nil)
	client, worker := r.dial(), r.dial()
	worker.send(wire.CanDo, "f")
	check(t, st.Update(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Exec("CREATE TRIGGER full BEFORE INSERT ON gearman_jobs BEGIN SELECT raise(ABORT, 'full'); END")
		return err
	}))
	client.ask(wire.SubmitJobBg, []string{"f", "key", "work"}, "ERROR QUEUE_ERROR|Job cannot be recorded")
	worker.ask(wire.GrabJob, nil, "NO_JOB")
	handle := client.submit(wire.SubmitJob, "f", "key", "work")
	client.ask(wire.SubmitJobBg, []string{"f", "key", "work"}, "ERROR QUEUE_ERROR|Job cannot be recorded")
	worker.grab()
	worker.send(wire.WorkComplete, handle, "done")
	client.want("WORK_COMPLETE " + handle + "|done")
	r.wantAdmin("status", "f\t0\t0\t1\n.\n")
	if m := r.server.Stats().Memory; m != 0 {
		t.Errorf("%d bytes are in use by no job", m)
	}
}
