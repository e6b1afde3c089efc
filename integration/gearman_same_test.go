package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"procops/integration/harness"
)

// gearmanServer starts procops' job server with further arguments and returns its
// port.
func gearmanServer(t *testing.T, s *harness.Sandbox, args ...string) int {
	t.Helper()
	port := harness.FreePort(t)
	s.Start(append([]string{"worker", "server", "--listen", harness.Loopback(port)}, args...)...).WaitLine("^listening on ")
	return port
}

// TestGearmanSame has the same conversations with gearmand and with procops: both
// must say the same, byte for byte.
func TestGearmanSame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string // of procops
		peer  []string // of gearmand
		steps string
	}{
		"submit, grab, complete": {steps: `
			a SUBMIT_JOB_BG f||work
			a SUBMIT_JOB f|key|work\x00with NUL
			w CAN_DO f
			w GRAB_JOB_UNIQ
			w WORK_DATA H:HOST:1|to nobody
			w WORK_COMPLETE H:HOST:1|done
			w GRAB_JOB
			a GET_STATUS H:HOST:2
			w WORK_STATUS H:HOST:2|3|10
			a GET_STATUS H:HOST:2
			w WORK_DATA H:HOST:2|\x00\x00
			w WORK_WARNING H:HOST:2|careful
			w WORK_COMPLETE H:HOST:2|result\x00
			w WORK_COMPLETE H:HOST:2|again
			w GRAB_JOB_ALL
			a GET_STATUS H:HOST:2
			a GET_STATUS nonsense`},
		"admin while jobs are queued and run": {steps: `
			a "status\n"
			a "STATUS\r\n"
			a SUBMIT_JOB_BG one|k1|w
			a SUBMIT_JOB_BG two||w
			a SUBMIT_JOB_HIGH_BG two|k2|w
			a SUBMIT_JOB_LOW_BG two|k3|w
			a SUBMIT_JOB three|k4|w
			a "status\n"
			a "prioritystatus\n"
			a "show jobs\n"
			a "show unique jobs\n"
			a "workers\n"
			w SET_CLIENT_ID worker-1
			w CAN_DO one
			w CAN_DO two
			w "workers\n"
			w GRAB_JOB_UNIQ
			a "status\n"
			a "prioritystatus\n"
			a "show jobs\n"
			w WORK_FAIL H:HOST:3
			a "status\n"
			a "show jobs\n"
			a "version\n"
			a "verbose\n"`},
		"admin mistakes": {steps: `
			a "nonsense\n"
			a "nonsense with words\n"
			a "\n"
			a " status\n"
			a "status \n"
			a "status more words\n"
			a "show\n"
			a "show nothing\n"
			a "show  jobs\n"
			a "show jobs now\n"
			a "show unique\n"
			a "cancel\n"
			a "cancel job\n"
			a "cancel job H:HOST:99\n"
			a "cancel nonsense 1\n"
			a "create\n"
			a "create nonsense x\n"
			a "drop\n"
			a "drop nonsense x\n"
			a "drop function nobody\n"
			a "maxqueue\n"
			a "maxqueue nobody\n"
			a "shutdown\n"`},
		"maxqueue": {steps: `
			a SUBMIT_JOB_BG f||1
			a "maxqueue f 2\n"
			a SUBMIT_JOB_BG f||2
			a SUBMIT_JOB_BG f||3
			a SUBMIT_JOB f|u|3
			a "maxqueue f 3 0 2\n"
			a SUBMIT_JOB_BG f||4
			a SUBMIT_JOB_HIGH_BG f||5
			a SUBMIT_JOB_LOW_BG f||6
			a "maxqueue f -1\n"
			a SUBMIT_JOB_LOW_BG f||7
			a "maxqueue unknown 1\n"
			a SUBMIT_JOB_BG unknown||1
			a SUBMIT_JOB_BG unknown||2
			a "maxqueue f\n"
			a "status\n"`},
		"cancel and drop": {steps: `
			a SUBMIT_JOB f|k|w
			a SUBMIT_JOB_BG f||w
			b "cancel job H:HOST:1\n"
			b "show jobs\n"
			b "cancel job H:HOST:2\n"
			b "show jobs\n"
			b "status\n"
			w CAN_DO f
			w PRE_SLEEP
			b "status\n"
			w CANT_DO f
			b "drop function f\n"
			b "status\n"`},
		"coalescing": {steps: `
			a SUBMIT_JOB f|key|first
			b SUBMIT_JOB_HIGH f|key|second
			c SUBMIT_JOB_LOW f|other|third
			b SUBMIT_JOB_BG g|key|fourth
			a SUBMIT_JOB_BG f|-|same
			b SUBMIT_JOB_BG f|-|same
			a SUBMIT_JOB_BG f|-|
			b SUBMIT_JOB_BG f|-|
			a GET_STATUS_UNIQUE other
			a GET_STATUS_UNIQUE nobody
			w CAN_DO f
			w GRAB_JOB_UNIQ
			w WORK_STATUS H:HOST:1|1|2
			w WORK_DATA H:HOST:1|data
			b close
			w WORK_COMPLETE H:HOST:1|done
			a "status\n"`},
		"exceptions": {steps: `
			a OPTION_REQ exceptions
			b OPTION_REQ nonsense
			a SUBMIT_JOB f|k|w
			b SUBMIT_JOB f|k|w
			w CAN_DO f
			w GRAB_JOB
			w WORK_EXCEPTION H:HOST:1|out of luck
			w WORK_EXCEPTION H:HOST:1|again
			a "status\n"`},
		"a worker leaves": {steps: `
			a SUBMIT_JOB f|k|w
			a SUBMIT_JOB_BG f||second
			w CAN_DO f
			w GRAB_JOB
			v CAN_DO f
			v PRE_SLEEP
			v GRAB_JOB
			w close
			a "status\n"
			a "show jobs\n"
			v GRAB_JOB
			v WORK_COMPLETE H:HOST:1|done
			v WORK_COMPLETE H:HOST:2|done
			a "status\n"`},
		"tries": {args: []string{"--job-retries", "2"}, peer: []string{"-j", "2"}, steps: `
			a SUBMIT_JOB f|k|w
			v CAN_DO f
			v GRAB_JOB
			v close
			a "show jobs\n"
			w CAN_DO f
			w GRAB_JOB
			w close
			a "show jobs\n"
			a "status\n"`},
		"a client leaves": {steps: `
			a SUBMIT_JOB f|k|w
			b SUBMIT_JOB g|k|w
			w CAN_DO g
			w GRAB_JOB
			a close
			b close
			w "show jobs\n"
			w "status\n"
			w WORK_DATA H:HOST:2|to nobody
			w WORK_COMPLETE H:HOST:2|done
			w CAN_DO f
			w PRE_SLEEP
			w GRAB_JOB
			w "status\n"`},
		"abilities": {steps: `
			a SUBMIT_JOB_BG f||1
			a SUBMIT_JOB_BG g||2
			w CAN_DO f
			w CAN_DO g
			w GRAB_JOB
			w GRAB_JOB
			w "workers\n"
			w CANT_DO f
			w "status\n"
			w RESET_ABILITIES
			w "status\n"
			w GRAB_JOB
			w PRE_SLEEP
			a SUBMIT_JOB_BG f||3
			w GRAB_JOB
			w CAN_DO f
			w PRE_SLEEP
			w GRAB_JOB_ALL
			w WORK_COMPLETE H:HOST:1|x`},
		"a function is given up with its job running": {steps: `
			a SUBMIT_JOB f|k|w
			a SUBMIT_JOB_BG f||second
			w CAN_DO f
			w CAN_DO g
			w GRAB_JOB
			v CAN_DO f
			w CANT_DO f
			a "status\n"
			a "show jobs\n"
			w WORK_DATA H:HOST:1|too late
			w WORK_COMPLETE H:HOST:1|too late
			w GRAB_JOB
			v GRAB_JOB
			v GRAB_JOB
			v WORK_COMPLETE H:HOST:1|done
			v WORK_COMPLETE H:HOST:2|done
			a "status\n"`},
		"a function is given up, and a sleeper has its job": {steps: `
			a SUBMIT_JOB f|k|w
			w CAN_DO f
			w GRAB_JOB
			v CAN_DO f
			v PRE_SLEEP
			w CANT_DO f
			v GRAB_JOB
			v WORK_COMPLETE H:HOST:1|done
			a "status\n"`},
		"functions are given up too often": {args: []string{"--job-retries", "2"}, peer: []string{"-j", "2"}, steps: `
			a SUBMIT_JOB f|k|w
			w CAN_DO f
			w GRAB_JOB
			w CANT_DO f
			a "show jobs\n"
			w CAN_DO f
			w GRAB_JOB
			w RESET_ABILITIES
			a "show jobs\n"
			a "status\n"`},
		"a function is given up without a job": {steps: `
			w CAN_DO f
			w CANT_DO g
			w CANT_DO f
			w CANT_DO f
			a SUBMIT_JOB f|k|w
			w PRE_SLEEP
			w GRAB_JOB
			w CAN_DO f
			w GRAB_JOB
			a "status\n"`},
		"priorities": {steps: `
			a SUBMIT_JOB_LOW_BG f||low
			a SUBMIT_JOB_BG f||normal
			a SUBMIT_JOB_HIGH_BG f||high
			a SUBMIT_JOB_LOW_BG f||low again
			a SUBMIT_JOB_HIGH_BG f||high again
			w CAN_DO f
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB`},
		"sleep": {args: []string{"--worker-wakeup", "0"}, steps: `
			w CAN_DO f
			w GRAB_JOB
			w PRE_SLEEP
			v CAN_DO f
			v CAN_DO g
			v PRE_SLEEP
			a SUBMIT_JOB_BG g||w
			a SUBMIT_JOB_BG f||w
			a SUBMIT_JOB_BG f||w
			v GRAB_JOB
			v GRAB_JOB
			v GRAB_JOB
			v GRAB_JOB
			v PRE_SLEEP
			w GRAB_JOB
			w PRE_SLEEP
			a SUBMIT_JOB_BG f||w`},
		"errors": {steps: `
			a ALL_YOURS
			a raw "\x00REQ\x00\x00\x00\x08\x00\x00\x00\x01x"
			a raw "\x00RES\x00\x00\x00\x07\x00\x00\x00\x04f\x00u\x00"
			a SUBMIT_JOB_SCHED f|u|1|1|1|1|1|data
			a SUBMIT_JOB f|0123456789012345678901234567890123456789012345678901234567890123|w
			a SUBMIT_JOB f|01234567890123456789012345678901234567890123456789012345678901234|w
			a WORK_DATA H:HOST:1|x
			a WORK_WARNING H:HOST:1|x
			a WORK_STATUS H:HOST:1|1|2
			a WORK_COMPLETE H:HOST:1|x
			a WORK_FAIL H:HOST:1
			a WORK_EXCEPTION H:HOST:1|x`},
		"reduce": {steps: `
			a SUBMIT_REDUCE_JOB f|key|reducer|aggregator|data
			a SUBMIT_REDUCE_JOB_BACKGROUND f|key2|reducer|aggregator|data2
			w CAN_DO f
			w GRAB_JOB_ALL
			w GRAB_JOB_UNIQ
			w WORK_COMPLETE H:HOST:1|x`},
		"epoch": {steps: `
			a SUBMIT_JOB_EPOCH f|key|1|past
			a SUBMIT_JOB_EPOCH f|key2|4000000000|future
			a "status\n"
			a "prioritystatus\n"
			w CAN_DO f
			w GRAB_JOB_UNIQ
			w WORK_COMPLETE H:HOST:1|x
			w GRAB_JOB_UNIQ
			a GET_STATUS H:HOST:2`},
		"text and binary in one piece": {steps: `
			a raw "version\n\x00REQ\x00\x00\x00\x10\x00\x00\x00\x02hiversion\r\nstatus\n"`},
		"many functions": {steps: `
			w CAN_DO a
			w CAN_DO b
			w CAN_DO mail
			w CAN_DO résumé
			w CAN_DO with space
			w CAN_DO tab\there
			w CAN_DO 0123456789
			w CAN_DO zzz
			w "status\n"
			w "workers\n"
			a SUBMIT_JOB_BG zzz|1|w
			a SUBMIT_JOB_BG mail|2|w
			a SUBMIT_JOB_BG a|3|w
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB`},
		"round robin": {args: []string{"--round-robin"}, peer: []string{"--round-robin"}, steps: `
			w CAN_DO f
			w CAN_DO g
			a SUBMIT_JOB_BG f||1
			a SUBMIT_JOB_BG f||2
			a SUBMIT_JOB_BG g||3
			a SUBMIT_JOB_BG g||4
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB
			w GRAB_JOB`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := converse(t, c.steps, func(s *harness.Sandbox) int { return gearmand(t, s, c.peer...) })
			for _, durability := range []string{"none", "process"} {
				got := converse(t, c.steps, func(s *harness.Sandbox) int {
					return gearmanServer(t, s, append([]string{"--durability", durability}, c.args...)...)
				})
				if got != want {
					t.Errorf("durability %s:\n%s", durability, difference(got, want))
				}
			}
		})
	}
}

// converse has a conversation with a server and returns all that is said.
func converse(t *testing.T, steps string, start func(*harness.Sandbox) int) string {
	t.Helper()
	host, err := os.Hostname()
	check(t, err)
	k := newTalk(t, start(harness.New(t)))
	for line := range strings.Lines(steps) {
		if line = strings.TrimSpace(line); line != "" {
			k.step(strings.ReplaceAll(line, "HOST", host))
		}
	}
	return k.said.String()
}

// difference shows two conversations line by line where they differ.
func difference(got, want string) string {
	var b strings.Builder
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		switch {
		case i < len(g) && i < len(w) && g[i] == w[i]:
			fmt.Fprintf(&b, "   %s\n", g[i])
		default:
			if i < len(g) {
				fmt.Fprintf(&b, "got  %s\n", g[i])
			}
			if i < len(w) {
				fmt.Fprintf(&b, "want %s\n", w[i])
			}
		}
	}
	return b.String()
}
