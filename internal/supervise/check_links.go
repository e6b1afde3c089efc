package supervise

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxUnique is how long the key of a Gearman job may be, in bytes.
const maxUnique = 64

// links checks that each link of a chain does one thing, and can. owner has the
// chain.
func (k *checker) links(owner string, links []LinkConfig, chain string, report report) {
	for i := range links {
		l := &links[i]
		at := func(err error, path ...string) {
			report(err, append([]string{chain, strconv.Itoa(i)}, path...)...)
		}
		actions := l.actions()
		switch {
		case len(actions) == 0 && !l.Settle:
			at(errors.New("a link needs one of " + enumerate(linkKeys(), "and")))
		case len(actions) > 1:
			at(fmt.Errorf("a link can have only one of %s; write a link for each", strings.Join(actions, " and ")))
		case l.Raise && l.Settle:
			at(errors.New("a link cannot both raise the failure and settle it"))
		}
		k.others(owner, "start", l.Start, at)
		k.others(owner, "stop", l.Stop, at)
		k.others(owner, "restart", l.Restart, at)
		if l.Webhook != nil {
			l.Webhook.Check(func(err error, path ...string) { at(err, append([]string{"webhook"}, path...)...) })
		}
		if l.Job != nil {
			l.Job.check(at)
		}
	}
}

// linkKeys returns the keys of which a link has one.
func linkKeys() []string {
	return []string{"retry", "exec", "webhook", "task", "job", "start", "stop", "restart", "log", "raise", "settle"}
}

// enumerate lists words as people do: "a, b and c".
func enumerate(words []string, last string) string {
	end := len(words) - 1
	return strings.Join(words[:end], ", ") + " " + last + " " + words[end]
}

// actions returns the keys of what the link does.
func (l *LinkConfig) actions() []string {
	return setKeys(
		key{"retry", l.Retry != 0}, key{"exec", len(l.Exec) > 0}, key{"webhook", l.Webhook != nil},
		key{"task", l.Task != nil}, key{"job", l.Job != nil},
		key{"start", l.Start != nil}, key{"stop", l.Stop != nil}, key{"restart", l.Restart != nil},
		key{"log", l.Log != ""}, key{"raise", l.Raise},
	)
}

// others checks the names that the chain of owner gives an order to.
func (k *checker) others(owner, action string, names Names, report report) {
	if len(names) == 0 {
		return
	}
	inTree := k.inTree()
	for i, n := range names {
		report := func(err error) { report(err, action, strconv.Itoa(i)) }
		switch {
		case !k.known(n):
			report(k.unknown(n))
		case n == owner:
			report(fmt.Errorf("%q cannot %s itself; `retry` starts it again", owner, action))
		case k.contains(n, owner):
			report(fmt.Errorf("%q is in %q; a chain of that group can have `retry`, and `raise` leads to it", owner, n))
		case inTree[owner] && !inTree[n]:
			report(notInTree(n))
		case slices.Contains(names[:i], n):
			report(fmt.Errorf("%q is in the list twice", n))
		}
	}
}

// contains reports whether a name is somewhere below a group.
func (k *checker) contains(group, name string) bool {
	seen := map[string]bool{}
	var look func(string) bool
	look = func(g string) bool {
		if seen[g] {
			return false // groups that contain each other are reported elsewhere
		}
		seen[g] = true
		children := k.cfg.Group[g].Children
		return slices.Contains(children, name) || slices.ContainsFunc(children, look)
	}
	return look(group)
}

func (j *JobLink) check(report report) {
	if strings.ContainsRune(j.Function, 0) {
		report(errors.New("it holds a NUL character"), "job", "function")
	}
	if len(j.Unique) > maxUnique {
		report(fmt.Errorf("it is longer than %d bytes", maxUnique), "job", "unique")
	}
}
