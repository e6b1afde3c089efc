package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/install"
	"procops/internal/name"
	"procops/internal/proc"
	"procops/internal/tasks"
)

const (
	flagAs      = "as"
	flagForce   = "force"
	flagName    = "name"
	flagRoot    = "root"
	flagSystemd = "systemd"
	flagSysV    = "sysv"
	flagUser    = "user"
)

func installCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "install",
		Usage: "have the machine run procops as a service",
		Description: "Writes a unit of systemd, or a script for SysV init, for the supervised tree or for\n" +
			"one daemon, and says how to start it. The config, the state directory and procops\n" +
			"itself are named in it as they are found now.\n\n" +
			examples("procops install supervise --dry-run", "procops install daemon report --root ./image --sysv", "procops install supervise --user --dry-run"),
		Subcommands: []*cli.Command{
			{
				Name: "supervise", Usage: "the supervised tree of the config", Flags: installFlags(),
				Description: examples("procops install supervise --dry-run", "procops install supervise --as nobody --root ./image"),
				Action:      func(c *cli.Context) error { return installService(c, io, superviseService) },
			},
			{
				Name: "daemon", Usage: "a daemon of the config", ArgsUsage: "NAME", Flags: append(installFlags(), instanceFlags()...),
				Description: examples("procops install daemon report --dry-run", "procops install daemon resize --instance 2 --root ./image"),
				Action:      func(c *cli.Context) error { return installService(c, io, daemonService) },
			},
			{
				Name: "tasks", Usage: "what works off queued tasks", Flags: installFlags(),
				Description: examples("procops install tasks --dry-run", "procops install tasks --sysv --root ./image"),
				Action:      func(c *cli.Context) error { return installService(c, io, tasksService) },
			},
			{
				Name: "worker", Usage: "the Gearman worker, for all functions of the config", Flags: installFlags(),
				Description: examples("procops install worker --systemd --dry-run", "procops install worker --user --dry-run"),
				Action:      func(c *cli.Context) error { return installService(c, io, workerService) },
			},
		},
	}
}

func uninstallCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "uninstall",
		Usage: "remove what install has written",
		Description: "Stop the service before: it says how.\n\n" +
			examples("procops install supervise --root ./image && procops uninstall supervise --root ./image"),
		Subcommands: []*cli.Command{
			{
				Name: "supervise", Usage: "the supervised tree of the config", Flags: uninstallFlags(),
				Description: examples("procops install supervise --root ./image && procops uninstall supervise --root ./image"),
				Action:      func(c *cli.Context) error { return uninstallService(c, io, superviseService) },
			},
			{
				Name: "daemon", Usage: "a daemon of the config", ArgsUsage: "NAME", Flags: append(uninstallFlags(), instanceFlags()...),
				Description: examples("procops install daemon report --root ./image && procops uninstall daemon report --root ./image"),
				Action:      func(c *cli.Context) error { return uninstallService(c, io, daemonService) },
			},
			{
				Name: "tasks", Usage: "what works off queued tasks", Flags: uninstallFlags(),
				Description: examples("procops install tasks --root ./image && procops uninstall tasks --root ./image"),
				Action:      func(c *cli.Context) error { return uninstallService(c, io, tasksService) },
			},
			{
				Name: "worker", Usage: "the Gearman worker", Flags: uninstallFlags(),
				Description: examples("procops install worker --root ./image && procops uninstall worker --root ./image"),
				Action:      func(c *cli.Context) error { return uninstallService(c, io, workerService) },
			},
		},
	}
}

func uninstallFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagName, Usage: "`NAME` of the unit or script (default: procops, procops-DAEMON, procops-tasks or procops-worker)"},
		&cli.BoolFlag{Name: flagUser, Usage: "of the user's own service manager (systemctl --user)"},
		&cli.BoolFlag{Name: flagSystemd, Usage: "a unit of systemd (default: where that runs)"},
		&cli.BoolFlag{Name: flagSysV, Usage: "a script in /etc/init.d"},
		&cli.StringFlag{Name: flagRoot, Usage: "below this `DIR` instead of /, for an image of a machine"},
		&cli.BoolFlag{Name: flagForce, Usage: "also a file that procops install has not written"},
	}
}

