package cli

import (
	"fmt"
	"runtime"

	"github.com/mattn/go-sqlite3"
	"github.com/urfave/cli/v2"
)

// Set by the linker: see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// versionLine names the build.
func versionLine() string {
	sqlite, _, _ := sqlite3.Version()
	return fmt.Sprintf("procops %s (commit %s, SQLite %s, %s)", version, commit, sqlite, runtime.Version())
}

func versionCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version, the commit and the SQLite version",
		Description: examples("procops version"),
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			_, err := fmt.Fprintln(io.Stdout, versionLine())
			return err
		},
	}
}
