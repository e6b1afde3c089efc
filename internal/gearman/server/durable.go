package server

import (
	"bytes"
	"context"
	"errors"
	"time"

	"procops/internal/gearman/wire"
	"procops/internal/store"
)

// pending is a background job that a connection has submitted and that is not
// recorded yet.
type pending struct {
	job    *job
	place  int
	look   bool   // there may be one with its key on disk
	twin   uint64 // that one
	joined bool   // the job existed before, as one of which clients alone knew
}

// record has a job recorded with the next settlement, after which its client hears
// of it.
func (c *conn) record(j *job) {
	s, f := c.server, j.fn
	p := pending{job: j, joined: j.state != StateNew}
	if !p.joined {
		shelf := &f.disk[j.priority]
		switch {
		case s.memory <= int64(s.cfg.Memory) && shelf.ready+shelf.coming == 0:
		case j.later(c.now):
			p.place = placeLater
		default:
			p.place = placeWaits
			shelf.coming++
		}
		p.look = j.keySize > 0 && f.shelved > 0
	}
	c.pending = append(c.pending, p)
}

// settle records what the connection has to have recorded, and then answers. The
// server is unlocked meanwhile. Many connections settle with one transaction.
func (c *conn) settle() {
	if len(c.pending) == 0 && len(c.ended) == 0 {
		return
	}
	s := c.server
	waiting, ended := c.pending, c.ended
	c.pending, c.ended = nil, nil
	rows, look := make([]row, len(waiting)), false
	for i, p := range waiting {
		rows[i] = rowOf(p.job, p.place)
		look = look || p.look
	}
	var err error
	s.pause(func() {
		if look {
			s.loading.RLock()
		}
		err = s.store.Update(context.Background(), func(tx *store.Tx) error { return saveBatch(tx, waiting, rows, ended) })
	})
	if err != nil {
		s.log.Error().Err(err).Msg("cannot record jobs")
		c.ended = append(c.ended, ended...) // tried again with the next ones
	}
	for i := range waiting {
		c.settled(&waiting[i], err)
	}
	if look {
		s.loading.RUnlock()
	}
	// The memory of this batch is for the next one, unless that has begun.
	if c.pending == nil {
		clear(waiting)
		c.pending = waiting[:0]
	}
	if c.ended == nil {
		c.ended = ended[:0]
	}
}

// saveBatch records jobs and removes those that have ended.
func saveBatch(tx *store.Tx, waiting []pending, rows []row, ended []uint64) error {
	add := rows
	for i := range waiting {
		p := &waiting[i]
		if !p.look {
			continue
		}
		twin, err := byKey(tx, rows[i].function, rows[i].key)
		if err != nil {
			return err
		}
		p.twin = twin
	}
	if hasTwins(waiting) {
		add = nil
		for i := range waiting {
			if waiting[i].twin == 0 {
				add = append(add, rows[i])
			}
		}
	}
	if err := insert(tx, add); err != nil {
		return err
	}
	return remove(tx, ended)
}

func hasTwins(waiting []pending) bool {
	for i := range waiting {
		if waiting[i].twin != 0 {
			return true
		}
	}
	return false
}

// settled goes on with a job once it is known whether it could be recorded.
func (c *conn) settled(p *pending, err error) {
	s, j := c.server, p.job
	if p.joined {
		c.settledJoined(j, err)
		return
	}
	if p.place == placeWaits {
		j.fn.disk[j.priority].coming--
	}
	defer func() {
		if j.rare != nil && j.rare.recorded != nil {
			close(j.rare.recorded)
			j.rare.recorded = nil
		}
	}()
	if err == nil && p.twin == 0 {
		if twin := s.twin(j); twin != nil {
			// It has come from the disk meanwhile.
			p.twin = twin.id
			err = c.replace(j, twin)
		}
	}
	switch {
	case err != nil:
		s.move(j, TriggerDrop)
		s.forget(j)
		c.answer(wire.Error, []byte(codeQueue), []byte("Job cannot be recorded"))
		return
	case p.twin != 0:
		j.fn.stats.submitted--
		j.fn.stats.joined++
		s.move(j, TriggerDrop)
		s.forget(j)
		c.created(p.twin)
		return
	case p.place != placeMemory:
		s.shelve(j, p.place)
	default:
		j.durable = true
		s.start(j, time.Now())
	}
	c.created(j.id)
}

