package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/config"
	"procops/internal/fault"
)

func configCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "check, show, begin and import a procops.toml",
		Description: examples(
			"procops config init && procops supervise run",
			"procops config check",
			"procops config show --json",
		),
		Subcommands: []*cli.Command{
			configInitCommand(io), configCheckCommand(io), configShowCommand(io),
			configPathCommand(io), configSchemaCommand(io), configImportCommand(io),
		},
	}
}

func configInitCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "init",
		Usage:       "write a commented configuration to start from",
		ArgsUsage:   "[FILE]",
		Description: "FILE is procops.toml unless given; \"-\" prints it. A file that is there is left alone.\n\n" + examples("procops config init", "procops config init /etc/procops/procops.toml", "procops config init - | less"),
		Action: func(c *cli.Context) error {
			file, err := optional(c, config.FileName)
			if err != nil {
				return err
			}
			if file == "-" {
				_, err := fmt.Fprint(io.Stdout, config.Starter())
				return err
			}
			if err := config.WriteStarter(file); err != nil {
				return err
			}
			fmt.Fprintf(io.Stderr, "procops: wrote %q; next: `procops config check`, `procops supervise run`\n", file)
			return nil
		},
	}
}

func configCheckCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "report everything that is wrong with the configuration",
		ArgsUsage: "[FILE]",
		Description: "Each mistake is a line with file, line and column. Programs and users that are not\n" +
			"on this machine count as mistakes. The exit code is 2 if there are any.\n\n" +
			examples("procops config check", "procops config check new.toml", "procops config check --json"),
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			file, err := configFile(c, io)
			if err != nil {
				return err
			}
			cfg, err := config.Load(file, io.Getenv)
			if err == nil {
				err = cfg.CheckPrograms()
			}
			if c.Bool(flagJSON) {
				return printCheck(io, file, err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.Stdout, "%s: ok (%s)\n", file, contents(cfg))
			return err
		},
	}
}

// contents counts what a configuration configures.
func contents(cfg *config.Config) string {
	return fmt.Sprintf("%s, %s, %s",
		count(len(cfg.Supervise.Process), "process", "processes"),
		count(len(cfg.Supervise.Group), "group", "groups"),
		count(len(cfg.Heartbeat.Heartbeats), "heartbeat", "heartbeats"))
}

// checkView is the result of a check as JSON.
type checkView struct {
	File     string        `json:"file"`
	OK       bool          `json:"ok"`
	Problems []problemView `json:"problems"`
}

// problemView is one mistake; Line is 0 if it is about a file as a whole.
type problemView struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// printCheck writes the result of a check as JSON; found is what it found.
func printCheck(io IO, file string, found error) error {
	view := checkView{File: file, OK: found == nil, Problems: []problemView{}}
	all, listed := errors.AsType[*config.Error](found)
	if found != nil && !listed {
		return found
	}
	if listed {
		for _, p := range all.Problems {
			view.Problems = append(view.Problems, problemView{p.Position.File, p.Position.Line, p.Position.Column, p.Err.Error()})
		}
	}
	if err := printJSON(io.Stdout, view); err != nil {
		return err
	}
	if listed {
		return exit(fault.Usage)
	}
	return nil
}

func configShowCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "print the configuration as it is in effect",
		ArgsUsage: "[FILE]",
		Description: "With defaults, with what it includes and with the environment filled in. Secrets are\n" +
			"masked. What it prints can be loaded as a configuration.\n\n" +
			examples("procops config show", "procops config show --json"),
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			file, err := optional(c, c.String(flagConfig))
			if err != nil {
				return err
			}
			file, err = config.Find(file, io.Getenv)
			if err != nil {
				return err
			}
			cfg, err := config.Load(file, io.Getenv)
			if err != nil {
				return err
			}
			if c.Bool(flagJSON) {
				return printJSON(io.Stdout, cfg.Effective())
			}
			whose := "the defaults, for there is no configuration"
			if file != "" {
				whose = "what is in effect by " + file
			}
			_, err = fmt.Fprintf(io.Stdout, "# %s\n\n%s", oneLine(whose), cfg.Effective().TOML())
			return err
		},
	}
}

func configPathCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "path",
		Usage:       "print which file is the configuration",
		Description: examples("procops config path", "$EDITOR $(procops config path)"),
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			file, err := configFile(c, io)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(io.Stdout, file)
			return err
		},
	}
}

func configSchemaCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "schema",
		Usage:       "print a JSON schema, by which editors complete keys and mark mistakes",
		Description: examples("procops config schema > procops.schema.json"),
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = io.Stdout.Write(schema)
			return err
		},
	}
}

// configFile returns the file that the command is about: its argument, else
// the one that every command would use. It is a fault.NotFound if there is
// none.
func configFile(c *cli.Context, io IO) (string, error) {
	file, err := optional(c, c.String(flagConfig))
	if err != nil {
		return "", err
	}
	file, err = config.Find(file, io.Getenv)
	if err == nil && file == "" {
		return "", fault.New(fault.NotFound, "there is no configuration: neither --config nor $PROCOPS_CONFIG name one, and none is at %s", strings.Join(config.Places(io.Getenv), ", ")).
			WithHint("`procops config init` writes one to start from")
	}
	return file, err
}

// optional returns the command's only argument, or fallback without one.
func optional(c *cli.Context, fallback string) (string, error) {
	list, err := args(c, 0, 1, "at most one FILE")
	if err != nil || len(list) == 0 {
		return fallback, err
	}
	return list[0], nil
}
