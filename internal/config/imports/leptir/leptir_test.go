package leptir_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procops/internal/config"
	"procops/internal/config/imports/leptir"
	"procops/internal/fault"
	"procops/internal/tasks"
	"procops/internal/unit"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

func environ(string) (string, bool) { return "", false }

// convert converts JSON and loads the result.
func convert(t *testing.T, text string) (toml string, cfg *config.Config, notes []string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("leptir.json", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := leptir.Convert("leptir.json")
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.Parse("procops.toml", result.TOML, environ); err != nil {
		t.Fatalf("%v\n%s", err, result.TOML)
	}
	for _, note := range result.Notes {
		notes = append(notes, note.String())
	}
	return result.TOML, cfg, notes
}

// TestConvert converts a configuration in PHP by the way that the documentation names.
func TestConvert(t *testing.T) {
	export := exec.CommandContext(t.Context(), "php", "-r", "echo json_encode(require $argv[1]);", "testdata/full.config.php")
	text, err := export.Output()
	if err != nil {
		t.Fatal(err)
	}
	golden, err := filepath.Abs("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, cfg, _ := convert(t, string(text))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s", got)
	}
	if c := cfg.Tasks; c.Workers != 8 || c.TimeLimit != unit.Duration(10*time.Minute) || len(c.Broker) != 4 || len(c.Meta) != 2 ||
		c.Meta["redis"].ExpireAfter != unit.Duration(24*time.Hour) || c.Broker["redis"].Format != tasks.FormatLeptir {
		t.Errorf("loaded %+v", c)
	}
}

// TestSmall: a configuration without the key leptir around it, or with nothing.
func TestSmall(t *testing.T) {
	_, cfg, notes := convert(t, "{\n \"daemon\": {\"configuration\": {\"number_of_workers\": \"two\",\n  \"task_execution_time\": -1}},\n \"brokers\": [{\"type\": \"redis\", \"configuration\": {\"priority\": 1.5}}]\n}")
	want := []string{
		`leptir.json:2:52: "two" is not a number of workers`, `leptir.json:3:24: "-1" is not a number of seconds`, `leptir.json:4:63: "1.5" is not a priority`,
	}
	if len(notes) != len(want) || cfg.Tasks.Broker["redis"].Kind != tasks.KindRedis {
		t.Fatalf("notes: %q", notes)
	}
	for i := range want {
		if !strings.HasPrefix(notes[i], want[i][:13]) || !strings.HasSuffix(notes[i], want[i][strings.LastIndex(want[i], `: `):]) {
			t.Errorf("note %q, want %q", notes[i], want[i])
		}
	}
	if _, _, notes := convert(t, "[]"); len(notes) > 0 {
		t.Errorf("of nothing: %q", notes)
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{"<?php return [];": "it is PHP code", "{": "it is not JSON", "5": "it is not an array of PHP", "": "it is not JSON"} {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := leptir.Convert(file); err == nil || !strings.Contains(err.Error(), want) || fault.ExitCode(err) != int(fault.Usage) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := leptir.Convert("testdata/none"); err == nil {
		t.Error("no file is there, and it is converted")
	}
}

// FuzzConvert: whatever the JSON, the result is a configuration that can be read.
func FuzzConvert(f *testing.F) {
	f.Add(`{"leptir":{"brokers":[{"type":"redis","connection":{"key":"a"}}],"meta_storage":[{"type":"mongodb"}],"loggers":{"a":{"type":"file","options":{"path":"x"}}}}}`)
	f.Add(`{"brokers":[{"type":"sqs"}],"daemon":{"configuration":{"number_of_workers":1e9}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		result, err := leptir.Convert(file)
		if err != nil {
			return
		}
		if _, err := config.Parse("procops.toml", result.TOML, environ); err != nil {
			for _, value := range []string{"URL", "empty", "must", "want"} { // what was wrong in leptir, too
				if strings.Contains(err.Error(), value) {
					return
				}
			}
			t.Fatalf("%v\n%s", err, result.TOML)
		}
	})
}
