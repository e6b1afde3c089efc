package server

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"procops/internal/store"
)

// Where a job in the state store is.
const (
	placeMemory = 0 // in the memory of the server as well
	placeWaits  = 1 // in the store only
	placeLater  = 2 // in the store only, until its time has come
	placeBuried = 3
)

// atOnce is how many jobs one statement inserts or deletes.
const atOnce = 16

const (
	insertColumns = `INSERT INTO gearman_jobs (id, function, priority, key, run_at, place, reducer, workload) VALUES `
	insertRow     = `(?, ?, ?, ?, ?, ?, ?, ?)`
	// A job that clients alone wanted may be submitted by several in the background.
	insertTwice = ` ON CONFLICT (id) DO NOTHING`

	queryLoad = `SELECT id, key, run_at, tries, reducer, workload FROM gearman_jobs
		WHERE place = 1 AND function = ? AND priority = ? ORDER BY id LIMIT ?`
	queryLoaded = `UPDATE gearman_jobs SET place = 0 WHERE place = 1 AND function = ? AND priority = ? AND id <= ?`
	queryByKey  = `SELECT id FROM gearman_jobs WHERE place IN (1, 2) AND key = ? AND function = ? ORDER BY id LIMIT 1`
	queryAnyKey = `SELECT EXISTS (SELECT 1 FROM gearman_jobs WHERE place IN (1, 2) AND key = ?)`
	queryKnown  = `SELECT EXISTS (SELECT 1 FROM gearman_jobs WHERE id = ? AND place IN (1, 2))`
	queryDue    = `SELECT function, priority, count(*) FROM gearman_jobs WHERE place = 2 AND run_at <= ? GROUP BY function, priority`
	queryLater  = `SELECT coalesce(min(run_at), 0) FROM gearman_jobs WHERE place = 2`
)

// row is a job as it is in the state store.
type row struct {
	id       uint64
	function string
	priority uint8
	key      []byte // nil: none
	runAt    int64
	place    int
	tries    uint16
	reducer  string
	workload []byte
}

// rowOf returns what is recorded of a job.
func rowOf(j *job, place int) row {
	r := row{id: j.id, function: j.fn.name, priority: j.priority, key: storedKey(j.key(), j.workload()), place: place, workload: j.workload()}
	if j.rare != nil {
		r.runAt, r.reducer = j.rare.runAt, j.rare.reducer
	}
	return r
}

// storedKey returns how a key is recorded. One that stands for the workload has a
// hash of that, so that an index finds it.
func storedKey(key, workload []byte) []byte {
	switch {
	case len(key) == 0 || string(key) == keyIsWorkload && len(workload) == 0:
		return nil
	case string(key) == keyIsWorkload:
		sum := sha256.Sum256(workload)
		return append([]byte(keyIsWorkload+"\x00"), sum[:]...)
	}
	return key
}

// data returns key, NUL and workload of a job that was read.
func (r *row) data() (data []byte, keySize int) {
	key := r.key
	if len(key) > 2 && key[0] == keyIsWorkload[0] && key[1] == 0 {
		key = key[:1]
	}
	data = make([]byte, 0, len(key)+1+len(r.workload))
	return append(append(append(data, key...), 0), r.workload...), len(key)
}

// insert records jobs.
func insert(tx *store.Tx, rows []row) error {
	for len(rows) > 0 {
		n := 1
		if len(rows) >= atOnce {
			n = atOnce
		}
		args := make([]any, 0, n*8)
		for i := range rows[:n] {
			r := &rows[i]
			var reducer []byte
			if r.reducer != "" {
				reducer = []byte(r.reducer)
			}
			args = append(args, int64(r.id), []byte(r.function), int64(r.priority), r.key, r.runAt, int64(r.place), reducer, notNil(r.workload))
		}
		if _, err := tx.Exec(insertColumns+strings.Repeat(insertRow+", ", n-1)+insertRow+insertTwice, args...); err != nil {
			return fmt.Errorf("cannot record jobs: %w", err)
		}
		rows = rows[n:]
	}
	return nil
}

func notNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// remove removes jobs that have ended.
func remove(tx *store.Tx, ids []uint64) error {
	for len(ids) > 0 {
		n := 1
		if len(ids) >= atOnce {
			n = atOnce
		}
		args := make([]any, n)
		for i, id := range ids[:n] {
			args[i] = int64(id)
		}
		if _, err := tx.Exec("DELETE FROM gearman_jobs WHERE id IN (?"+strings.Repeat(", ?", n-1)+")", args...); err != nil {
			return fmt.Errorf("cannot remove jobs that have ended: %w", err)
		}
		ids = ids[n:]
	}
	return nil
}

