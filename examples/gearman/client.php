<?php
// A client as it would be with gearmand: two jobs whose results it waits for, and
// one in the background, of which it asks how far it is.

$client = new GearmanClient();
$client->addServer('127.0.0.1', (int) $argv[1]);

echo 'reverse: ', trim($client->doNormal('reverse', 'hello')), "\n";
echo 'total: ', unserialize($client->doNormal('total', serialize(['apples' => 3, 'pears' => 4]))), "\n";

$handle = $client->doBackground('archive', 'all of it');
echo "archive: $handle\n";
do {
	usleep(100000);
	[$known, , $numerator, $denominator] = $client->jobStatus($handle);
} while ($known && $numerator === 0);
echo $known ? "archive: $numerator of $denominator\n" : "archive: done\n";