// twin returns a job that was there before a new one with the same key.
func (s *Server) twin(j *job) *job {
	hash, ok := s.hash(j.key(), j.workload())
	if !ok {
		return nil
	}
	for other := j.fn.byKey[hash]; other != nil; other = other.sameHash {
		if other != j && other.state != StateNew && bytes.Equal(other.data[:other.keySize], j.key()) &&
			(string(j.key()) != keyIsWorkload || bytes.Equal(other.workload(), j.workload())) {
			return other
		}
	}
	return nil
}

// replace has a twin done instead of a new job that was recorded, which nobody may
// find any more.
func (c *conn) replace(j, twin *job) (err error) {
	s := c.server
	twin.wanted = true
	var add []row
	if !twin.durable {
		add = append(add, rowOf(twin, placeMemory))
	}
	s.pause(func() {
		err = s.store.Update(context.Background(), func(tx *store.Tx) error {
			if err := insert(tx, add); err != nil {
				return err
			}
			return remove(tx, []uint64{j.id})
		})
	})
	switch {
	case err != nil:
		c.ended = append(c.ended, j.id)
	case len(add) > 0 && (twin.state == StateDone || twin.state == StateDropped):
		c.ended = append(c.ended, twin.id) // it has ended meanwhile
	case len(add) > 0:
		twin.durable = true
	}
	return err
}

// settledJoined goes on with a job that existed before.
func (c *conn) settledJoined(j *job, err error) {
	if err != nil {
		c.answer(wire.Error, []byte(codeQueue), []byte("Job cannot be recorded"))
		return
	}
	j.durable = true
	c.created(j.id)
	if j.state == StateDone || j.state == StateDropped {
		c.ended = append(c.ended, j.id) // it has ended meanwhile
	}
}

// shelve leaves a job that was recorded on disk only.
func (s *Server) shelve(j *job, place int) {
	f := j.fn
	f.shelved++
	s.onDisk++
	if place == placeLater {
		s.move(j, TriggerSchedule)
		f.later[j.priority]++
		s.setShelf(j.rare.runAt, true)
	} else {
		s.move(j, TriggerAccept)
		f.disk[j.priority].ready++
	}
	s.forget(j)
	f.total++ // it has not ended
	if place == placeWaits {
		s.wake(f, s.cfg.WorkerWakeup)
	}
}

// setShelf notes when jobs come due that are on disk; sooner: only if that is
// before what is known.
func (s *Server) setShelf(at int64, sooner bool) {
	if sooner && s.clock.shelf != 0 && s.clock.shelf <= at {
		return
	}
	s.clock.shelf = at
	s.clock.ring()
}

// awaitRecord waits until it is known whether a new job could be recorded.
func (c *conn) awaitRecord(j *job) {
	c.settle()
	if j.state != StateNew {
		return
	}
	rare := j.extra()
	if rare.recorded == nil {
		rare.recorded = make(chan struct{})
	}
	recorded := rare.recorded
	c.server.pause(func() { <-recorded })
}

const (
	// loadAtOnce is how many jobs come from the disk at once.
	loadAtOnce = 1000
	// loadRoom is how much memory those may take, in parts of what durable jobs may.
	loadRoom = 4
)

// unshelve takes jobs of a queue from the disk. The server is unlocked meanwhile;
// afterwards the queue may be empty again.
func (c *conn) unshelve(f *function, priority int) {
	s := c.server
	c.settle()
	s.pause(func() {
		s.loading.Lock()
		defer s.loading.Unlock()
		s.mu.Lock()
		needed := s.head(&f.queue[priority]) == nil && f.disk[priority].ready > 0
		s.mu.Unlock()
		if needed {
			s.loadQueue(f, priority)
		}
	})
}

