//go:build bench

package bench

import (
	"fmt"
	"testing"

	"procops/integration/harness"
)

// echoPHP is a co-process that gives back what it gets.
const echoPHP = `<?php
echo '{"type":"hello","protocol":1}', "\n";
while ($line = fgets(STDIN)) {
	$work = json_decode($line);
	echo json_encode(['type' => 'result', 'id' => $work->id, 'output' => $work->input]), "\n";
}
`

// jobRate starts a server and a worker with one function, and returns how many of n jobs
// it does in a second when clients wait for them.
func jobRate(t *testing.T, function string, n int) float64 {
	t.Helper()
	_, port := startJobServer(t, "--durability", "none")
	s := harness.NewShipped(t)
	s.WriteFile("echo.php", echoPHP)
	s.Config(fmt.Sprintf("[worker]\nservers = [%q]\nconcurrency = 4\n[worker.function.%s]\n%s", harness.Loopback(port), loadFunction, function))
	s.Start("worker", "run").WaitLine("worker.functions.after_register")
	awaitLoad(t, port, n/10, 16)
	return awaitLoad(t, port, n, 16)
}

// TestGearmanWorker has a worker do jobs, four at once: by co-processes in PHP, and with a
// command for each beside a loop that starts the same program.
func TestGearmanWorker(t *testing.T) {
	const rounds = 3
	var coprocess, command []float64
	for range rounds {
		coprocess = append(coprocess, jobRate(t, "mode = 'coprocess'\ncommand = ['php', 'echo.php']\ncoprocess.size = 4", 40_000))
		command = append(command, jobRate(t, "command = ['/bin/true']", 4_000))
	}
	heading(fmt.Sprintf("jobs of a worker in a second, medians of %d rounds", rounds))
	fmt.Printf("co-processes in PHP %8.0f\ncommands            %8.0f\n", median(coprocess), median(command))
	atLeast(t, "jobs of co-processes in a second", median(coprocess), 10_000, "")
}
