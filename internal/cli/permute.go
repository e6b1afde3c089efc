package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves flags to where the flag library looks for them: those of the
// whole program before the first command, those of a command before its
// positional arguments. People type `procops supervise logs web -f`, and the
// library would stop reading flags at "web". What follows "--" stays as it is, and
// so do the arguments of a command that is run, as after nice or timeout.
func permute(root *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	p := permutation{flags: root.Flags, commands: root.Commands}
	rest := args[1:]
	for len(rest) > 0 && rest[0] != "--" && !p.inCommand() && !p.lost() {
		rest = rest[p.take(root.Flags, rest):]
	}
	if p.help && (len(p.positional) == 0 || len(p.commands) == 0) {
		return slices.Concat(args[:1], p.command, []string{"--help"})
	}
	if len(p.positional) == 0 && len(rest) > 0 {
		// The library drops a "--" that comes first; a command may want to know.
		rest = slices.Concat([]string{"--"}, rest)
	}
	return slices.Concat(args[:1], p.global, p.command, p.positional, rest)
}

// permutation is the command line put in order so far.
type permutation struct {
	flags      []cli.Flag     // of the innermost command named
	commands   []*cli.Command // below it
	global     []string
	command    []string // command names, each with its flags
	positional []string
	wraps      bool // the innermost command runs another one, which follows its NAME
	help       bool // the word "help" was found among the command names
}

// take puts the first argument, and its value if it is a flag that has one,
// into its place and returns how many it took.
func (p *permutation) take(global []cli.Flag, rest []string) int {
	arg := rest[0]
	if len(arg) < 2 || arg[0] != '-' {
		p.takeWord(arg)
		return 1
	}
	into, known := &p.command, find(p.flags, arg)
	if known == nil {
		if known = find(global, arg); known != nil {
			into = &p.global
		}
	}
	if short, ok := p.attached(arg); ok && known == nil {
		p.command = append(p.command, short, arg[len(short):]) // -n5 is -n 5
		return 1
	}
	n := 1
	if takesValue(known) && !strings.Contains(arg, "=") && len(rest) > 1 {
		n = 2
	}
	*into = append(*into, rest[:n]...)
	return n
}

func (p *permutation) takeWord(arg string) {
	if (arg == "help" || arg == "h") && len(p.positional) == 0 && len(p.commands) > 0 {
		p.help = true // `procops help events list` is `procops events list --help`
		return
	}
	i := slices.IndexFunc(p.commands, func(c *cli.Command) bool { return c.HasName(arg) })
	if len(p.positional) > 0 || i < 0 {
		p.positional = append(p.positional, arg)
		return
	}
	p.command = append(p.command, arg)
	p.wraps = p.commands[i].ArgsUsage == wrapperUsage
	p.flags, p.commands = p.commands[i].Flags, p.commands[i].Subcommands
}

// inCommand reports whether all that follows are arguments of a command to run.
func (p *permutation) inCommand() bool { return p.wraps && len(p.positional) > 1 }

// attached returns the short flag of the innermost command that arg begins with,
// if it has a value, and arg goes on with that.
func (p *permutation) attached(arg string) (short string, ok bool) {
	if len(arg) < 3 || arg[1] == '-' || arg[2] == '=' {
		return "", false
	}
	return arg[:2], takesValue(find(p.flags, arg[:2]))
}

// lost reports whether a word that is no command stands where one must. That is
// the mistake to tell of, not a flag behind it of which nobody knows whose it is.
func (p *permutation) lost() bool { return len(p.commands) > 0 && len(p.positional) > 0 }

// find returns the flag that arg names. Of short flags run together, such as
// "-fn", the last one is meant: only it can have a value.
func find(flags []cli.Flag, arg string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	if strings.HasPrefix(arg, "--") || len(name) < 2 {
		return nil
	}
	return find(flags, "-"+name[len(name)-1:])
}

func takesValue(f cli.Flag) bool {
	doc, ok := f.(cli.DocGenerationFlag)
	return ok && doc.TakesValue()
}
