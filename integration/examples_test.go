package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestExamples runs every example of the help and of the docs, so that none of
// them rots.
func TestExamples(t *testing.T) {
	t.Parallel()
	byHelp, byDocs := helpExamples(t), docsExamples(t)
	if len(byHelp) < 50 || len(byDocs) < 30 {
		t.Fatalf("%d examples in the help, %d in the docs: too few to be all", len(byHelp), len(byDocs))
	}
	all := slices.Concat(byHelp, byDocs)
	slices.Sort(all)
	for _, example := range slices.Compact(all) {
		t.Run(example, func(t *testing.T) {
			t.Parallel()
			runExample(t, example)
		})
	}
}

// helpExamples returns the examples in the help of all commands. Each command
// must have some.
func helpExamples(t *testing.T) (all []string) {
	t.Helper()
	s := harness.NewShipped(t)
	var walk func(path ...string)
	walk = func(path ...string) {
		help := s.Want(0, append(path, "--help")...).Stdout
		_, examples, found := strings.Cut(help, "Examples:\n")
		if !found && len(path) > 0 {
			t.Errorf("the help of %q has no examples", path)
		}
		for line := range strings.Lines(examples) {
			if strings.TrimSpace(line) == "" {
				break
			}
			all = append(all, command(line))
		}
		_, commands, _ := strings.Cut(help, "COMMANDS:\n")
		for line := range strings.Lines(commands) {
			if !strings.HasPrefix(line, "   ") {
				break
			}
			if name := strings.TrimSuffix(strings.Fields(line)[0], ","); name != "help" {
				walk(append(slices.Clone(path), name)...)
			}
		}
	}
	walk()
	return all
}

// docsExamples returns the lines of code in the docs that call procops.
func docsExamples(t *testing.T) (all []string) {
	t.Helper()
	calls := regexp.MustCompile(`^(procops [^*]|.*\$\(procops )`)
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/guide/*.md", "examples/*/README.md"} {
		pages, err := filepath.Glob(filepath.Join(harness.ModuleRoot(), pattern))
		if err != nil || len(pages) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			check(t, err)
			for _, line := range codeLines(string(text)) {
				if line = command(line); calls.MatchString(line) {
					all = append(all, line)
				}
			}
		}
	}
	return all
}

// codeLines returns the lines of the fenced and the indented blocks of Markdown.
func codeLines(page string) (lines []string) {
	fenced := false
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    "):
			lines = append(lines, line)
		}
	}
	return lines
}

// command strips a line of what is not the command itself: the prompt, the
// times of a crontab, a comment.
func command(line string) string {
	line = strings.ReplaceAll(strings.TrimSpace(line), "bin/procops", "procops")
	line = regexp.MustCompile(`^(\$|[\d*]+( [\d*]+){4}) +`).ReplaceAllString(line, "")
	return regexp.MustCompile(`\s+#.*$`).ReplaceAllString(line, "")
}

// exampleConfig has what the examples name.
func exampleConfig() string {
	var b strings.Builder
	for _, name := range []string{"web", "db", "cache", "nginx", "redis", "clock", "worker"} {
		fmt.Fprintf(&b, "[supervise.process.%s]\ncommand = \"trap : HUP USR1; echo up; while :; do sleep 0.05; done\"\nready.log = '^up$'\nrestart = 'always'\n", name)
	}
	b.WriteString("[supervise.group.backend]\nchildren = ['db', 'cache']\n")
	b.WriteString("[tasks.type.'mail.send']\ncommand = 'cat'\n[tasks.type.report]\ncommand = 'cat'\n[tasks.type.broken]\ncommand = 'exit 1'\nmax_attempts = 1\n")
	b.WriteString("[daemon.report]\ncommand = 'echo done'\nsleep = '200ms'\n[daemon.resize]\ncommand = 'echo done'\ninstances = 2\n")
	b.WriteString("[worker.function.resize]\ncommand = 'cat'\n[worker.function.thumbnail]\ncommand = 'cat'\n")
	return b.String()
}

// exampleScript stands for the scripts that the examples run.
const exampleScript = "#!/bin/sh\necho done\n"