// change is what is to be recorded of a job that was lost.
type change struct {
	id       uint64
	tries    uint16
	bury     bool
	ended    bool   // it is to be removed, which has failed before
	function string // of a job that is buried
}

func (c change) save(tx *store.Tx) error {
	if c.ended {
		return remove(tx, []uint64{c.id})
	}
	var err error
	if c.bury {
		_, err = tx.Exec("UPDATE gearman_jobs SET tries = ?, place = 3 WHERE id = ?", int64(c.tries), int64(c.id))
	} else {
		_, err = tx.Exec("UPDATE gearman_jobs SET tries = ? WHERE id = ?", int64(c.tries), int64(c.id))
	}
	if err != nil {
		return fmt.Errorf("cannot record that job %d was lost: %w", c.id, err)
	}
	return nil
}

// byKey returns the job on disk that has a key, 0 if there is none.
func byKey(tx *store.Tx, function string, key []byte) (id uint64, err error) {
	var found int64
	err = tx.QueryRow(queryByKey, key, []byte(function)).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look for a job by its key: %w", err)
	}
	return uint64(found), nil
}

// scanRows reads jobs, while they take no more than room bytes, and at least one.
// more is true if there are others.
func scanRows(found *sql.Rows, room int64, into func(*sql.Rows) (row, error)) (rows []row, more bool, err error) {
	defer func() { _ = found.Close() }()
	for found.Next() {
		if room <= 0 && len(rows) > 0 {
			return rows, true, nil
		}
		r, err := into(found)
		if err != nil {
			return nil, false, fmt.Errorf("cannot read jobs: %w", err)
		}
		rows = append(rows, r)
		room -= int64(len(r.workload)) + overhead
	}
	return rows, false, found.Err()
}

