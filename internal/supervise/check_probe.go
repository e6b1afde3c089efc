package supervise

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// key is a key of a table, and whether it is set.
type key struct {
	name string
	set  bool
}

// setKeys returns the names of those that are set.
func setKeys(keys ...key) []string {
	var set []string
	for _, k := range keys {
		if k.set {
			set = append(set, k.name)
		}
	}
	return set
}

// kinds returns the keys of the checks that are set.
func (c *ReadyConfig) kinds() []string {
	return setKeys(
		key{"tcp", c.TCP != ""}, key{"log", c.Log != ""}, key{"notify", c.Notify},
		key{"fd", c.FD != 0}, key{"http", c.HTTP != ""}, key{"exec", len(c.Exec) > 0},
	)
}

func checkReady(r *ReadyConfig, report report) {
	checkOneKind(r.kinds(), "ready", report)
	r.question().check("ready", report)
	if _, err := regexp.Compile(r.Log); err != nil {
		report(fmt.Errorf("invalid regular expression: %w", syntax(err)), "ready", "log")
	}
}

func checkAlive(a *AliveConfig, report report) {
	if a == nil {
		return
	}
	kinds := setKeys(key{"tcp", a.TCP != ""}, key{"http", a.HTTP != ""}, key{"exec", len(a.Exec) > 0})
	if len(kinds) == 0 {
		report(errors.New("it needs one of tcp, http and exec"), "alive")
	}
	checkOneKind(kinds, "alive", report)
	a.question().check("alive", report)
}

func (c *ProcessConfig) checkWatchdog(report report) {
	if c.WatchSignal != 0 && c.Watchdog == 0 && !c.Ready.Notify {
		report(errors.New("it means something only with watchdog or ready.notify"), "watchdog_signal")
	}
}

// checkOneKind blames the last of several kinds of check.
func checkOneKind(kinds []string, table string, report report) {
	if last := len(kinds) - 1; last > 0 {
		err := fmt.Errorf("only one of %s and %s can be set", strings.Join(kinds[:last], ", "), kinds[last])
		report(err, table, kinds[last])
	}
}

// check checks the values of a question.
func (q question) check(table string, report report) {
	if q.tcp != "" {
		if err := checkAddress(q.tcp); err != nil {
			report(err, table, "tcp")
		}
	}
	if q.http != "" {
		if err := checkURL(q.http); err != nil {
			report(err, table, "http")
		}
	}
	if len(q.status) > 0 && q.http == "" {
		report(errors.New("it means something only with http"), table, "status")
	}
}

// syntax strips the package's own words from the error of a regular expression.
func syntax(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil && isPort(port) {
		return nil
	}
	return fmt.Errorf("invalid address %q: want host:port, such as \"127.0.0.1:6379\"", address)
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 1 && n <= 65535
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err == nil && slices.Contains([]string{"http", "https"}, u.Scheme) && u.Hostname() != "" && (u.Port() == "" || isPort(u.Port())) {
		return nil
	}
	return fmt.Errorf("invalid URL %q: want something like \"http://127.0.0.1:8080/healthz\"", text)
}
