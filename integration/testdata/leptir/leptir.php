<?php
// Plays the part of programs that use leptir, with the documents, keys and times of its Redis
// broker and its Redis meta storage.
//
//	php leptir.php PORT push CLASS PARAMETERS [SECONDS [PRIORITY [LIMIT]]]   prints the id
//	php leptir.php PORT pop [N]          takes up to N tasks that are ready, prints each, and notes them as done
//	php leptir.php PORT info ID          prints what the meta storage has of a task
date_default_timezone_set('UTC');
const KEY = 'leptir:ztasks', INFO = 'leptir:taskinfo:';

$redis = new Redis();
$redis->connect('127.0.0.1', (int) $argv[1]);

function push(Redis $redis, string $class, array $parameters, int $in, int $priority, int $limit): string
{
	$id = uniqid((string) getmypid(), true);
	$at = $in > 0 ? time() + $in : '';
	$task = new ArrayObject(['cn' => $class, 'pr' => $priority, 'tl' => $limit, 'toex' => $at,
		'td' => new ArrayObject(['id' => $id, 'parameters' => $parameters])]);
	$redis->zAdd(KEY, $at ?: time(), json_encode($task));
	return $id;
}

// pop does what leptir does: it looks whether anything is ready, and then takes the first.
function pop(Redis $redis): ?string
{
	if ($redis->zCount(KEY, '-inf', (string) (time() + 1)) == 0) {
		return null;
	}
	[$first] = $redis->multi(Redis::PIPELINE)->zRange(KEY, 0, 1)->zRemRangeByRank(KEY, 0, 0)->exec();
	return $first[0] ?? null;
}

function done(Redis $redis, array $task): void
{
	$info = new ArrayObject(['id' => $task['td']['id'], 'status' => 3, 'retC' => 2, 'exTime' => 0.25, 'respM' => 'done by PHP',
		'type' => $task['cn'], 'exStart' => new DateTime(), 'host' => 'php/1']);
	$redis->set(INFO . $task['td']['id'], json_encode($info));
	$redis->expire(INFO . $task['td']['id'], 3600);
}

switch ($argv[2]) {
case 'push':
	echo push($redis, $argv[3], json_decode($argv[4], true, 512, JSON_THROW_ON_ERROR), (int) ($argv[5] ?? 0), (int) ($argv[6] ?? 0), (int) ($argv[7] ?? 0)), "\n";
	break;
case 'pop':
	for ($n = (int) ($argv[3] ?? 1); $n > 0 && ($raw = pop($redis)) !== null; $n--) {
		$task = json_decode($raw, true, 512, JSON_THROW_ON_ERROR);
		// What PHP would write for the same task, to the byte.
		$again = json_encode(new ArrayObject(['cn' => $task['cn'], 'pr' => $task['pr'], 'tl' => $task['tl'], 'toex' => $task['toex'],
			'td' => new ArrayObject(['id' => $task['td']['id'], 'parameters' => $task['td']['parameters']])]));
		echo $again === $raw ? $raw : "NOT AS PHP WRITES IT: $raw", "\n";
		done($redis, $task);
	}
	break;
case 'info':
	$raw = $redis->get(INFO . $argv[3]);
	if ($raw === false) {
		echo "none\n";
		break;
	}
	$info = json_decode($raw, true, 512, JSON_THROW_ON_ERROR);
	foreach ($info as $key => $value) {
		echo $key, ' ', get_debug_type($value), is_array($value) ? ' ' . implode(' ', array_keys($value)) : '', "\n";
	}
	$start = $info['exStart'] ? new DateTime($info['exStart']['date'], new DateTimeZone($info['exStart']['timezone'])) : null;
	echo json_encode($info) === $raw ? "as PHP writes it\n" : "NOT AS PHP WRITES IT: $raw\n";
	echo $info['status'], '/', $info['retC'], ' ', $info['type'], ' "', $info['respM'], '" ', $start && abs(time() - $start->getTimestamp()) < 60 ? 'now' : 'never', "\n";
	echo 'expires ', $redis->ttl(INFO . $argv[3]) > 0 ? 'later' : 'never', "\n";
}
