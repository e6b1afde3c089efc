<?php
// A co-process: it says hello once, and then answers each line of work with one.

echo '{"type":"hello","protocol":1}', "\n";
while ($work = json_decode((string) fgets(STDIN), true)) {
	$values = json_decode($work['input'], true);
	echo json_encode(['type' => 'result', 'id' => $work['id'], 'output' => (string) array_sum($values)]), "\n";
}
