package server

import (
	"errors"
	"fmt"

	"procops/internal/store"
)

// Stored counts the recorded jobs of a function in one place.
type Stored struct {
	Function string
	Place    string // "waiting" (or with a worker), "scheduled" or "buried"
	Jobs     int
}

const (
	queryStored = `SELECT function, CASE WHEN place < 3 AND run_at > ? THEN 2 WHEN place < 3 THEN 1 ELSE place END AS kind, count(*)
		FROM gearman_jobs GROUP BY function, kind ORDER BY function, kind`
	queryBuried = `SELECT function, place, count(*) FROM gearman_jobs WHERE place = 3 GROUP BY function`
)

// CountStored counts the jobs that are recorded in a state store, whether or not a server
// runs.
func CountStored(tx *store.Tx) ([]Stored, error) {
	return countStored(tx, queryStored, tx.Now().Unix())
}

func countStored(tx *store.Tx, query string, args ...any) (all []Stored, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot count jobs: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			s     Stored
			name  []byte
			place int
		)
		if err := rows.Scan(&name, &place, &s.Jobs); err != nil {
			return nil, fmt.Errorf("cannot count jobs: %w", err)
		}
		s.Function, s.Place = string(name), placeName(place)
		all = append(all, s)
	}
	return all, rows.Err()
}

func placeName(place int) string {
	switch place {
	case placeLater:
		return "scheduled"
	case placeBuried:
		return "buried"
	default:
		return "waiting"
	}
}