// loadQueue takes jobs of a queue from the disk; s.loading is held.
func (s *Server) loadQueue(f *function, priority int) {
	var rows []row
	err := s.store.Update(context.Background(), func(tx *store.Tx) (err error) {
		rows, err = load(tx, f.name, priority, loadAtOnce, int64(s.cfg.Memory)/loadRoom)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.log.Error().Err(err).Msg("cannot load jobs from the disk")
		return
	}
	shelf := &f.disk[priority]
	if len(rows) == 0 {
		// The count was wrong, or workers would ask for ever.
		s.log.Error().Str("function", f.name).Int("count", shelf.ready).Msg("defect: jobs that were counted are not on disk")
		s.unshelved(f, shelf.ready)
		f.total -= shelf.ready
		shelf.ready = 0
		return
	}
	shelf.ready -= len(rows)
	s.unshelved(f, len(rows))
	f.total -= len(rows)
	now := time.Now()
	for i := range rows {
		s.revive(&rows[i], now)
	}
}

func (s *Server) unshelved(f *function, n int) {
	f.shelved -= n
	s.onDisk -= n
}

// revive makes a job in memory of one on disk.
func (s *Server) revive(r *row, now time.Time) {
	f := s.function([]byte(r.function))
	if f == nil {
		return
	}
	data, keySize := r.data()
	j := &job{
		id: r.id, fn: f, data: data, keySize: uint8(keySize), priority: r.priority, tries: r.tries,
		state: StateNew, created: now.UnixMicro(), durable: true, wanted: true,
	}
	if r.runAt > now.Unix() {
		j.extra().runAt = r.runAt
	}
	if r.reducer != "" {
		j.extra().reducer = r.reducer
	}
	f.total++
	s.memory += j.cost()
	s.known(j)
	s.start(j, now)
}

// fetch takes the job with a key from the disk, for a client that waits for it.
func (c *conn) fetch(f *function, key, workload []byte) {
	s := c.server
	stored := storedKey(key, workload)
	if stored == nil {
		return
	}
	c.settle()
	var (
		r     row
		found bool
		err   error
	)
	s.pause(func() {
		s.loading.Lock()
		err = s.store.Update(context.Background(), func(tx *store.Tx) (err error) {
			r, found, err = loadOne(tx, f.name, stored)
			return err
		})
	})
	// Nobody can have recorded another one until here, and from here on this is known.
	defer s.loading.Unlock()
	switch {
	case err != nil:
		s.log.Error().Err(err).Msg("cannot load a job from the disk")
		return
	case !found:
		return
	}
	s.unshelved(f, 1)
	f.total--
	if r.place == placeLater {
		f.later[r.priority]--
	} else {
		f.disk[r.priority].ready--
	}
	s.revive(&r, time.Now())
}

// loadScheduled has those jobs wait as usual that are on disk and have come due.
func (s *Server) loadScheduled(ctx context.Context) {
	var (
		due  []tally
		next int64
	)
	s.loading.Lock()
	defer s.loading.Unlock()
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		due, next, err = promote(tx)
		return err
	})
	s.mu.Lock()
	if err != nil {
		s.log.Error().Err(err).Msg("cannot look for jobs that have come due")
		s.setShelf(time.Now().Add(time.Second).Unix(), false)
	} else {
		s.setShelf(next, false)
	}
	for _, t := range due {
		if f := s.function([]byte(t.function)); f != nil {
			f.later[t.priority] -= t.count
			f.disk[t.priority].ready += t.count
			s.wake(f, 0)
		}
	}
	dirty := s.takeDirty()
	s.mu.Unlock()
	flush(dirty)
}

// change has it recorded that a job was lost.
func (s *Server) change(c change) {
	s.changes = append(s.changes, c)
	s.clock.ring()
}

