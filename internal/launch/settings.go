package launch

import (
	"reflect"

	"procops/internal/proc"
	"procops/internal/unit"
)

// Settings say where and as whom a program runs. A section of the config that has a
// command embeds them, and has their keys. The zero value is what procops has itself.
type Settings struct {
	Dir     string            `toml:"dir" path:"true" doc:"working directory, relative to the config file; default: that of procops"`
	Env     map[string]string `toml:"env" doc:"variables added to the environment of procops"`
	EnvFile Files             `toml:"env_file" path:"true" doc:"files of NAME=VALUE lines, relative to the config file and read at each start, whose variables are added before those of env; one with \"-\" before its path may be missing"`
	User    string            `toml:"user" doc:"run as this user (name or number), with that user's groups, HOME, USER and LOGNAME"`
	Group   string            `toml:"group" doc:"run with this primary group (name or number)"`
	Groups  []string          `toml:"groups" doc:"run with these supplementary groups (names or numbers) instead of the user's; [] for none"`
	Umask   *proc.Umask       `toml:"umask" doc:"file mode mask in octal, such as \"027\""`
	Nice    int               `toml:"nice" default:"0" min:"-20" max:"19" doc:"scheduling priority; the higher, the more it yields to others"`
	CPUs    proc.CPUs         `toml:"cpus" doc:"CPUs that it may run on, such as \"0-3,6\"; the machine must have at least one of them; default: those of procops"`
	Limits  Limits            `toml:"limits" doc:"resource limits (setrlimit), of each single process"`
}

// changesUser reports whether the program runs with a user or groups that are said
// to be others than those of procops.
func (s Settings) changesUser() bool { return s.User != "" || s.Group != "" || s.Groups != nil }

// KeySet returns a key that is set, in the order of the config; "" if none is. For a
// program that there is not they mean nothing.
func (s Settings) KeySet() string {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			return v.Type().Field(i).Tag.Get("toml")
		}
	}
	return ""
}

// Stop is a stop ladder: Signal, then after Grace SIGKILL. Each goes to the whole
// process group.
type Stop struct {
	Signal proc.Signal   `toml:"signal" default:"TERM" doc:"first signal"`
	Grace  unit.Duration `toml:"grace" default:"10s" doc:"time to end before KILL"`
}

// Ladder returns it as proc has it; without steps for the zero Stop.
func (s Stop) Ladder() proc.Ladder {
	if s == (Stop{}) {
		return proc.Ladder{}
	}
	return proc.Ladder{Steps: []proc.Step{{Signal: s.Signal, Wait: s.Grace.Std()}}}
}
