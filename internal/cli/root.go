package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/name"
	"procops/internal/proc"
)

// Main runs the command that args name and returns the exit code of the
// process. Errors are printed here, once.
func Main(ctx context.Context, io IO, args []string) int {
	if len(args) == 2 && slices.Contains([]string{"version", "--version", "-V", "-v"}, args[1]) {
		// The one command that scripts call to see whether procops is there at
		// all; building the command tree would double its cost.
		_, err := fmt.Fprintln(io.Stdout, versionLine())
		return exitCode(io, err)
	}
	return exitCode(io, run(ctx, io, args))
}

// exit is an error that is only an exit code: of a wrapped command, or of a
// check that has printed its result already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func run(ctx context.Context, io IO, args []string) error {
	root := newRoot(io)
	help := &strictWriter{w: io.Stdout}
	root.Writer = help
	if err := root.RunContext(ctx, permute(root, args)); err != nil {
		return err
	}
	return help.err
}

// strictWriter keeps the first error for those who write and do not look, such
// as the flag library with its help.
type strictWriter struct {
	w   io.Writer
	err error
}

func (s *strictWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func exitCode(io IO, err error) int {
	var (
		code exit
		sig  *signalError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &sig):
		return 128 + int(sig.signal)
	case readerGone(io, err):
		return 128 + int(syscall.SIGPIPE)
	}
	if cause := cannotPrint(io, err); cause != nil {
		err = fault.Wrap(fault.Failure, cause, "cannot write to standard output")
	}
	printError(io.Stderr, err)
	return fault.ExitCode(err)
}

// readerGone reports whether the reader of stdout, such as head, has enough. No
// program says a word about that.
func readerGone(io IO, err error) bool {
	return errors.Is(cannotPrint(io, err), syscall.EPIPE)
}

// cannotPrint returns why stdout cannot be written, nil if err is another error.
func cannotPrint(io IO, err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) && failed.Path == io.Stdout.Name() {
		return failed.Err
	}
	return nil
}

// printError writes the error, each line with procops' name, and the hints.
func printError(w io.Writer, err error) {
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(w, "procops: error: %s\n", line)
	}
	for _, hint := range fault.Hints(err) {
		fmt.Fprintf(w, "procops: hint: %s\n", hint)
	}
}

// The flags that every command knows.
const (
	flagConfig   = "config"
	flagStateDir = "state-dir"
)

// newRoot builds the command tree.
func newRoot(io IO) *cli.App {
	root := &cli.App{
		Name:  "procops",
		Usage: "keep processes running",
		Description: "Start here: procops config init && procops supervise run\n\n" +
			"Exit codes: 0 fine, 1 failure, 2 usage or config error, 3 not found,\n" +
			"4 conflict, 5 unreachable; commands that check health use 0 OK,\n" +
			"1 WARNING, 2 CRITICAL, 3 UNKNOWN; wrappers pass their command's code on.",
		Reader:    io.Stdin,
		ErrWriter: io.Stderr,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagConfig, Aliases: []string{"c"}, Usage: "use this `FILE` (else $PROCOPS_CONFIG, ./procops.toml, the user's config directory, /etc/procops)"},
			&cli.StringFlag{Name: flagStateDir, Usage: "keep state in this `DIR` (else $PROCOPS_STATE_DIR, state_dir in the config, $XDG_STATE_HOME/procops, /var/lib/procops for root)"},
		},
		Commands: []*cli.Command{
			superviseCommand(io),
			heartbeatCommand(io),
			daemonCommand(io),
			workerCommand(io),
			tasksCommand(io),
			serveCommand(io),
			eventsCommand(io),
			configCommand(io),
			installCommand(io),
			uninstallCommand(io),
			versionCommand(io),
		},
		HideVersion:            true,
		HideHelpCommand:        true, // permute turns it into --help
		UseShortOptionHandling: true,
		// A comma is part of a value: --data list=1,2.
		DisableSliceFlagSeparator: true,
		// The exit code is main's business.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
	}
	for _, c := range root.Commands {
		prepare(c)
	}
	root.Action = unknownCommand
	return root
}

// prepare gives each command below c what all have in common.
func prepare(c *cli.Command) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	for _, f := range c.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true // "(default: false)" says nothing
		}
	}
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = unknownCommand
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

// usageError turns what the flag parser says into a usage error.
func usageError(c *cli.Context, err error, _ bool) error {
	problem := err.Error()
	hint := fmt.Sprintf("see `%s --help`", commandName(c))
	if flag, unknown := strings.CutPrefix(problem, "flag provided but not defined: -"); unknown {
		problem = fmt.Sprintf("unknown flag %q", flag)
		if _, err := proc.ParseSignal(flag); err == nil && c.Command != nil && c.Command.Name == signalName {
			hint = fmt.Sprintf("write the signal without \"-\": `%s %s NAME`", commandName(c), flag)
		} else if ours := flagElsewhere(c, flag); ours != "" {
			hint = fmt.Sprintf("did you mean --%s? %s", ours, hint)
		} else if near, ok := name.Nearest(flag, flagNames(c)); ok && len(flag) > 1 {
			hint = fmt.Sprintf("did you mean --%s? %s", near, hint)
		}
	}
	return fault.New(fault.Usage, "%s: %s", commandName(c), problem).WithHint("%s", hint)
}

// unknownCommand is the action of a command that only has subcommands: without
// an argument it shows the help, with one it refuses it.
func unknownCommand(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return cli.ShowSubcommandHelp(c)
	}
	commands := c.App.Commands
	if c.Command != nil && len(c.Command.Subcommands) > 0 {
		commands = c.Command.Subcommands
	}
	e := fault.New(fault.Usage, "%q is not a command of %s", c.Args().First(), commandName(c))
	if found := meant(commandName(c), commands, c.Args().First()); len(found) > 0 {
		return e.WithHint("%s `%s --help` lists all", didYouMean(found), commandName(c))
	}
	return e.WithHint("`%s --help` lists all", commandName(c))
}

// commandName returns the command as it is typed, such as "procops events".
func commandName(c *cli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return c.App.Name
}

// args returns the positional arguments if there are at least least and at
// most most of them (most < 0: any number); names is how the help calls them.
func args(c *cli.Context, least, most int, names string) ([]string, error) {
	words := c.Args().Slice()
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	n := len(words)
	if n < least {
		return nil, fault.New(fault.Usage, "%s needs %s", commandName(c), names).WithHint("see `%s --help`", commandName(c))
	}
	if most >= 0 && n > most {
		return nil, fault.New(fault.Usage, "%s does not know what to do with %q", commandName(c), words[most]).WithHint("see `%s --help`", commandName(c))
	}
	return words, nil
}

// examples formats the examples that the help of every command ends with.
func examples(lines ...string) string {
	return "Examples:\n  " + strings.Join(lines, "\n  ")
}
