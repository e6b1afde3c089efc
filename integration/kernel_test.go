package integration

import (
	"regexp"
	"strings"
	"testing"

	"procops/integration/harness"
)

// machineInit is the first program of a machine of its own. Its files are those of
// this one, which it cannot change. procops runs in a cgroup as a service manager
// makes them: once alone, once together with the shell that has started it.
const machineInit = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PROCOPS_STATE_DIR=/run/state NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/service
echo +memory +cpu +pids > /sys/fs/cgroup/cgroup.subtree_control
cd @DIR@
enter='echo 0 > /sys/fs/cgroup/service/cgroup.procs;'
echo; echo "--- alone"
sh -c "$enter exec @BIN@ supervise run"
echo "exit code $?"
echo "left: $(find /sys/fs/cgroup -name 'procops-*') $(cat /sys/fs/cgroup/service/cgroup.subtree_control)"
echo "--- shared"
sh -c "$enter @BIN@ supervise run; echo exit code \$?"
echo "left: $(find /sys/fs/cgroup -name 'procops-*') $(cat /sys/fs/cgroup/service/cgroup.subtree_control)"
echo "--- end"
echo o > /proc/sysrq-trigger
sleep 1000
`

const machineConfig = `
[supervise.process.look]
command = '''
cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
for file in memory.max memory.high cpu.max cpu.weight pids.max; do echo $file $(cat $file); done 2>&1
'''
cgroup = { memory = "256M", memory_high = "200M", cpu = 0.5, cpu_weight = 50, pids = 100 }
[supervise.process.hog]
command = ["perl", "-e", 'my $x = "x" x (64 << 20); print "too much\n"']
cgroup  = { memory = "16M" }
on_fail = [{ settle = true }]
depends_on = [{ name = "look", condition = "completed" }]
[supervise.process.brood]
command = "for n in 1 2 3 4 5; do sleep 1000 & done; wait"
user    = "nobody"
cgroup  = { pids = 3 }
on_fail = [{ settle = true }]
depends_on = [{ name = "look", condition = "completed" }]
`

// TestCgroupLimitsHold runs procops on a kernel that offers all controllers of
// cgroup v2: not every machine has them to spare. It is Linux as a program
// (user-mode-linux).
func TestCgroupLimitsHold(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(machineConfig)
	init := s.WriteFile("init", strings.NewReplacer("@DIR@", s.Dir, "@BIN@", harness.Shipped(t)).Replace(machineInit))
	p := s.StartProgram("linux.uml", "mem=512M", "rootfstype=hostfs", "rootflags=/", "ro", "uml_dir="+s.Dir, "init=/bin/sh",
		"con=null", "con0=null,fd:1", "--", init)
	// One after the other: a machine in a machine can be slow.
	for _, step := range []string{"^--- alone", "look +. ended", "hog +. given up", "^--- shared"} {
		p.WaitLine(step)
	}
	p.WaitLines("hog +. given up", 2)
	p.WaitLine("^--- end")
	p.WantExit(0)
	_, said, _ := strings.Cut(p.Stdout(), "\n--- alone")
	alone, rest, _ := strings.Cut(said, "\n--- shared")
	shared, _, _ := strings.Cut(rest, "\n--- end")
	tooMuch := regexp.MustCompile(`hog +\| too much`)
	want := func(name, output string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if !regexp.MustCompile(`(?m)^` + line + `\r?$`).MatchString(output) {
				t.Errorf("%s: no line %q in\n%s", name, line, output)
			}
		}
	}
	want("alone", alone,
		`look +\| memory.max 268435456`, `look +\| memory.high 209715200`, `look +\| cpu.max 50000 100000`, `look +\| cpu.weight 50`, `look +\| pids.max 100`,
		`hog +\* given up: 137 Kill \(end at once\); out of memory: the kernel has killed one of its processes, which may have 16M together`,
		`brood +! .*[Cc]annot fork.*`,
		`exit code \d+`, `left:  `,
	)
	if strings.Contains(alone, "WRN cgroup: ") || tooMuch.MatchString(alone) {
		t.Errorf("alone: something does not hold:\n%s", alone)
	}
	const busy = `: cannot enable the \w+ controller in cgroup "/sys/fs/cgroup/service": others are in it as well, such as process \d+ process=\w+`
	want("shared", shared,
		`.* WRN cgroup: memory is limited to 16M of data in each single process \(RLIMIT_DATA\) instead of in all together`+busy,
		`.* WRN cgroup: cpu is not limited \(there is no resource limit for it\)`+busy,
		`.* WRN cgroup: pids is limited to 3 for all processes of its user together \(RLIMIT_NPROC\), whoever has started them`+busy,
		`hog +\* given up: \d+ [A-Z].*`,
		`brood +! .*[Cc]annot fork.*`,
		`exit code \d+`, `left:  `,
	)
	if tooMuch.MatchString(shared) {
		t.Errorf("shared: the memory is not limited:\n%s", shared)
	}
}