// load takes jobs of a queue from the disk.
func load(tx *store.Tx, function string, priority, most int, room int64) ([]row, error) {
	found, err := tx.Query(queryLoad, []byte(function), int64(priority), int64(most))
	if err != nil {
		return nil, fmt.Errorf("cannot read jobs: %w", err)
	}
	rows, _, err := scanRows(found, room, func(found *sql.Rows) (row, error) {
		r := row{function: function, priority: uint8(priority)}
		err := r.scan(found)
		return r, err
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	_, err = tx.Exec(queryLoaded, []byte(function), int64(priority), int64(rows[len(rows)-1].id))
	if err != nil {
		return nil, fmt.Errorf("cannot record which jobs are in memory: %w", err)
	}
	return rows, nil
}

func (r *row) scan(found interface{ Scan(into ...any) error }, before ...any) error {
	var reducer []byte
	err := found.Scan(append(before, &r.id, &r.key, &r.runAt, &r.tries, &reducer, &r.workload)...)
	r.reducer = string(reducer)
	return err
}

// loadOne takes one job from the disk, whose queue it leaves.
func loadOne(tx *store.Tx, function string, key []byte) (r row, found bool, err error) {
	id, err := byKey(tx, function, key)
	if err != nil || id == 0 {
		return r, false, err
	}
	r.function = function
	err = r.scan(tx.QueryRow("SELECT priority, place, id, key, run_at, tries, reducer, workload FROM gearman_jobs WHERE id = ?", int64(id)), &r.priority, &r.place)
	if err == nil {
		_, err = tx.Exec("UPDATE gearman_jobs SET place = 0 WHERE id = ?", int64(id))
	}
	if err != nil {
		return r, false, fmt.Errorf("cannot read job %d: %w", id, err)
	}
	return r, true, nil
}

// recovered is what a server finds when it begins.
type recovered struct {
	rows  []row // those that go into memory
	waits []tally
	later []tally
	first int64 // when the first of later comes due
}

// tally is how many jobs a queue has.
type tally struct {
	function string
	priority int
	count    int
}

// recoverJobs reads what is there, as far as memory goes, and leaves the rest on
// disk.
func recoverJobs(tx *store.Tx, room int64) (r recovered, err error) {
	found, err := tx.Query(`SELECT function, priority, id, key, run_at, tries, reducer, workload FROM gearman_jobs WHERE place = 0 ORDER BY id`)
	if err != nil {
		return r, fmt.Errorf("cannot read jobs: %w", err)
	}
	var more bool
	r.rows, more, err = scanRows(found, room, func(found *sql.Rows) (one row, err error) {
		var function []byte
		err = one.scan(found, &function, &one.priority)
		one.function = string(function)
		return one, err
	})
	if err != nil {
		return r, err
	}
	if more {
		_, err = tx.Exec(`UPDATE gearman_jobs SET place = CASE WHEN run_at > ?1 THEN 2 ELSE 1 END WHERE place = 0 AND id > ?2`,
			tx.Now().Unix(), int64(r.rows[len(r.rows)-1].id))
		if err != nil {
			return r, fmt.Errorf("cannot leave jobs on disk: %w", err)
		}
	}
	if r.waits, err = tallies(tx, `SELECT function, priority, count(*) FROM gearman_jobs WHERE place = 1 GROUP BY function, priority`); err != nil {
		return r, err
	}
	if r.later, err = tallies(tx, `SELECT function, priority, count(*) FROM gearman_jobs WHERE place = 2 GROUP BY function, priority`); err != nil {
		return r, err
	}
	r.first, err = firstLater(tx)
	return r, err
}

func tallies(tx *store.Tx, query string, args ...any) (all []tally, err error) {
	found, err := tx.Query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot count jobs: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var (
			t        tally
			function []byte
		)
		if err := found.Scan(&function, &t.priority, &t.count); err != nil {
			return nil, fmt.Errorf("cannot count jobs: %w", err)
		}
		t.function = string(function)
		all = append(all, t)
	}
	return all, found.Err()
}

func firstLater(tx *store.Tx) (at int64, err error) {
	if err := tx.QueryRow(queryLater).Scan(&at); err != nil {
		return 0, fmt.Errorf("cannot look for the next job that comes due: %w", err)
	}
	return at, nil
}

// promote has those wait as usual whose time has come.
func promote(tx *store.Tx) (due []tally, next int64, err error) {
	now := tx.Now().Unix()
	if due, err = tallies(tx, queryDue, now); err != nil {
		return nil, 0, err
	}
	if _, err := tx.Exec("UPDATE gearman_jobs SET place = 1 WHERE place = 2 AND run_at <= ?", now); err != nil {
		return nil, 0, fmt.Errorf("cannot record which jobs have come due: %w", err)
	}
	next, err = firstLater(tx)
	return due, next, err
}

// exists answers a question with one value.
func exists(tx *store.Tx, query string, arg any) (yes bool, err error) {
	if err := tx.QueryRow(query, arg).Scan(&yes); err != nil {
		return false, fmt.Errorf("cannot look for a job: %w", err)
	}
	return yes, nil
}

// shelvedJob is a job that is on disk only, for the admin protocol.
type shelvedJob struct {
	id       uint64
	tries    uint16
	key      []byte
	function []byte
	runAt    int64
}

// shelved lists the jobs in some places.
func shelved(tx *store.Tx, places string) (all []shelvedJob, err error) {
	found, err := tx.Query("SELECT id, tries, key, function, run_at FROM gearman_jobs WHERE place IN (" + places + ") ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("cannot read jobs: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var j shelvedJob
		if err := found.Scan(&j.id, &j.tries, &j.key, &j.function, &j.runAt); err != nil {
			return nil, fmt.Errorf("cannot read jobs: %w", err)
		}
		all = append(all, j)
	}
	return all, found.Err()
}

// takeOut removes a job that is on disk only and says where it was; false if there
// is none.
func takeOut(tx *store.Tx, id uint64) (t tally, place int, found bool, err error) {
	var function []byte
	err = tx.QueryRow("DELETE FROM gearman_jobs WHERE id = ? AND place <> 0 RETURNING function, priority, place", int64(id)).
		Scan(&function, &t.priority, &place)
	if errors.Is(err, sql.ErrNoRows) {
		return t, 0, false, nil
	}
	if err != nil {
		return t, 0, false, fmt.Errorf("cannot remove job %d: %w", id, err)
	}
	t.function, t.count = string(function), 1
	return t, place, true, nil
}

// digUp has a buried job wait as usual, without tries.
func digUp(tx *store.Tx, id uint64) (t tally, found bool, err error) {
	var function []byte
	err = tx.QueryRow("UPDATE gearman_jobs SET place = 1, tries = 0 WHERE id = ? AND place = 3 RETURNING function, priority", int64(id)).
		Scan(&function, &t.priority)
	if errors.Is(err, sql.ErrNoRows) {
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("cannot bring back job %d: %w", id, err)
	}
	t.function, t.count = string(function), 1
	return t, true, nil
}

// setAside sets aside numbers for jobs and returns the first.
func setAside(tx *store.Tx, count uint64) (first uint64, err error) {
	var next int64
	if err := tx.QueryRow("UPDATE gearman_numbers SET next = next + ? RETURNING next", int64(count)).Scan(&next); err != nil {
		return 0, fmt.Errorf("cannot set aside numbers for jobs: %w", err)
	}
	return uint64(next) - count, nil
}

// giveBack gives back the numbers from next on, if nobody has set aside others.
func giveBack(tx *store.Tx, next, end uint64) error {
	if _, err := tx.Exec("UPDATE gearman_numbers SET next = ? WHERE next = ?", int64(next), int64(end)); err != nil {
		return fmt.Errorf("cannot give back numbers of jobs: %w", err)
	}
	return nil
}