// exampleFixture makes what an example needs to succeed.
func exampleFixture(t *testing.T, s *harness.Sandbox, example string) {
	t.Helper()
	for _, name := range []string{"backup.sh", "integration-tests", "my-tests.sh"} {
		check(t, os.Chmod(s.WriteFile(name, exampleScript), 0o755))
	}
	check(t, os.Symlink(filepath.Join(harness.ModuleRoot(), "examples"), filepath.Join(s.Dir, "examples")))
	ports := harness.FreePorts(t, 3)
	s.Setenv("REDIS_PORT", strconv.Itoa(ports[0]))
	s.Setenv("GEARMAN_PORT", strconv.Itoa(ports[1]))
	s.Setenv("SERVE_PORT", strconv.Itoa(ports[2]))
	s.Setenv("EDITOR", "cat")
	for name, content := range map[string]string{
		"Procfile": "web: echo up; exec sleep 1000\nworker: exec sleep 1000\n", "supervisord.conf": "[program:web]\ncommand=sleep 1000\n",
		"ini/report.ini": "factory = Report_Factory::create\nsleep = 5\n", "bootstrap.php": "<?php\n",
		"photo.jpg": "light",
		".env":      "A=1\n", "local.env": "B=2\n", "prod.env": "C=3\n",
		"leptir.config.php": "<?php return ['leptir' => ['brokers' => [['type' => 'redis']]]];\n",
		"leptir.json":       `{"leptir": {"brokers": [{"type": "redis"}]}}`,
		"params.json":       `{"year": 2026}`, "tasks.jsonl": `{"type": "report", "in": "5m"}` + "\n",
	} {
		s.WriteFile(name, content)
	}
	if regexp.MustCompile(`^procops config (init|import)`).MatchString(example) {
		return
	}
	config := exampleConfig()
	if strings.Contains(example, "supervise scale") {
		config = regexp.MustCompile(`(?m)^\[supervise\.process\..*`).ReplaceAllString(config, "$0\ninstances = 1")
	}
	if strings.Contains(example, "procops worker") {
		config += fmt.Sprintf("[worker]\nservers = ['%s']\n", harness.Loopback(exampleJobServer(t, s)))
	}
	for _, name := range []string{"procops.toml", "app.toml", "new.toml"} {
		s.WriteFile(name, config)
	}
	if strings.Contains(example, "heartbeat") && !strings.Contains(example, "heartbeat attach") {
		for _, name := range []string{"backup", "queue", "pulse"} {
			s.Want(0, "heartbeat", "attach", name, "--tag", "shop")
			s.Want(0, "heartbeat", "beat", name)
			s.Want(0, "heartbeat", "run", name, "--", "true")
		}
	}
	if strings.Contains(example, "heartbeat resume") {
		s.Want(0, "heartbeat", "pause", "backup")
	}
	if regexp.MustCompile(`supervise[ .]`).MatchString(example) && !startsSupervisor(example) {
		s.Want(0, "supervise", "start")
		s.Want(0, "supervise", "wait")
	}
	if regexp.MustCompile(`daemon (status|stop|restart|reload|logs|history)`).MatchString(example) {
		s.Want(0, "daemon", "start", "--all")
		harness.Eventually(t, "all daemons have run", func() bool { return s.Procops("daemon", "status").Code == 0 })
	}
	if regexp.MustCompile(`tasks (watch|push .*--wait)`).MatchString(example) {
		s.Start("tasks", "work")
	}
	if strings.Contains(example, "tasks dead") {
		s.Want(0, "tasks", "push", "broken")
		s.Want(1, "tasks", "work", "--until-empty")
	}
	if strings.Contains(example, "tasks work") {
		s.Want(0, "tasks", "push", "report")
	}
	if strings.Contains(example, "worker job --unique") {
		s.Want(0, "worker", "submit", "report", "--unique", "monthly", "--at", "2099-01-01")
	}
	s.Want(0, "events", "emit", "deploy.done")
}

// exampleJobServer starts a Gearman server with a worker for each function that the
// examples wait for, and returns its port.
func exampleJobServer(t *testing.T, s *harness.Sandbox) (port int) {
	t.Helper()
	port = gearmand(t, s)
	for _, function := range []string{"reverse", "resize", "report"} {
		gearmanWorker(s, port, function, "cat")
	}
	gearmanWorker(s, port, "slow", "sleep 1; cat")
	return port
}

