package install

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// marker is in every file that is written here, so that none of somebody else's is
// overwritten or removed.
const marker = "# Written by `procops install`; `procops uninstall` removes it."

// Service is what is to be run.
type Service struct {
	Name        string   // of the unit or script, such as "procops"
	Description string   // for people, one line
	Program     string   // absolute path of procops
	Base        []string // its arguments before the command: the config and the state directory
	Run         []string // the command that runs in the foreground and tells when it is ready
	Start       []string // the command that starts it in the background
	Stop        []string // the command that stops that and waits
	Reload      []string // the command that has it read its config again; empty: a restart does
	Status      []string // the command that tells whether it runs
	Running     []int    // exit codes of Status, beside 0, that mean that it does
	User        string   // whom it runs as; empty: root, or with ForUser its user
	Always      bool     // it is started again also when it ends well
	ForUser     bool     // it belongs to a user's own service manager
}

// Unit returns a unit of systemd, see systemd.service(5).
func (s Service) Unit() []byte {
	target := "multi-user.target"
	if s.ForUser {
		target = "default.target"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n[Unit]\nDescription=%s\n", marker, escapeUnit(s.Description))
	if !s.ForUser {
		b.WriteString("After=network.target\n")
	}
	fmt.Fprintf(&b, "\n[Service]\nType=notify\nExecStart=%s\n", unitLine(s.command(s.Run)))
	restart := "on-failure"
	if s.Always {
		restart = "always"
	}
	if len(s.Reload) > 0 {
		b.WriteString("ExecReload=/bin/kill -HUP $MAINPID\n")
	} else {
		// It may wait for a server for as long as that takes, and is not ready before.
		b.WriteString("TimeoutStartSec=infinity\n")
	}
	if s.User != "" {
		fmt.Fprintf(&b, "User=%s\n", s.User)
	}
	// procops stops its processes itself, and systemd what is left. WATCHDOG=1 comes twice
	// in WatchdogSec. Delegate lets procops make cgroups for processes that want one.
	fmt.Fprintf(&b, "KillMode=mixed\nTimeoutStopSec=90\nRestart=%s\nWatchdogSec=60\nDelegate=yes\n", restart)
	fmt.Fprintf(&b, "\n[Install]\nWantedBy=%s\n", target)
	return b.Bytes()
}

func (s Service) command(verb []string) []string {
	return append(append([]string{s.Program}, s.Base...), verb...)
}

// unitLine writes a command as systemd reads it.
func unitLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		text := strings.NewReplacer("%", "%%", "$", "$$").Replace(word)
		if text == "" || strings.ContainsAny(text, " \t\n\"'\\;") {
			text = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(text) + `"`
		}
		quoted[i] = text
	}
	return strings.Join(quoted, " ")
}

func escapeUnit(text string) string {
	return strings.NewReplacer("%", "%%", "\n", " ").Replace(text)
}

// Script returns a script for SysV init, with a header and exit codes as the Linux
// Standard Base has them (LSB 5.0, chapters 22.2 and 22.3).
func (s Service) Script() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `#!/bin/sh
%s
### BEGIN INIT INFO
# Provides:          %s
# Required-Start:    $remote_fs $syslog
# Required-Stop:     $remote_fs $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: %s
### END INIT INFO

user=%s
program=%s

procops() {
	if [ -n "$user" ]; then
		runuser -u "$user" -- "$program"%s "$@"
	else
		"$program"%s "$@"
	fi
}

[ -x "$program" ] || { [ "$1" = stop ] && exit 0; echo "$program is not installed" >&2; exit 5; }

case "$1" in
start)
	procops %s
	code=$?
	[ "$code" -eq 4 ] && exit 0 # it runs already
	exit "$code"
	;;
stop)
	procops %s
	code=$?
	[ "$code" -eq 5 ] && exit 0 # it does not run
	exit "$code"
	;;
restart)
	"$0" stop && "$0" start
	;;
force-reload|reload)
	%s || exit 7
	;;
status)
	procops %s
	case $? in
	0%s) exit 0 ;;
	*) exit 3 ;;
	esac
	;;
*)
	echo "usage: $0 {start|stop|restart|reload|force-reload|status}" >&2
	exit 2
	;;
esac
`, marker, s.Name, strings.ReplaceAll(s.Description, "\n", " "), quote(s.User), quote(s.Program),
		words(s.Base), words(s.Base), line(s.Start), line(s.Stop), s.reload(), line(s.Status), alternatives(s.Running))
	return b.Bytes()
}

// reload is the line of the script that has it read its config again.
func (s Service) reload() string {
	if len(s.Reload) == 0 {
		return `"$0" stop && "$0" start`
	}
	return "procops " + line(s.Reload)
}

// quote makes one word of a shell of a text.
func quote(text string) string {
	if text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func line(list []string) string { return strings.TrimPrefix(words(list), " ") }

func words(list []string) string {
	var b strings.Builder
	for _, word := range list {
		b.WriteString(" " + quote(word))
	}
	return b.String()
}

func alternatives(codes []int) string {
	var b strings.Builder
	for _, code := range codes {
		fmt.Fprintf(&b, " | %d", code)
	}
	return b.String()
}

// UnitPath returns where the unit belongs; config is the user's directory for
// configuration, for a service of his own.
func (s Service) UnitPath(root, config string) string {
	if s.ForUser {
		return filepath.Join(root, config, "systemd", "user", s.Name+".service")
	}
	return filepath.Join(root, "/etc/systemd/system", s.Name+".service")
}

// ScriptPath returns where the script belongs.
func (s Service) ScriptPath(root string) string {
	return filepath.Join(root, "/etc/init.d", s.Name)
}
