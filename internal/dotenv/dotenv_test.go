package dotenv_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"procops/internal/dotenv"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	got, err := dotenv.Read(write(t, "\ufeffFIRST=1\r\n"+`# comment
  # another

PLAIN=a b # c
EMPTY=
SINGLE='it\n "is"'
DOUBLE="line\nline \"quoted\" back\\slash 'x'"
HALF="open
export EXPORTED=yes
_9=${HOME} $HOME
PLAIN=later`))
	want := []string{
		"FIRST=1", "PLAIN=a b # c", "EMPTY=", `SINGLE=it\n "is"`, "DOUBLE=line\nline \"quoted\" back\\slash 'x'",
		`HALF="open`, "EXPORTED=yes", "_9=${HOME} $HOME", "PLAIN=later",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	if got, err := dotenv.Read(os.DevNull); err != nil || len(got) > 0 {
		t.Errorf("/dev/null: %q, %v", got, err)
	}
}

func TestParseTellsLines(t *testing.T) {
	list, wrong := dotenv.Parse("\nA=1\nnothing\n B=2\nexport C=3\nD=\x00\n-=x")
	if want := []dotenv.Variable{{"A", "1", 2}, {"C", "3", 5}}; !slices.Equal(list, want) {
		t.Errorf("got %v, want %v", list, want)
	}
	if want := []int{3, 4, 6, 7}; !slices.Equal(wrong, want) {
		t.Errorf("wrong lines %v, want %v", wrong, want)
	}
}

func TestReadRefuses(t *testing.T) {
	bad := write(t, "A=1\nB = 2\n\n=x\n")
	_, err := dotenv.Read(bad)
	if want := bad + ":2: want NAME=VALUE; " + bad + ":4: want NAME=VALUE"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	missing := filepath.Join(t.TempDir(), "none.env")
	_, err = dotenv.Read(missing)
	if want := `cannot read "` + missing + `": no such file or directory`; !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		t.TempDir(): "it is a directory",
		fifo:        "it is not a regular file",
		write(t, "A="+strings.Repeat("x", 2<<20)): "it is larger than 2 MiB",
	} {
		if _, err := dotenv.Read(path); err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// FuzzParse checks that a line is either understood or told.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"A=1", "export A='x'", "A=\"\\n\\\"\"", "=", "\r\n#", "A=\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, wrong := dotenv.Parse(text)
		idle := 0
		for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				idle++
			}
		}
		if lines := strings.Count(text, "\n") + 1; len(list)+len(wrong)+idle != lines && len(list)+len(wrong)+idle != lines-1 {
			t.Errorf("%d variables, %d wrong and %d idle of %d lines", len(list), len(wrong), idle, lines)
		}
		for _, v := range list {
			if v.Name == "" || strings.ContainsAny(v.Name, "= \t\n") || strings.ContainsRune(v.Value, 0) {
				t.Errorf("variable %+v", v)
			}
		}
	})
}