// startsSupervisor reports whether an example needs that none runs.
func startsSupervisor(example string) bool {
	return regexp.MustCompile(`supervise (run\b|start( *&&|$))`).MatchString(example)
}

// goesOn reports whether an example goes on until Ctrl-C.
func goesOn(example string) bool {
	return regexp.MustCompile(` (--follow|-f|--watch)\b|supervise run\b|daemon run\b|tasks work$|heartbeat monitor$|procops serve\b|worker (server|run)\b`).MatchString(example) &&
		!regexp.MustCompile(` --then |supervise run &`).MatchString(example)
}

// aDeadTask is the id of a task that has failed.
const aDeadTask = `$(procops tasks list --status dead --json | sed -n 's/.*"id": "\(.*\)".*/\1/p')`

// elsewhere replaces what an example names outside its own directory.
func elsewhere(example string) string {
	return strings.NewReplacer(
		"/usr/local/bin/backup.sh", "./backup.sh",
		"/etc/procops/procops.toml", "elsewhere.toml",
		"/etc/supervisor/supervisord.conf", "supervisord.conf",
		"/srv/app/", "",
		"$(cat /run/queue.pid)", "$$",
		"make report | mail me", "true",
		"go test ./integration", "true",
		"unix:/run/procops/serve.sock", "unix:$PWD/serve.sock",
		"procops serve --listen 127.0.0.1:9000", "procops serve --listen 127.0.0.1:$SERVE_PORT",
		"procops serve --listen", "procops serve --listen",
		"procops serve", "procops serve --listen 127.0.0.1:$SERVE_PORT",
		"| less", "| cat",
		" | jq .text", "",
		" | jq .[0].turns", "",
		"./procops supervise upgrade", "procops supervise upgrade",
		"--program /opt/procops/procops", "--program $(command -v procops)",
		"127.0.0.1:4730//H:host:12 --wait", "$(procops worker submit slow) --wait",
		"127.0.0.1:4730//H:host:12", "$(procops worker submit mail)",
		"--server queue1 --server queue2:4731", "",
		"--server queue2", "",
		"procops worker server --listen 127.0.0.1:4731 --listen /run/procops/gearman.sock", "procops worker server --listen 127.0.0.1:$SERVE_PORT --listen $PWD/g.sock",
		"procops worker server", "procops worker server --listen 127.0.0.1:$SERVE_PORT",
		"cancel job H:host:12", "cancel job $(procops worker submit mail | sed 's|.*//||')",
		"queue1 queue2:4731", "",
		"queue1 queue2", "",
		"--broker redis --tasks 100000", "--tasks 100",
		"config/leptir.config.php", "leptir.config.php",
		"tasks dead requeue 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "tasks dead requeue "+aDeadTask,
		"tasks dead delete 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "tasks dead delete "+aDeadTask,
		"01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "$(procops tasks push report)",
		"--param too=ann", "",
		"--ready --timeout 30s", "--ready --timeout 30s && procops supervise stop",
	).Replace(example)
}

func runExample(t *testing.T, example string) {
	t.Helper()
	s := harness.NewShipped(t)
	exampleFixture(t, s, example)
	if goesOn(example) {
		p := s.StartProgram("sh", "-c", elsewhere(example))
		if strings.Contains(example, "&& procops supervise run") {
			p.WaitLine(`supervising`)
		} else {
			p.WaitLine(`.`)
		}
		p.SignalGroup(syscall.SIGINT)
		if code := p.Wait(); code != 0 && code != 130 || strings.Contains(p.Stderr(), "procops: error: ") {
			t.Errorf("code %d: %s", code, p.Output())
		}
	} else if r := s.Run("sh", "-c", elsewhere(example)); r.Code != 0 || strings.Contains(r.Stderr, "procops: error: ") {
		t.Error(r)
	}
	if r := s.Procops("supervise", "stop"); r.Code != 0 && r.Code != 5 {
		t.Error(r)
	}
	if strings.Contains(example, "procops daemon") {
		s.Want(0, "daemon", "stop", "--all")
	}
	if strings.Contains(example, "procops tasks start") {
		s.Want(0, "tasks", "stop", "--wait")
	}
}
