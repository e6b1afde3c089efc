package launch

import (
	"slices"

	"procops/internal/proc"
)

// Program is a program and what it is started with. Only Command is needed.
type Program struct {
	Settings

	Command proc.Command
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

// Starter returns Spec for a program that is started again and again. What may have
// changed since the last start, the users and the files with variables, is read again.
// It may be called from any goroutine, and what it returns be added to.
func (p Program) Starter(extra []string) func() (proc.Spec, error) {
	start := func() (proc.Spec, error) {
		spec, err := p.Spec(extra)
		spec.Env = slices.Clip(spec.Env) // each start adds its own
		return spec, err
	}
	if len(p.EnvFile) > 0 || p.changesUser() {
		return start
	}
	spec, err := start()
	return func() (proc.Spec, error) { return spec, err }
}
