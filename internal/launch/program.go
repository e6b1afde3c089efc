package launch

import (
	"slices"

	"procops/internal/proc"
)

// Program is a program and what it is started with. Only Command is needed.
type Program struct {
	Command proc.Command
	Dir     string            // working directory; empty: that of procops
	Env     map[string]string // added after all else
	EnvFile Files             // read at each start, added before Env
	User    string            // name or number; empty: that of procops
	Group   string            // primary group, name or number; empty: that of the user
	Groups  []string          // supplementary groups; nil: those of the user
	Umask   *proc.Umask       // nil: that of procops
	Nice    int               // -20 to 19
	CPUs    proc.CPUs         // empty: where procops may run
	Limits  Limits
}

// Spec says how the program is started. Its environment is that of procops with
// extra, then what the user has, then what is in the files, then its own. The error
// names the user, group or file that is not there.
func (p Program) Spec(extra []string) (proc.Spec, error) {
	spec := proc.Spec{Argv: p.Command, Dir: p.Dir, Umask: p.Umask, Nice: p.Nice, CPUs: p.CPUs, Limits: p.Limits.Proc()}
	env := slices.Clone(extra)
	if p.changesUser() {
		user, err := proc.LookupUser(p.User, p.Group, p.Groups...)
		if err != nil {
			return spec, err
		}
		spec.User = user
		if p.User != "" || p.Group != "" {
			env = append(env, user.Env()...)
		}
	}
	fromFiles, err := p.EnvFile.Env()
	if err != nil {
		return spec, err
	}
	env = append(env, fromFiles...)
	for name, value := range p.Env {
		env = append(env, name+"="+value)
	}
	spec.Env = MergeEnv(env)
	return spec, nil
}

// changesUser reports whether the program runs with a user or groups that are said
// to be others than those of procops.
func (p Program) changesUser() bool { return p.User != "" || p.Group != "" || p.Groups != nil }