func installFlags() []cli.Flag {
	return append(uninstallFlags(),
		&cli.StringFlag{Name: flagAs, Usage: "run as this `USER` (default: root)"},
		&cli.BoolFlag{Name: flagDryRun, Usage: "print it and write nothing"})
}

// superviseService is the tree as a service.
func superviseService(c *cli.Context, _ *app.App) (install.Service, error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return install.Service{}, err
	}
	return install.Service{
		Name: "procops", Description: "procops: the supervised tree",
		Run:   []string{"supervise", "run", "--" + flagQuiet},
		Start: []string{"supervise", "start"}, Stop: []string{"supervise", "stop"}, Reload: []string{"supervise", "reload"},
		// Without a supervisor status ends with 5, whatever its processes do with less.
		Status: []string{"supervise", "status"}, Running: []int{1, 2},
	}, nil
}

// daemonService is a daemon as a service.
func daemonService(c *cli.Context, a *app.App) (install.Service, error) {
	names, err := args(c, 1, 1, "the NAME of a daemon")
	if err != nil {
		return install.Service{}, err
	}
	ids, err := daemonsOf(c, a, names)
	if err != nil {
		return install.Service{}, err
	}
	if len(ids) > 1 && !c.Bool(flagSysV) {
		return install.Service{}, fault.New(fault.Usage, "daemon %q has %d instances, and a unit is for one process", names[0], len(ids)).
			WithHint("--instance 1 to %d installs one of them, --%s a script for all; or run them in a supervised tree with children = [\"daemon.%s\"]", len(ids), flagSysV, names[0])
	}
	which := []string{names[0], "--" + flagContext, ids[0].Context}
	s := install.Service{Name: "procops-" + names[0], Description: "procops: daemon " + names[0]}
	if c.IsSet(flagInstance) {
		number := strconv.Itoa(c.Int(flagInstance))
		which = append(which, "--"+flagInstance, number)
		s.Name, s.Description = s.Name+"-"+number, s.Description+", instance "+number
	}
	verb := func(words ...string) []string { return append(append([]string{"daemon"}, words...), which...) }
	s.Run = append(verb("run"), "--"+flagQuiet)
	s.Start, s.Stop, s.Reload = verb("start"), verb("stop"), verb("reload")
	s.Status, s.Running = verb("status"), []int{1}
	return s, nil
}

// tasksService is what works off tasks as a service.
func tasksService(c *cli.Context, a *app.App) (install.Service, error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return install.Service{}, err
	}
	if len(a.Config.Tasks.Runnable()) == 0 {
		return install.Service{}, fault.Wrap(fault.Usage, tasks.ErrNoType, "there is nothing to work off")
	}
	return install.Service{
		Name: "procops-tasks", Description: "procops: queued tasks", Always: true,
		Run:   []string{"tasks", "work"},
		Start: []string{"tasks", "start", "--" + flagDaemon}, Stop: []string{"tasks", "stop", "--" + flagWait},
		Status: []string{"tasks", "status"},
	}, nil
}

// workerService is the Gearman worker as a service. It has no commands that start and stop
// it in the background, so a script must run it in a tree.
func workerService(c *cli.Context, a *app.App) (install.Service, error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return install.Service{}, err
	}
	if _, err := a.Config.Worker.Only(); err != nil {
		return install.Service{}, err
	}
	if c.Bool(flagSysV) {
		return install.Service{}, fault.New(fault.Usage, "there is no script for a worker alone").
			WithHint("run it in a supervised tree with children = [\"worker\"], and `procops install supervise --%s`", flagSysV)
	}
	return install.Service{
		Name: "procops-worker", Description: "procops: Gearman worker", Always: true, Run: []string{"worker", "run"},
	}, nil
}

// serviceMaker makes the service that a command is for.
type serviceMaker func(*cli.Context, *app.App) (install.Service, error)

// place is a file of a service: a unit or a script.
type place struct {
	service install.Service
	sysv    bool
	path    string
}

