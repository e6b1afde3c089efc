package supervise

import (
	"context"

	"procops/internal/store"
)

// scaling is how many instances of a process an operator has asked for.
type scaling struct {
	name      string
	declared  int // by the config, then
	instances int
}

// loadScale returns what is recorded of all processes.
func loadScale(ctx context.Context, st *store.Store) (list []scaling, err error) {
	err = st.View(ctx, func(tx *store.Tx) error {
		list = nil
		rows, err := tx.Query(`SELECT name, declared, instances FROM supervise_scale ORDER BY name`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var s scaling
			if err := rows.Scan(&s.name, &s.declared, &s.instances); err != nil {
				return err
			}
			list = append(list, s)
		}
		return rows.Err()
	})
	return list, err
}

// rescale records numbers of instances, and that the processes up are wanted
// up. The number that the config has needs no record. Like want it gives up on a
// state that does not answer.
func (j *journal) rescale(ctx context.Context, list []scaling, up []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wantPatience, errSlow)
	defer cancel()
	return j.store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range list {
			if err := saveScaling(tx, s); err != nil {
				return err
			}
		}
		return saveWanted(tx, up, true)
	})
}

func saveScaling(tx *store.Tx, s scaling) error {
	if s.instances == s.declared {
		return deleteScaling(tx, s.name)
	}
	_, err := tx.Exec(`INSERT INTO supervise_scale (name, declared, instances) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, instances = excluded.instances`,
		s.name, s.declared, s.instances)
	return err
}

func deleteScaling(tx *store.Tx, name string) error {
	_, err := tx.Exec(`DELETE FROM supervise_scale WHERE name = ?`, name)
	return err
}

// keepScale records one number, without making the loop wait.
func (j *journal) keepScale(s scaling) {
	j.keep("cannot record a number of instances", []string{s.name}, func(tx *store.Tx) error { return saveScaling(tx, s) })
}

// unscale forgets numbers of instances that hold no longer.
func (j *journal) unscale(names []string) {
	if len(names) == 0 {
		return
	}
	j.keep("cannot forget a number of instances", names, func(tx *store.Tx) error {
		for _, n := range names {
			if err := deleteScaling(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
}
