package config_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/config"
)

// soon fails the test if load takes longer than hostile input may take.
func soon(t *testing.T, load func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan struct{})
	go func() {
		defer close(done)
		load()
	}()
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the configuration is still being loaded")
	}
}

func TestHostileText(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"NUL":                  {"a = 1\nb = \"x\x00\"", `procops.toml:2:7: there is a NUL byte; a configuration must be UTF-8 text`},
		"UTF-16":               {"\xff\xfea\x00=\x00", `procops.toml:1:1: invalid UTF-8; a configuration must be UTF-8 text`},
		"invalid UTF-8":        {"# gr\xfc\xdfe", `procops.toml:1:5: invalid UTF-8; a configuration must be UTF-8 text`},
		"a program":            {"\x7fELF\x02\x01\x01\x00", `procops.toml:1:8: there is a NUL byte; a configuration must be UTF-8 text`},
		"lists in lists":       {"x = " + strings.Repeat("[", 10_000), `procops.toml:1:68: tables or lists are nested more than 64 deep`},
		"closed lists":         {"x = " + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), `procops.toml:1:68: tables or lists are nested more than 64 deep`},
		"tables in tables":     {"x = " + strings.Repeat("{a=", 10_000) + "1" + strings.Repeat("}", 10_000), `procops.toml:1:196: tables or lists are nested more than 64 deep`},
		"a deep header":        {"[" + strings.Repeat("a.", 10_000) + "a]", `procops.toml:1:20004: tables or lists are nested more than 64 deep`},
		"a long key":           {strings.Repeat("k", 100_000) + " = 1", `procops.toml:1:100002: a key with its tables is longer than 512 bytes`},
		"a list without end":   {"[supervise.process.a]\ncommand = [" + strings.Repeat("'x', ", 100_000), `procops.toml:2:500011: unexpected EOF; expected value`},
		"a string without end": {"a = '''" + strings.Repeat("x\n", 100_000), `procops.toml:100000:2: unexpected EOF; expected "'''"`},
		"control characters":   {"a = \"\x1b[31m\"", `procops.toml:1:5: TOML files cannot contain control characters: '0x1b'`},
		"a key on the screen":  {"\"\\u001b[31m\" = 1", `procops.toml:1:1: unknown key "\x1b[31m"`},
	} {
		t.Run(name, func(t *testing.T) {
			inDir(t, map[string]string{"procops.toml": test.text})
			soon(t, func() {
				_, err := config.Load("procops.toml", env())
				if err == nil || err.Error() != test.want {
					t.Errorf("got  %v\nwant %s", err, test.want)
				}
			})
		})
	}
}

func TestHarmlessText(t *testing.T) {
	for name, text := range map[string]string{
		"byte order mark": "\ufeffdurability = 'power'",
		"CRLF":            "durability = 'power'\r\n\r\n[log]\r\nlevel = 'info' # x\r\n",
		"no end of line":  "durability = 'power'",
		"TOML 1.1":        "log = {\n  level = 'info', # comment\n}\ndurability = 'power'\n",
	} {
		if cfg := load(t, text); cfg.Durability != "power" {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}

// TestHostileFloods loads large files that are made to be slow, or to need much
// memory.
func TestHostileFloods(t *testing.T) {
	const most = 1 << 20
	for name, text := range map[string]string{
		"one long line":     "x = {" + strings.TrimSuffix(strings.Repeat("a={},", most/5), ",") + "}",
		"many keys":         manyKeys(most / 12),
		"many long keys":    "['" + strings.Repeat("k", 500) + "']\n" + manyKeys(most/40),
		"many long strings": "x = [" + strings.Repeat("'"+strings.Repeat("${", 1000)+"',", most/2003) + "]",
		"many tables":       strings.Repeat("[[a.b.c]]\n", most/10),
		"many processes":    manyProcesses(5_000),
	} {
		t.Run(name, func(t *testing.T) {
			inDir(t, map[string]string{"procops.toml": text})
			soon(t, func() {
				if _, err := config.Load("procops.toml", env()); (err == nil) != (name == "many processes") {
					t.Errorf("error %.200v", err)
				}
			})
		})
	}
}

func TestHostileFiles(t *testing.T) {
	inDir(t, map[string]string{"dir/x": "", "secret": "", "huge": ""})
	for _, err := range []error{
		syscall.Mkfifo("fifo", 0o600),
		os.Truncate("huge", 50<<20),
		os.Symlink("loop", "loop"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"dir":       `cannot read configuration "dir": it is a directory`,
		"fifo":      `cannot read configuration "fifo": it is not a regular file`,
		"huge":      `cannot read configuration "huge": it is larger than 4 MiB`,
		"loop":      `cannot read configuration "loop": too many levels of symbolic links`,
		"missing":   `cannot read configuration "missing": no such file or directory`,
		"dir/x/y":   `cannot read configuration "dir/x/y": not a directory`,
		"/dev/zero": `cannot read configuration "/dev/zero": it is not a regular file`,
	} {
		soon(t, func() {
			if _, err := config.Load(path, env()); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	if _, err := config.Load(os.DevNull, env()); err != nil {
		t.Errorf("%s: %v", os.DevNull, err)
	}
}
