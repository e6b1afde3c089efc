package integration

import (
	"strconv"
	"strings"
	"testing"

	"procops/integration/harness"
)

// phpAsker uses what clients of php-gearman can, and prints what comes of it.
const phpAsker = `<?php
$client = new GearmanClient();
$client->addServer('127.0.0.1', (int) $argv[1]);
echo 'ping ', $client->ping("a\0b") ? 'yes' : 'no', "\n";
foreach (['doNormal', 'doHigh', 'doLow'] as $how) {
	echo $how, ' ', bin2hex($client->$how('back', "some\0work")), ' ', $client->returnCode(), "\n";
}
echo 'large ', md5($client->doNormal('back', str_repeat("0123456789abcde\0", 1 << 16))), "\n";
foreach (['fail', 'throw'] as $function) {
	echo $function, ' ', var_export(@$client->doNormal($function, 'me'), true), ' ', $client->returnCode(), "\n";
}
$lines = [];
foreach (['Complete', 'Data', 'Warning', 'Status', 'Fail', 'Exception'] as $what) {
	$client->{"set{$what}Callback"}(function ($task) use (&$lines, $what) {
		$lines[] = $task->unique() . " $what " . bin2hex($task->data()) . ' ' . $task->taskNumerator() . '/' . $task->taskDenominator() . "\n";
	});
}
$client->addTask('talk', 'none', null, 'u1');
$client->addTaskHigh('back', 'high', null, 'u2');
$client->addTaskLow('fail', 'low', null, 'u3');
$client->addTask('throw', 'x', null, 'u4');
$client->addTask('back', 'same', null, 'u5');
$client->addTask('back', 'same', null, 'u5');
$client->runTasks();
sort($lines);
echo implode('', $lines);
$client = new GearmanClient();
$client->addServer('127.0.0.1', (int) $argv[1]);
$handle = $client->doBackground('nobody', 'work', 'background');
echo 'queued ', json_encode($client->jobStatus($handle)), "\n";
echo 'by key ', json_encode($client->jobStatusByUniqueKey('background')), "\n";
echo 'unknown ', json_encode($client->jobStatus('H:none:99')), "\n";
$client = new GearmanClient(); // libgearman hangs when it submits after it has asked
$client->addServer('127.0.0.1', (int) $argv[1]);
foreach (['doBackground', 'doHighBackground', 'doLowBackground'] as $how) {
	$client->$how('note', $how);
}
`

// phpNoter is a worker that notes what it gets in the background, until it has all.
const phpNoter = `<?php
$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) $argv[1]);
$worker->setTimeout(30000);
$left = 3;
$worker->addFunction('note', function ($job) use (&$left) { echo $job->workload(), ' ', strlen($job->unique()), "\n"; $left--; });
while ($left > 0 && $worker->work());
`

// perlWorker and perlAsker are the pure Perl of Debian's libgearman-client-perl.
const perlWorker = `
use Gearman::Worker;
$| = 1;
my $worker = Gearman::Worker->new(job_servers => ["127.0.0.1:$ARGV[0]"], prefix => 'space');
$worker->register_function(reverse => sub { my $job = shift; $job->set_status(1, 2); return scalar reverse $job->arg });
$worker->register_function(fail => sub { return undef });
$worker->register_function(slow => 5, sub { return 'slow ' . $_[0]->arg });
print "ready\n";
$worker->work while 1;
`

