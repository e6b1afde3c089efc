package supervisord

import (
	"fmt"
	"strconv"
	"strings"

	"procops/internal/proc"
)

// The types of supervisord's values, each read as supervisord reads it.

func parseInteger(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("invalid number %q", text)
	}
	return n, nil
}

func parseBoolean(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("invalid value %q: want true or false", text)
}

// parseList reads a list whose items are parted by commas.
func parseList(text string) []string {
	if text == "" {
		return nil
	}
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func parseExitCodes(text string) ([]int, error) {
	codes := []int{}
	for _, item := range parseList(text) {
		code, err := parseInteger(item)
		if err != nil || code < 0 || code > 255 {
			return nil, fmt.Errorf("invalid exit code %q: want numbers from 0 to 255, parted by commas", item)
		}
		codes = append(codes, code)
	}
	return codes, nil
}

// parseBytes reads a size in bytes: a number with or without KB, MB or GB.
func parseBytes(text string) (int, error) {
	lower := strings.ToLower(text)
	factor := 1
	for i, unit := range []string{"kb", "mb", "gb"} {
		if number, ok := strings.CutSuffix(lower, unit); ok {
			lower, factor = number, 1<<(10*(i+1))
		}
	}
	n, err := parseInteger(lower)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return 0, fmt.Errorf("invalid size %q: want something like \"50MB\"", text)
	}
	return n * factor, nil
}

func parseSignal(text string) (proc.Signal, error) { return proc.ParseSignal(strings.TrimSpace(text)) }

func parseUmask(text string) (proc.Umask, error) {
	var mask proc.Umask
	err := mask.UnmarshalText([]byte(strings.TrimPrefix(strings.TrimSpace(text), "0o")))
	return mask, err
}

// restart is when supervisord starts an exited process again.
type restart string

const (
	restartAlways     restart = "true"
	restartUnexpected restart = "unexpected"
	restartNever      restart = "false"
)

func parseRestart(text string) (restart, error) {
	if strings.EqualFold(text, string(restartUnexpected)) {
		return restartUnexpected, nil
	}
	yes, err := parseBoolean(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("invalid value %q: want true, false or unexpected", text)
	case yes:
		return restartAlways, nil
	}
	return restartNever, nil
}

// checkName refuses what supervisord refuses in names.
func checkName(text string) (string, error) {
	name := strings.TrimSpace(text)
	if i := strings.IndexAny(name, " :/"); i >= 0 {
		return "", fmt.Errorf("invalid name %q: it has a %q", name, name[i:i+1])
	}
	return name, nil
}

// logKind is where a stream of a program goes.
type logKind int

const (
	logAuto   logKind = iota // a file that supervisord names
	logNone                  // nowhere
	logSyslog                // to syslog
	logStream                // to a stream of supervisord, as in containers
	logFile                  // to a file
)

func kindOfLog(path string) logKind {
	switch strings.ToLower(path) {
	case "auto":
		return logAuto
	case "none", "off", "/dev/null":
		return logNone
	case "syslog":
		return logSyslog
	case "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1", "/proc/self/fd/2",
		"/proc/1/fd/1", "/proc/1/fd/2", "/dev/console", "/dev/tty":
		return logStream
	}
	return logFile
}
