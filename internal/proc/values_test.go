package proc

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		value any
		want  Command
		shown string
	}{
		{"a | b", Command{"/bin/sh", "-c", "a | b"}, "a | b"},
		{[]any{"a", "b c", "", "d'e", "$f"}, Command{"a", "b c", "", "d'e", "$f"}, `a 'b c' '' 'd'\''e' '$f'`},
		{[]any{"/bin/sh", "x"}, Command{"/bin/sh", "x"}, "/bin/sh x"},
	} {
		var got Command
		if err := got.UnmarshalTOML(c.value); err != nil || !slices.Equal(got, c.want) || got.String() != c.shown {
			t.Errorf("%v: got %q (%s), %v", c.value, got, got, err)
		}
	}
	for _, c := range []struct {
		value any
		want  string
	}{
		{"", "the command is empty"},
		{" \n", "the command is empty"},
		{[]any{}, "the command is empty"},
		{[]any{"", "x"}, "the command is empty"},
		{[]any{"a", int64(1)}, "argument 2 of the command is not a string"},
		{int64(1), "a command is a list of strings, or a string for /bin/sh -c"},
		{"a\x00b", "argument 3 of the command holds a NUL character"},
	} {
		got := Command{"kept"}
		if err := got.UnmarshalTOML(c.value); err == nil || err.Error() != c.want || got[0] != "kept" {
			t.Errorf("%q: got %q, %v, want %s", c.value, got, err, c.want)
		}
	}
}

func TestSignalNames(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "SIGTERM": syscall.SIGTERM, "term": syscall.SIGTERM, "15": syscall.SIGTERM,
		"sigusr1": syscall.SIGUSR1, "IO": syscall.SIGIO, "POLL": syscall.SIGIO, "34": 34, "64": 64,
	} {
		var got Signal
		if err := got.UnmarshalText([]byte(text)); err != nil || got != Signal(want) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"TREM": `invalid signal "TREM": did you mean "TERM"?`,
		"HUPP": `invalid signal "HUPP": did you mean "HUP"?`,
		"web":  `invalid signal "web": want a name such as "HUP", or a number`,
		"":     `invalid signal "": want a name such as "HUP", or a number`,
		"0":    `invalid signal "0": numbers go from 1 to 64`,
		"65":   `invalid signal "65": numbers go from 1 to 64`,
		"-9":   `invalid signal "-9": numbers go from 1 to 64`,
	} {
		if _, err := ParseSignal(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for n := range signalNames {
		if n == 0 {
			continue
		}
		text, err := Signal(n).MarshalText()
		var back Signal
		if err != nil || back.UnmarshalText(text) != nil || back != Signal(n) {
			t.Errorf("%d is written %s and read %d", n, text, back)
		}
	}
}

func TestUmaskText(t *testing.T) {
	var u Umask
	if err := u.UnmarshalText([]byte("027")); err != nil || u != 0o27 || u.octal() != "027" {
		t.Errorf("got %o, %v", u, err)
	}
	for _, bad := range []string{"", "8", "1000", "-1", "rwx"} {
		if err := u.UnmarshalText([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "invalid umask") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestExitText(t *testing.T) {
	for _, c := range []struct {
		exit Exit
		want string
	}{
		{Exit{}, "0 OK"},
		{Exit{Code: 1}, "1 General error"},
		{Exit{Code: 2}, "2 Misuse of a shell builtin"},
		{Exit{Code: 3}, "3 Unknown error"},
		{Exit{Code: 64}, "64 Wrong usage of the command"},
		{Exit{Code: 75}, "75 Temporary failure, try again later"},
		{Exit{Code: 78}, "78 Wrong configuration"},
		{Exit{Code: 79}, "79 Unknown error"},
		{Exit{Code: 126}, "126 Command cannot be executed"},
		{Exit{Code: 127}, "127 Command not found"},
		{Exit{Code: 128}, "128 Invalid exit argument"},
		{Exit{Code: 143}, "143 Termination (request to terminate)"},
		{Exit{Signal: syscall.SIGTERM}, "143 Termination (request to terminate)"},
		{Exit{Signal: syscall.SIGSEGV, Core: true}, "139 Segmentation fault, core dumped"},
		{Exit{Signal: 34}, "162 Ended by signal 34"},
		{Exit{Code: 255}, "255 Unknown error"},
	} {
		if got := c.exit.Text(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.exit, got, c.want)
		}
	}
}