const perlAsker = `
use Gearman::Client;
use Gearman::Task;
my $client = Gearman::Client->new(job_servers => ["127.0.0.1:$ARGV[0]"], prefix => 'space');
print 'reverse ', ${$client->do_task(reverse => "some\0work")}, "\n";
print 'fail ', defined $client->do_task(fail => 'x') ? 'result' : 'none', "\n";
print 'slow ', ${$client->do_task(slow => 'job', { uniq => '-', high_priority => 1 })}, "\n";
my $set = $client->new_task_set;
my %done;
for my $n (1 .. 20) {
	$set->add_task(reverse => "work $n", { on_complete => sub { $done{$n} = ${$_[0]} }, on_fail => sub { $done{$n} = 'failed' } });
}
$set->wait(timeout => 30);
print "$_ $done{$_}\n" for sort { $a <=> $b } keys %done;
my $handle = $client->dispatch_background('nobody', 'work', { uniq => 'key' });
my $status = $client->get_status($handle);
print 'background ', $status->known, ' ', $status->running, "\n";
`

// gearmanTools uses the command-line client and gearadmin.
const gearmanTools = `
G="gearman -h 127.0.0.1 -p $1"
A="gearadmin -h 127.0.0.1 -p $1"
echo some text | $G -f upper
printf 'one\ntwo\n' | $G -f upper -n
printf 'a\0b' | $G -f back | od -c
$G -f fail -s || echo "code $?"
printf x | $G -f nobody -b -u key
printf x | $G -f nobody -b -u key
printf high | $G -f nobody -b -H
printf low | $G -f nobody -b -L
$A --status
$A --priority-status
$A --show-jobs
$A --show-unique-jobs | sed 's/[0-9a-f-]\{36\}/UUID/' | sort
$A --create-function=created >/dev/null; $A --drop-function=created
$A --drop-function=upper
$A --drop-function=none
$A --cancel-job=$(printf x | $G -f gone -b -v 2>&1 | sed 's/.*: //')
$A --cancel-job=H:none:1
$A --getpid | sed 's/[0-9]\{1,\}/N/'
$A --workers | sed 's/^[0-9]*/N/' | sort -u # one that has just left may still be there
`

// TestGearmanClients has foreign clients and workers use gearmand and procops: they
// must find no difference.
func TestGearmanClients(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string]func(s *harness.Sandbox, port string) string{
		"php": func(s *harness.Sandbox, port string) string {
			s.WriteFile("worker.php", phpWorker)
			s.StartProgram("php", "worker.php", port).WaitLine("^ready$")
			return said(s, "asker.php", phpAsker, "php", port) + said(s, "noter.php", phpNoter, "php", port)
		},
		"perl": func(s *harness.Sandbox, port string) string {
			s.WriteFile("worker.pl", perlWorker)
			s.StartProgram("perl", "worker.pl", port).WaitLine("^ready$")
			return said(s, "asker.pl", perlAsker, "perl", port)
		},
		"tools": func(s *harness.Sandbox, port string) string {
			n, err := strconv.Atoi(port)
			check(s.TB(), err)
			for function, script := range map[string]string{"upper": "tr a-z A-Z", "back": "cat", "fail": "exit 3"} {
				gearmanWorker(s, n, function, script)
			}
			for _, function := range []string{"upper", "back", "fail"} {
				harness.Eventually(s.TB(), "a worker", func() bool {
					return strings.Contains(s.Run("gearadmin", "-h", "127.0.0.1", "-p", port, "--status").Stdout, function+"\t0\t0\t1\n")
				})
			}
			return said(s, "tools.sh", gearmanTools, "sh", port)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			want := talk(s, strconv.Itoa(gearmand(t, s)))
			for _, durability := range []string{"none", "process"} {
				s := harness.New(t)
				if got := talk(s, strconv.Itoa(gearmanServer(t, s, "--durability", durability))); got != want {
					t.Errorf("durability %s:\n%s", durability, difference(got, want))
				}
			}
			if len(want) < 100 {
				t.Errorf("too little was said: %s", want)
			}
		})
	}
}

// said runs a script and returns what it prints.
func said(s *harness.Sandbox, name, script, interpreter, port string) string {
	s.WriteFile(name, script)
	r := s.Run(interpreter, name, port)
	if r.Code != 0 {
		s.TB().Error(r)
	}
	return r.Stdout + r.Stderr
}
