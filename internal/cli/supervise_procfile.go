package cli

import (
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/config"
	"procops/internal/config/imports/procfile"
	"procops/internal/fault"
)

// openRun opens what `supervise run` runs: the config, or a Procfile.
func openRun(c *cli.Context, io IO) (*app.App, error) {
	file := c.String(flagProcfile)
	switch {
	case file == "" && c.IsSet(flagEnv):
		return nil, fault.New(fault.Usage, "%s: --%s goes with --%s only", commandName(c), flagEnv, flagProcfile)
	case file == "" && c.IsSet(flagFormation):
		return nil, fault.New(fault.Usage, "%s: --%s goes with --%s only", commandName(c), flagFormation, flagProcfile)
	case file == "":
		return openApp(c, io, "supervise", lasting)
	case c.String(flagConfig) != "":
		return nil, fault.New(fault.Usage, "%s: only one of --%s and --%s can be given", commandName(c), flagConfig, flagProcfile)
	}
	return openProcfile(c, io, file)
}

// openProcfile converts a Procfile in memory.
func openProcfile(c *cli.Context, io IO, file string) (*app.App, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	port, _ := io.Getenv("PORT")
	formation, err := formationOf(c)
	if err != nil {
		return nil, err
	}
	result, err := procfile.Convert(file, procfile.Options{Dir: filepath.Dir(path), EnvFiles: envFiles(c, file), Port: port, Formation: formation})
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse(file, result.TOML, io.Getenv)
	if err != nil {
		return nil, err
	}
	cfg.StateDir = procfileState(io.Getenv, path)
	a, err := app.OpenWith(cfg, appOptions(c, io, "supervise", lasting))
	if err == nil && a.StateDir == cfg.StateDir {
		fmt.Fprintf(io.Stderr, "procops: for status, logs and the like of this run: export PROCOPS_STATE_DIR=%s\n", a.StateDir)
	}
	return a, err
}

// formationOf returns how many instances of each process --formation asks for,
// nil if it is not given.
func formationOf(c *cli.Context) (map[string]int, error) {
	if !c.IsSet(flagFormation) {
		return nil, nil //nolint:nilnil // none is no error
	}
	return scaleOf(c, strings.FieldsFunc(c.String(flagFormation), func(r rune) bool { return r == ',' || r == ' ' }))
}

// procfileState returns the state directory for the Procfile at an absolute
// path unless another is named, "" if there is no place for it. Each Procfile
// has its own, so that several projects can run side by side and what an
// operator has stopped in one is not stopped in another.
func procfileState(getenv func(string) (string, bool), path string) string {
	dir := app.DefaultStateDir(getenv)
	if dir == "" {
		return ""
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(path)) // never fails
	return filepath.Join(dir, "procfile", fmt.Sprintf("%s-%08x", filepath.Base(filepath.Dir(path)), h.Sum32()))
}
