package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/name"
)

// meant returns the commands, as they are typed, that somebody may have meant
// who typed word below parent: commands of that name one level further down,
// what other tools' word for it is called here, or one whose name is near.
func meant(parent string, commands []*cli.Command, word string) []string {
	if found := below(parent, commands, word); len(found) > 0 {
		return found
	}
	for _, ours := range elsewhere(word) {
		if slices.Contains(commandNames(commands), ours) {
			return []string{parent + " " + ours}
		}
	}
	if near, ok := name.Nearest(word, commandNames(commands)); ok {
		return []string{parent + " " + near}
	}
	for _, ours := range elsewhere(word) {
		if found := below(parent, commands, ours); len(found) > 0 {
			return found
		}
	}
	return nil
}

// below returns the commands of the given name below each of commands.
func below(parent string, commands []*cli.Command, word string) (found []string) {
	for _, c := range commands {
		if slices.Contains(commandNames(c.Subcommands), word) {
			found = append(found, fmt.Sprintf("%s %s %s", parent, c.Name, word))
		}
	}
	return found
}

func commandNames(commands []*cli.Command) []string {
	names := make([]string, len(commands))
	for i, c := range commands {
		names[i] = c.Name
	}
	return names
}

// elsewhere returns what procops may call the thing that other tools of the
// kind (systemctl, supervisorctl, docker compose, ps) call word.
func elsewhere(word string) []string {
	switch word {
	case "ps", "list", "ls", "show", "info", "watch", "top", "status":
		return []string{"status", "list"}
	case "kill", "send":
		return []string{"signal"}
	case "log", "tail", "cat":
		return []string{"logs", "pings"}
	case "shutdown", "down", "halt", "quit", "exit":
		return []string{"stop"}
	case "up":
		return []string{"run"}
	case "rm", "remove", "delete", "forget":
		return []string{"detach"}
	case "add", "create", "new":
		return []string{"attach", "init"}
	case "validate", "test", "lint":
		return []string{"check"}
	case "ping", "touch", "fail":
		return []string{"beat"}
	}
	return nil
}

// flagElsewhere returns what c may call the flag that other tools of the kind
// (docker, kubectl, healthchecks, runitor) call flag, "" if nothing comes to mind.
func flagElsewhere(c *cli.Context, flag string) string {
	ours := map[string][]string{
		"tail":     {flagLines},
		"limit":    {flagNumber},
		"output":   {"body"},
		"body":     {"output"},
		"cron":     {"schedule"},
		"tz":       {"timezone"},
		"every":    {"period"},
		"interval": {"period"},
		"timeout":  {"period", "max-runtime"},
		"down":     {"failing"},
	}
	names := flagNames(c)
	for _, name := range ours[flag] {
		if slices.Contains(names, name) {
			return name
		}
	}
	return ""
}

// didYouMean makes a hint of commands.
func didYouMean(commands []string) string {
	last := len(commands) - 1
	text := "`" + commands[last] + "`?"
	if last > 0 {
		text = "`" + strings.Join(commands[:last], "`, `") + "` or " + text
	}
	return "did you mean " + text
}

// flagNames returns the names that the flags of the command and of the whole
// program have.
func flagNames(c *cli.Context) (names []string) {
	flags := slices.Clone(c.App.Flags)
	if c.Command != nil {
		flags = append(flags, c.Command.Flags...)
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, n)
			}
		}
	}
	return names
}