// placeOf finds out what is to be installed, and where.
func placeOf(c *cli.Context, io IO, makeService serviceMaker) (p place, err error) {
	a, err := openApp(c, io, "install", brief)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	if c.Bool(flagSystemd) && c.Bool(flagSysV) || c.Bool(flagUser) && c.Bool(flagSysV) {
		return p, fault.New(fault.Usage, "%s: --%s goes with neither --%s nor --%s", commandName(c), flagSysV, flagSystemd, flagUser)
	}
	if p.service, err = makeService(c, a); err != nil {
		return p, err
	}
	if text := c.String(flagName); text != "" {
		if err := name.Check(text); err != nil {
			return p, fault.Wrap(fault.Usage, err, "%s: --%s", commandName(c), flagName)
		}
		p.service.Name = text
	}
	program, err := os.Executable()
	if err != nil {
		return p, fmt.Errorf("cannot tell which procops this is: %w", err)
	}
	p.service.Program, p.service.Base = program, baseLine(a)[1:]
	p.service.User, p.service.ForUser = c.String(flagAs), c.Bool(flagUser)
	p.sysv = wantsScript(c) && len(p.service.Start) > 0
	p.path, err = p.find(c, io)
	return p, err
}

// wantsScript reports whether a script is wanted, or is what this machine has.
func wantsScript(c *cli.Context) bool {
	elsewhere := c.Bool(flagSystemd) || c.Bool(flagUser) || c.String(flagRoot) != ""
	return c.Bool(flagSysV) || !elsewhere && !systemdRuns() && hasInitScripts()
}

func (p place) find(c *cli.Context, io IO) (string, error) {
	root := c.String(flagRoot)
	if root == "" {
		root = "/"
	}
	if p.sysv {
		return p.service.ScriptPath(root), nil
	}
	config, _ := io.Getenv("XDG_CONFIG_HOME")
	if home, _ := io.Getenv("HOME"); config == "" && home != "" {
		config = filepath.Join(home, ".config")
	}
	if p.service.ForUser && config == "" {
		return "", fault.New(fault.Failure, "cannot find the user's units: neither $XDG_CONFIG_HOME nor $HOME is set")
	}
	return p.service.UnitPath(root, config), nil
}

// systemdRuns reports whether systemd is the init of this machine, as sd_booted(3) does.
func systemdRuns() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

func hasInitScripts() bool {
	_, err := os.Stat("/etc/init.d")
	return err == nil
}

func installService(c *cli.Context, io IO, makeService serviceMaker) error {
	p, err := placeOf(c, io, makeService)
	if err != nil {
		return err
	}
	if p.service.User != "" {
		if _, err := proc.LookupUser(p.service.User, ""); err != nil && c.String(flagRoot) == "" {
			return fault.Wrap(fault.Usage, err, "%s: --%s", commandName(c), flagAs)
		}
	}
	content, mode := p.service.Unit(), fs.FileMode(0o644)
	if p.sysv {
		content, mode = p.service.Script(), 0o755
	}
	if c.Bool(flagDryRun) {
		_, err := io.Stdout.Write(content)
		return err
	}
	if err := install.Write(p.path, content, mode, c.Bool(flagForce)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Stdout, "wrote %s; start it, now and with the machine: %s\n", p.path, p.begin())
	return err
}

func uninstallService(c *cli.Context, io IO, makeService serviceMaker) error {
	p, err := placeOf(c, io, makeService)
	if err != nil {
		return err
	}
	if err := install.Remove(p.path, c.Bool(flagForce)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Stdout, "removed %s; if it still runs: %s\n", p.path, p.end())
	return err
}

// begin is the command that starts the service.
func (p place) begin() string {
	n := p.service.Name
	switch {
	case p.sysv:
		return "update-rc.d " + n + " defaults && " + p.path + " start"
	case p.service.ForUser:
		return "systemctl --user daemon-reload && systemctl --user enable --now " + n
	default:
		return "systemctl daemon-reload && systemctl enable --now " + n
	}
}

// end is the command that stops it.
func (p place) end() string {
	n := p.service.Name
	switch {
	case p.sysv:
		return "update-rc.d " + n + " remove; procops " + strings.Join(p.service.Stop, " ")
	case p.service.ForUser:
		return "systemctl --user disable --now " + n
	default:
		return "systemctl disable --now " + n
	}
}
