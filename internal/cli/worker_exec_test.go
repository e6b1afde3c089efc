package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procops/internal/gearman"
)

// TestJobPrinterProgress has a job show its progress on a terminal, and nowhere
// else; the result never stands behind it on a line.
func TestJobPrinterProgress(t *testing.T) {
	for terminal, want := range map[bool]string{
		true:  "\r1 of 4 (25%)" + clearLine + "\r2 of 4 (50%)" + clearLine + "\r" + clearLine + "careful\n\r" + "4 of 4 (100%)" + clearLine + "\r" + clearLine,
		false: "careful\n",
	} {
		errors, results := file(t), file(t)
		p := jobPrinter{io: IO{Stderr: errors, Stdout: results}, terminal: terminal}
		for _, u := range []gearman.Update{
			{Kind: gearman.Created},
			{Kind: gearman.Progress, Numerator: 0, Denominator: 0},
			{Kind: gearman.Progress, Numerator: 1, Denominator: 4},
			{Kind: gearman.Progress, Numerator: 2, Denominator: 4},
			{Kind: gearman.Warning, Data: strings.NewReader("careful\n")},
			{Kind: gearman.Progress, Numerator: 4, Denominator: 4},
			{Kind: gearman.Complete, Data: strings.NewReader("result")},
		} {
			if err := p.update(u); err != nil {
				t.Fatal(err)
			}
		}
		if got := content(t, errors); got != want {
			t.Errorf("terminal %v: %q, want %q", terminal, got, want)
		}
		if got := content(t, results); got != "result" {
			t.Errorf("result %q", got)
		}
	}
}

func file(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
