package config

import (
	"os"
	"path/filepath"

	"procops/internal/fault"
)

// FileName is the name of a configuration in its directory.
const FileName = "procops.toml"

// EnvFile is the variable that names the configuration.
const EnvFile = "PROCOPS_CONFIG"

// systemDir is the directory of the machine's configuration.
const systemDir = "/etc/procops"

// Environ looks up a variable of the environment, as os.LookupEnv does.
type Environ func(name string) (value string, ok bool)

// Find returns the path of the configuration to load: explicit if it is not
// empty, else the file that $PROCOPS_CONFIG names, else the first that is there
// of procops.toml in the working directory, in $XDG_CONFIG_HOME/procops (or
// ~/.config/procops) and in /etc/procops. If there is none it returns "". A
// file that was named must be there.
func Find(explicit string, env Environ) (string, error) {
	if explicit != "" {
		return named(explicit, "--config")
	}
	if path, _ := env(EnvFile); path != "" {
		return named(path, "$"+EnvFile)
	}
	for _, path := range Places(env) {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", nil
}

func named(path, by string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fault.Wrap(fault.Usage, cause(err), "cannot read configuration %q", path).
			WithHint("it is named by %s; `procops config init` writes one to start from", by)
	}
	return path, nil
}

// Places returns where a configuration is looked for if none is named, in this
// order.
func Places(env Environ) []string {
	list := []string{FileName}
	if dir, _ := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		list = append(list, filepath.Join(dir, "procops", FileName))
	} else if home, _ := env("HOME"); filepath.IsAbs(home) {
		list = append(list, filepath.Join(home, ".config", "procops", FileName))
	}
	return append(list, filepath.Join(systemDir, FileName))
}
