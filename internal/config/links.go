package config

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"procops/internal/config/source"
	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/supervise"
)

// checkLinks checks what links of chains name in other sections: types of tasks,
// and job servers.
func (c *Config) checkLinks(report func(*source.Error)) {
	l := linkChecker{cfg: c, report: report}
	for _, name := range slices.Sorted(maps.Keys(c.Supervise.Process)) {
		p := c.Supervise.Process[name]
		l.chain(p.OnFail, "supervise", "process", name, "on_fail")
		l.chain(p.OnPass, "supervise", "process", name, "on_pass")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Supervise.Group)) {
		g := c.Supervise.Group[name]
		l.chain(g.OnFail, "supervise", "group", name, "on_fail")
		l.chain(g.OnPass, "supervise", "group", name, "on_pass")
	}
}

type linkChecker struct {
	cfg    *Config
	report func(*source.Error)
}

func (l linkChecker) chain(links []supervise.LinkConfig, at ...string) {
	for i := range links {
		below := append(slices.Clip(at), strconv.Itoa(i))
		if t := links[i].Task; t != nil {
			l.task(t, append(slices.Clip(below), "task"))
		}
		if j := links[i].Job; j != nil {
			l.job(j, append(slices.Clip(below), "job"))
		}
	}
}

// task looks for the type; the parameters are known only once there is a failure.
func (l linkChecker) task(t *supervise.TaskLink, at []string) {
	_, err := l.cfg.Tasks.CheckParams(t.Type, nil)
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.NotFound {
		l.fail(err, at)
	}
}

func (l linkChecker) job(j *supervise.JobLink, at []string) {
	for i, text := range j.Servers {
		if _, err := gearman.ParseAddress(text); err != nil {
			l.fail(err, append(at, "servers", strconv.Itoa(i)))
		}
	}
}

func (l linkChecker) fail(err error, at []string) {
	l.report(source.Errorf(l.cfg.root.Near(at...), "%s: %w", l.cfg.root.Label(at...), err))
}
