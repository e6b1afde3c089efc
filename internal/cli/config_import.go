package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/config"
	"procops/internal/config/imports"
	"procops/internal/config/imports/leptir"
	"procops/internal/config/imports/procfile"
	"procops/internal/config/imports/supervisord"
	"procops/internal/config/imports/ustream"
	"procops/internal/fault"
	"procops/internal/name"
)

const (
	flagEnv    = "env"
	flagOutput = "output"

	flagBootstrap     = "bootstrap"
	flagImportContext = "context"
	flagImportRunDir  = "run-dir"
)

// importMode is that of an imported configuration: its environments often hold
// passwords.
const importMode = 0o600

func configImportCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "turn the file of another supervisor into a procops.toml",
		Description: "What is different in procops, or was left out, is printed to stderr with its\n" +
			"place, and is a comment in the result.\n\n" +
			examples(
				"procops config import supervisord /etc/supervisor/supervisord.conf -o procops.toml",
				"procops config import procfile Procfile",
				"procops config import ustream ini/ --bootstrap bootstrap.php",
				"procops config import leptir leptir.json",
			),
		Subcommands: []*cli.Command{configImportSupervisordCommand(io), configImportProcfileCommand(io), configImportUstreamCommand(io), configImportLeptirCommand(io)},
		Action:      importWhat,
	}
}

// importWhat is the action of import when it is not told what kind of file it is
// to read.
func importWhat(c *cli.Context) error {
	file := c.Args().First()
	info, err := os.Stat(file)
	if err != nil {
		return unknownCommand(c)
	}
	kind := "supervisord"
	switch {
	case strings.Contains(strings.ToLower(filepath.Base(file)), "procfile"):
		kind = "procfile"
	case info.IsDir():
		kind = "ustream"
	case strings.Contains(strings.ToLower(filepath.Base(file)), "leptir"):
		kind = "leptir"
	}
	return fault.New(fault.Usage, "%s needs to be told what kind of file %q is", commandName(c), file).
		WithHint("the kind comes first: `%s %s %s`", commandName(c), kind, file)
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: flagOutput, Aliases: []string{"o"}, Usage: "write to a new `FILE` (mode 0600) instead of stdout"}
}

func configImportSupervisordCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "supervisord",
		Usage:     "turn a supervisord.conf, with what it includes, into a procops.toml",
		ArgsUsage: "FILE",
		Description: "%(ENV_NAME)s becomes ${NAME}, which is filled in when procops starts.\n\n" +
			examples(
				"procops config import supervisord /etc/supervisor/supervisord.conf",
				"procops config import supervisord supervisord.conf -o procops.toml && procops config check procops.toml",
			),
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			list, err := args(c, 1, 1, "a FILE")
			if err != nil {
				return err
			}
			host, err := os.Hostname()
			if err != nil {
				return err
			}
			result, err := supervisord.Convert(list[0], supervisord.Options{Environ: io.Getenv, Hostname: host})
			if err != nil {
				return err
			}
			return writeImport(c, io, result, nextSupervise)
		},
	}
}

func configImportProcfileCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "procfile",
		Usage:     "turn a Procfile, with the .env beside it, into a procops.toml",
		ArgsUsage: "FILE",
		Description: "PORT is 5000 for the first process, 5100 for the second and so on, or begins at\n" +
			"PORT of the .env. Save the result in the directory where you run this.\n\n" +
			examples("procops config import procfile Procfile -o procops.toml", "procops config import procfile Procfile --env prod.env"),
		Flags: []cli.Flag{outputFlag(), envFlag()},
		Action: func(c *cli.Context) error {
			list, err := args(c, 1, 1, "a FILE")
			if err != nil {
				return err
			}
			dir, err := dirFrom(c.String(flagOutput), list[0])
			if err != nil {
				return err
			}
			result, err := procfile.Convert(list[0], procfile.Options{Dir: dir, EnvFiles: envFiles(c, list[0])})
			if err != nil {
				return err
			}
			return writeImport(c, io, result, nextSupervise)
		},
	}
}

func configImportUstreamCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "ustream",
		Usage:     "turn the ini files of the PHP library ustream/daemon into a procops.toml",
		ArgsUsage: "DIR",
		Description: "A file ID.ini becomes the daemon ID; its factory becomes a command that calls it.\n" +
			"DIR may be a single file, too.\n\n" +
			examples(
				"procops config import ustream /srv/app/ini",
				"procops config import ustream ini/ --bootstrap bootstrap.php --context production -o procops.toml",
			),
		Flags: []cli.Flag{
			outputFlag(),
			&cli.StringFlag{Name: flagBootstrap, Usage: "load the classes of the factories with this PHP `FILE`"},
			&cli.StringFlag{Name: flagImportContext, Usage: "say that the daemons run in this `CONTEXT`, such as production"},
			&cli.StringFlag{Name: flagImportRunDir, Usage: "put the pidfiles into this `DIR`"},
		},
		Action: func(c *cli.Context) error {
			list, err := args(c, 1, 1, "a DIR")
			if err != nil {
				return err
			}
			opt := ustream.Options{Context: c.String(flagImportContext)}
			if opt.Bootstrap, err = absolute(c.String(flagBootstrap)); err != nil {
				return err
			}
			if opt.RunDir, err = absolute(c.String(flagImportRunDir)); err != nil {
				return err
			}
			if err := name.Check(opt.Context); opt.Context != "" && err != nil {
				return fault.Wrap(fault.Usage, err, "invalid --%s", flagImportContext)
			}
			result, err := ustream.Convert(list[0], opt)
			if err != nil {
				return err
			}
			return writeImport(c, io, result, "daemon list")
		},
	}
}

func configImportLeptirCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "leptir",
		Usage:     "turn the configuration of the PHP task processor leptir into a procops.toml",
		ArgsUsage: "FILE",
		Description: "leptir's configuration is PHP code; FILE is what PHP makes of it, as JSON. Its brokers\n" +
			"and meta storages are shared with what is still run by leptir.\n\n" +
			examples(
				"php -r 'echo json_encode(require $argv[1]);' leptir.config.php > leptir.json",
				"procops config import leptir leptir.json -o procops.toml",
			),
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			list, err := args(c, 1, 1, "a FILE")
			if err != nil {
				return err
			}
			result, err := leptir.Convert(list[0])
			if err != nil {
				return err
			}
			return writeImport(c, io, result, "tasks work")
		},
	}
}

// absolute makes a path that was given absolute.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

// envFlag is the flag --env of the commands that read a Procfile.
func envFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: flagEnv, Aliases: []string{"e"}, Usage: "read variables from this `FILE` instead of the .env beside the Procfile; may be given again"}
}

// envFiles returns the files with variables: those that --env names, else the
// .env beside the Procfile if there is one.
func envFiles(c *cli.Context, file string) []string {
	if named := c.StringSlice(flagEnv); len(named) > 0 {
		return named
	}
	beside := filepath.Join(filepath.Dir(file), ".env")
	if _, err := os.Stat(beside); err != nil {
		return nil
	}
	return []string{beside}
}

// dirFrom returns the directory of file as seen from that of the result, which
// is the working directory if the result goes to stdout.
func dirFrom(result, file string) (string, error) {
	from, err := filepath.Abs(filepath.Dir(result))
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

// nextSupervise is the command that runs what was imported.
const nextSupervise = "supervise run"

// writeImport writes what was imported, and what is to know about it and which command
// comes next to stderr.
func writeImport(c *cli.Context, io IO, result imports.Result, next string) error {
	file := c.String(flagOutput)
	if file == "" || file == "-" {
		if _, err := fmt.Fprint(io.Stdout, result.TOML); err != nil {
			return err
		}
	} else if err := config.WriteNew(file, result.TOML, importMode); err != nil {
		return err
	}
	for _, note := range result.Notes {
		fmt.Fprintf(io.Stderr, "procops: note: %s\n", note)
	}
	if file != "" && file != "-" {
		fmt.Fprintf(io.Stderr, "procops: wrote %q; next: `procops config check %s`, `procops %s --config %[2]s`\n", file, file, next)
	}
	return nil
}
