package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mattn/go-sqlite3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// newerSchemaError says that the database was written by a newer procops.
type newerSchemaError struct{ have, know int }

func (e *newerSchemaError) Error() string {
	return fmt.Sprintf("it was written by a newer procops (schema %d; this one knows %d)", e.have, e.know)
}

// migrate brings the schema up to date, one transaction for each step. The
// number of steps taken is kept in user_version.
func migrate(ctx context.Context, conn *sql.Conn, patience time.Duration) error {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, conn)
	switch {
	case err != nil:
		return err
	case version > len(steps):
		return &newerSchemaError{have: version, know: len(steps)}
	case version == len(steps):
		return nil
	case version == 0:
		if err := refuseForeign(ctx, conn); err != nil {
			return err
		}
	}
	if err := enableWAL(ctx, conn, patience); err != nil {
		return err
	}
	for range steps[version:] {
		if err := step(ctx, conn, steps); err != nil {
			return err
		}
	}
	return nil
}

// errForeign says that the database has tables that no procops has made.
var errForeign = errors.New("it is the database of another program")

// refuseForeign returns errForeign if there are tables and no schema of
// procops. One statement looks at both, because another process may be taking the
// first step.
func refuseForeign(ctx context.Context, conn *sql.Conn) error {
	var foreign bool
	err := conn.QueryRowContext(ctx, "SELECT user_version = 0 AND EXISTS (SELECT * FROM sqlite_schema) FROM pragma_user_version").Scan(&foreign)
	if err == nil && foreign {
		return errForeign
	}
	return err
}

// step takes the next step, unless another process has taken it meanwhile.
func step(ctx context.Context, conn *sql.Conn, steps []string) (err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK")
		}
	}()
	version, err := schemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	if version < len(steps) {
		if err := apply(ctx, conn, steps[version], version+1); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

func apply(ctx context.Context, conn *sql.Conn, name string, version int) error {
	script, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, string(script)); err != nil {
		return fmt.Errorf("cannot apply migration %q: %w", name, err)
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
	return err
}

func schemaVersion(ctx context.Context, conn *sql.Conn) (version int, err error) {
	err = conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

// enableWAL switches the journal mode, which lasts. SQLite does not wait for
// other processes here, whatever the busy time-out, so this does.
func enableWAL(ctx context.Context, conn *sql.Conn, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		_, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL")
		if !isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