// saveChanges records which jobs were lost.
func (s *Server) saveChanges() {
	s.mu.Lock()
	changes := s.changes
	s.changes = nil
	s.mu.Unlock()
	if len(changes) == 0 {
		return
	}
	err := s.store.Update(context.Background(), func(tx *store.Tx) error {
		for _, c := range changes {
			if err := c.save(tx); err != nil {
				return err
			}
			if c.bury {
				tx.Emit(eventBuried.New(string(s.appendHandle(nil, c.id)), buriedData{Function: forPeople(c.function), Tries: int(c.tries)}))
			}
		}
		return nil
	})
	if err != nil {
		s.log.Error().Err(err).Msg("cannot record which jobs were lost")
		s.mu.Lock()
		s.changes = append(changes, s.changes...) // tried again with the next ones
		s.mu.Unlock()
	}
}

// shelved reports whether a job is on disk only.
func (c *conn) shelved(id uint64) bool { return c.ask(queryKnown, int64(id)) }

// shelvedKey reports whether a job with a key is on disk only.
func (c *conn) shelvedKey(key []byte) bool { return c.ask(queryAnyKey, storedKey(key, nil)) }

// ask asks the disk; the server is unlocked meanwhile.
func (c *conn) ask(query string, arg any) (yes bool) {
	s := c.server
	s.pause(func() {
		err := s.store.View(context.Background(), func(tx *store.Tx) (err error) {
			yes, err = exists(tx, query, arg)
			return err
		})
		if err != nil {
			s.log.Error().Err(err).Msg("cannot look for a job")
		}
	})
	return yes
}

// recover sets aside numbers and reads the jobs that an earlier server has left.
func (s *Server) recover(ctx context.Context) error {
	if s.store == nil {
		// Nobody knows which numbers others have used, but nobody has done a million
		// jobs in each second.
		s.numbers = numbers{next: uint64(time.Now().Unix()) * 1_000_000, end: 1 << 62}
		return nil
	}
	var (
		found recovered
		first uint64
	)
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		if first, err = setAside(tx, numbersAtOnce); err != nil || !s.durable {
			return err
		}
		found, err = recoverJobs(tx, int64(s.cfg.Memory))
		return err
	})
	if err != nil {
		return errors.Join(errors.New("cannot begin with the jobs of the server before"), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers = numbers{next: first, end: first + numbersAtOnce}
	now := time.Now()
	for i := range found.rows {
		s.revive(&found.rows[i], now)
	}
	for _, t := range found.waits {
		s.restock(t, false)
	}
	for _, t := range found.later {
		s.restock(t, true)
	}
	if found.first != 0 {
		s.setShelf(found.first, false)
	}
	return nil
}

// restock counts jobs that are on disk only.
func (s *Server) restock(t tally, later bool) {
	f := s.function([]byte(t.function))
	if f == nil {
		return
	}
	f.total += t.count
	s.unshelved(f, -t.count)
	if later {
		f.later[t.priority] += t.count
	} else {
		f.disk[t.priority].ready += t.count
	}
}

// numbersAtOnce is how many numbers for jobs are set aside at once: after a crash
// those that were not used are lost.
const numbersAtOnce = 1_000_000

// numbers are those for jobs to come.
type numbers struct {
	next, end uint64
	asked     bool // more are being set aside
}

// number returns the number of a new job.
func (s *Server) number() (uint64, bool) {
	n := &s.numbers
	if n.next+numbersAtOnce/2 >= n.end && !n.asked && s.store != nil {
		n.asked = true
		s.work.Go(s.moreNumbers)
	}
	if n.next == n.end {
		return 0, false
	}
	n.next++
	return n.next - 1, true
}

// moreNumbers sets more numbers aside. Those of another server may lie between.
func (s *Server) moreNumbers() {
	var first uint64
	err := s.store.Update(context.Background(), func(tx *store.Tx) (err error) {
		first, err = setAside(tx, numbersAtOnce)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.numbers
	n.asked = false
	switch {
	case err != nil:
		s.log.Error().Err(err).Msg("cannot set aside numbers for jobs")
	case first == n.end:
		n.end += numbersAtOnce
	default:
		n.next, n.end = first, first+numbersAtOnce
	}
}

// giveBackNumbers makes the next server go on where this one has ended.
func (s *Server) giveBackNumbers(ctx context.Context) error {
	if s.store == nil {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error { return giveBack(tx, s.numbers.next, s.numbers.end) })
}
