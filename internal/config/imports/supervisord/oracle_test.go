package supervisord

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"procops/internal/config"
	"procops/internal/config/imports/ini"
	"procops/internal/proc"
	"procops/internal/supervise"
)

// question is a question to testdata/oracle.py: a verb and its argument.
type question [2]any

// answer is what supervisord makes of it.
type answer struct {
	Value   json.RawMessage
	Refused string
}

// ask asks supervisord's own code, from Debian's package supervisor.
func ask(t *testing.T, questions []question) []answer {
	t.Helper()
	var in bytes.Buffer
	encoder := json.NewEncoder(&in)
	for _, q := range questions {
		if err := encoder.Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/oracle.py")
	cmd.Stdin = &in
	cmd.Env = append(os.Environ(), environment()...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot ask supervisord: %v\n%s", err, stderr.String())
	}
	var answers []answer
	for line := range bytes.Lines(out) {
		var a answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("answer %q: %v", line, err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// agree compares what this package makes of an argument with the answer.
func agree(t *testing.T, argument any, a answer, got any, err error) {
	t.Helper()
	if err != nil || a.Refused != "" {
		if (err != nil) != (a.Refused != "") {
			t.Errorf("%q: got %q, error %v; supervisord: %s %s", argument, got, err, a.Value, a.Refused)
		}
		return
	}
	raw, bad := json.Marshal(got)
	if bad != nil {
		t.Fatal(bad)
	}
	var mine, theirs any
	if json.Unmarshal(raw, &mine) != nil || json.Unmarshal(a.Value, &theirs) != nil {
		t.Fatalf("%q: %s, %s", argument, raw, a.Value)
	}
	if fmt.Sprintf("%q", mine) != fmt.Sprintf("%q", theirs) {
		t.Errorf("%q:\ngot         %s\nsupervisord %s", argument, raw, a.Value)
	}
}

// pieces makes texts from fragments, always the same ones.
func pieces(n, longest int, fragments ...string) []string {
	random := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, n)
	for i := range texts {
		var b strings.Builder
		for range random.IntN(longest + 1) {
			b.WriteString(fragments[random.IntN(len(fragments))])
		}
		texts[i] = b.String()
	}
	return texts
}

func TestWordsAreThoseOfSupervisord(t *testing.T) {
	texts := pieces(4000, 8, "a", "b c", " ", "\t", "\n", "'", `"`, `\`, "#", "$x", "ü", "=", ",", ";", "''", `""`)
	var questions []question
	for _, text := range texts {
		questions = append(questions, question{"split", text})
	}
	for i, a := range ask(t, questions) {
		got, err := splitCommand(texts[i])
		agree(t, texts[i], a, append([]string{}, got...), err)
	}
}

func TestPairsAreThoseOfSupervisord(t *testing.T) {
	texts := append(pieces(4000, 9, "A", "B=", "=", ",", "x", "'", `"`, " ", "\n", "#", `\`, "/.+-():_9", "ü", `C="d,e"`, "F='g'", "H=i,"),
		"", ",", `A="1",B="2"`, "A=1;B=2", "A=1 , B=2,", `A="it's"`, "A=a'b,c'")
	var questions []question
	for _, text := range texts {
		questions = append(questions, question{"pairs", text})
	}
	for i, a := range ask(t, questions) {
		list, err := splitPairs(texts[i])
		got := [][2]string{}
		for _, v := range list {
			got = append(got, [2]string{v.name, v.value})
		}
		agree(t, texts[i], a, got, err)
	}
}

func TestNamesAreFilledInAsBySupervisord(t *testing.T) {
	names := map[string]any{"s": "text", "n": 7, "m": -12, "a(b)": "nested"}
	texts := pieces(3000, 4, "%", "%%", "(s)", "%(s)s", "%(n)d", "%(n)02d", "%(m)5d", "%(m)+05i", "%(n)x", "%(n)#X", "%(n)#o", "%(n).3d",
		"%(n)08.3d", "% (n)d", "%(n)-4dx", "%(s)10s", "%(s)-10sx", "%(s).2s", "%(n)s", "%(s)d", "%(none)s", "%(a(b))s", " ", "d", "%(n) d", "%(m)06x", "%(n)ls", "%(s")
	// Left alone: conversions that nobody uses and this package refuses.
	unused := func(text string) bool {
		rest := strings.ReplaceAll(text, "%%", "")
		for part := range strings.SplitAfterSeq(rest, "%") {
			if strings.HasSuffix(part, "%") && !strings.HasPrefix(rest[strings.Index(rest, part)+len(part):], "(") {
				return true
			}
		}
		return false
	}
	texts = slices.DeleteFunc(texts, unused)
	var questions []question
	for _, text := range texts {
		questions = append(questions, question{"expand", []any{text, names}})
	}
	lookup := func(name string) (value, error) {
		switch v := names[name].(type) {
		case string:
			return textValue(v), nil
		case int:
			return numberValue(v), nil
		}
		return value{}, fmt.Errorf("no %q", name)
	}
	for i, a := range ask(t, questions) {
		got, err := format(texts[i], lookup)
		agree(t, texts[i], a, got, err)
	}
}

func TestFilesAreReadAsBySupervisord(t *testing.T) {
	texts := pieces(4000, 14, "[a]", "[b]\n", "[DEFAULT]\n", "\n", "\n\n", "\r\n", "  ", "\t", "k=v", "K : w", "x", ";", "#", " ; c", " # c", "=", ":", "[", "]", "ü=é", "\u00a0", "\r")
	var questions []question
	for _, text := range texts {
		questions = append(questions, question{"ini", text})
	}
	for i, a := range ask(t, questions) {
		var d ini.Document
		problems := d.Read("x", texts[i])
		var err error
		if len(problems) > 0 {
			err = problems[0]
		}
		got := []any{}
		for _, s := range d.Sections {
			keys := [][2]string{}
			for _, k := range s.Keys {
				keys = append(keys, [2]string{k.Name, k.Value})
			}
			got = append(got, []any{s.Name, keys})
		}
		agree(t, texts[i], a, got, err)
	}
}

// peer is a process as supervisord has read it.
type peer struct {
	Group, Name     string
	Argv            []string
	Env             map[string]string
	Directory, User *string
	Umask           *int
	Autostart       bool
	Autorestart     any
	Startsecs       int
	Startretries    int
	Exitcodes       []int
	Stopsignal      int
	Stopwaitsecs    int
	RedirectStderr  bool    `json:"redirect_stderr"`
	StdoutLogfile   *string `json:"stdout_logfile"`
	StderrLogfile   *string `json:"stderr_logfile"`
	LogSize         int     `json:"stdout_logfile_maxbytes"`
	OldLogs         int     `json:"stdout_logfile_backups"`
}

// TestProcessesAreThoseOfSupervisord imports the example files, loads the
// results and compares each process with what supervisord reads.
func TestProcessesAreThoseOfSupervisord(t *testing.T) {
	for _, name := range exampleNames(t) {
		t.Run(name, func(t *testing.T) {
			cfg := loadExample(t, name)
			a := ask(t, []question{{"load", filepath.Join("testdata", name, "supervisord.conf")}})[0]
			var peers []peer
			if err := json.Unmarshal(a.Value, &peers); err != nil {
				t.Fatalf("supervisord: %s: %v", a.Refused, err)
			}
			// Of the [fcgi-program:x] in that group, which is left out.
			peers = slices.DeleteFunc(peers, func(p peer) bool { return p.Group == "fast" })
			if len(peers) != len(cfg.Supervise.Process) || len(peers) == 0 {
				t.Errorf("%d processes, supervisord has %d", len(cfg.Supervise.Process), len(peers))
			}
			for _, p := range peers {
				p.compare(t, cfg)
			}
		})
	}
}

func (p *peer) compare(t *testing.T, cfg *config.Config) {
	t.Helper()
	label := fit(p.Group + "." + p.Name)
	got, ok := cfg.Supervise.Process[label]
	if !ok {
		label = fit(p.Name)
		got, ok = cfg.Supervise.Process[label]
	}
	if !ok {
		t.Errorf("there is no process %s:%s", p.Group, p.Name)
		return
	}
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s of %s: got %v, supervisord has %v", what, label, got, want)
		}
	}
	if !slices.Equal([]string(got.Command), p.Argv) {
		t.Errorf("command of %s: got %q, supervisord has %q", label, got.Command, p.Argv)
	}
	check("environment", got.Env, p.Env)
	check("autostart", got.Autostart, p.Autostart)
	check("restart", got.Restart, map[any]supervise.Restart{
		false: supervise.RestartNever, "RestartUnconditionally": supervise.RestartAlways, "RestartWhenExitUnexpected": supervise.RestartOnFailure,
	}[p.Autorestart])
	check("exit codes", got.SuccessCodes, p.Exitcodes)
	check("stop signal", got.Stop.Signal, proc.Signal(p.Stopsignal))
	check("stop wait", got.Stop.Grace.Std().Seconds(), p.Stopwaitsecs)
	if got.Restart != supervise.RestartNever {
		check("startsecs", got.HealthyAfter.Std().Seconds(), p.Startsecs)
		check("startretries", got.MaxRestarts, max(1, p.Startretries))
	}
	if p.Directory != nil && filepath.IsAbs(*p.Directory) {
		check("directory", got.Dir, *p.Directory)
	}
	if p.User != nil {
		check("user", got.User, *p.User)
	}
	if p.Umask != nil {
		check("umask", int(*got.Umask), *p.Umask)
	}
	if p.StdoutLogfile != nil && !strings.HasPrefix(*p.StdoutLogfile, "/dev/") && filepath.IsAbs(*p.StdoutLogfile) {
		check("directory of the log", filepath.Dir(got.Output.File), filepath.Dir(*p.StdoutLogfile))
		check("size of the log", got.Output.MaxSize.Bytes(), p.LogSize)
		check("old logs", got.Output.MaxFiles, p.OldLogs)
	}
	if len(got.OnFail) != 1 || !got.OnFail[0].Settle {
		t.Errorf("%s does not leave the others alone when it is given up: %v", label, got.OnFail)
	}
}

// TestWhatSupervisordRefusesIsRefused compares bad programs, one by one.
func TestWhatSupervisordRefusesIsRefused(t *testing.T) {
	var (
		questions []question
		paths     []string
		dir       = t.TempDir()
	)
	for i, lines := range []string{
		"autostart=maybe", "startsecs=soon", "startsecs=1.5", "startretries=", "exitcodes=0,300", "exitcodes=a", "exitcodes=-1", "exitcodes=0,,1",
		"stopsignal=NOPE", "stopsignal=usr1", "stopsignal= SIGhup", "stopwaitsecs=x", "stopasgroup=true\nkillasgroup=false", "killasgroup=no",
		"autorestart=sometimes", "autorestart=Unexpected", "autorestart=1", "numprocs=2", "numprocs=2\nprocess_name=a%(process_num)d", "numprocs=0",
		"umask=9", "umask=077", "process_name=a b", "process_name=a:b", "process_name= ok ", "environment=A", "environment=A=", "environment=A=1 B=2",
		"environment=A='", "environment=A=%(none)s", "command=a %d", "command=a %(x)s", "command=%(process_num)d", "command=%(program_name)d",
		"stdout_logfile_maxbytes=1TB", "stdout_logfile_maxbytes=1 MB", "stdout_logfile_maxbytes=x", "stdout_logfile_backups=x", "redirect_stderr=2",
		"priority=first", "directory=%(group_name)s", "numprocs_start=x", "stdout_logfile=%(x)s", "stderr_events_enabled=what", "command", "=x",
		"numprocs=%(ENV_COUNT)s", "numprocs=%(ENV_WORD)s", "user=%(ENV_NOT_SET)s%(", "[group:g]\nprograms=none", "[group:g:h]\nprograms=p", "[include]\nfile=x",
	} {
		path := filepath.Join(dir, fmt.Sprintf("%d.conf", i))
		write(t, path, "[supervisord]\n[program:p]\ncommand=/bin/cat\n"+lines+"\n")
		paths = append(paths, path)
		questions = append(questions, question{"load", path})
	}
	accepted := 0
	for i, a := range ask(t, questions) {
		_, err := Convert(paths[i], options())
		text, bad := os.ReadFile(paths[i])
		if bad != nil {
			t.Fatal(bad)
		}
		if (err != nil) != (a.Refused != "") {
			t.Errorf("%s\ngot %v\nsupervisord %s", text, err, a.Refused)
		}
		if err == nil {
			accepted++
			continue
		}
		if !utf8.ValidString(err.Error()) || !strings.HasPrefix(err.Error(), paths[i]+":") {
			t.Errorf("%s\nthe error has no place: %v", text, err)
		}
	}
	if accepted < 8 {
		t.Errorf("only %d were accepted", accepted)
	}
}
