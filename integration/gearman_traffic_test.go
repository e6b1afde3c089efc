package integration

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/iotest"

	"procops/integration/harness"
	"procops/internal/gearman/wire"
)

// update makes TestGearmanTraffic write the seeds of the codec's fuzz test:
//
//	go test ./integration -run GearmanTraffic -update
var update = flag.Bool("update", false, "write the recorded traffic")

const seeds = "internal/gearman/wire/testdata/fuzz/FuzzRead"

// phpClient is a client that asks all that a client of php-gearman can.
const phpClient = `<?php
$client = new GearmanClient();
$client->addServer('127.0.0.1', (int) $argv[1]);
$client->ping("a\0b");
$client->doNormal('talk', 'none');
$client->doHigh('talk', 'none', 'own key');
$client->doLow('talk', 'none');
@$client->doNormal('fail', 'x');
@$client->doNormal('throw', 'me');
$handle = $client->doBackground('nobody', "\0\0");
$client->doHighBackground('nobody', 'x', 'high');
$client->doLowBackground('nobody', 'x', 'low');
$client->jobStatus($handle);
$client->jobStatus('H:none:99');
$client->jobStatusByUniqueKey('high');
`

// TestGearmanTraffic records what Debian's clients and workers and gearmand
// say to each other: the codec must understand all of it, in whatever pieces.
func TestGearmanTraffic(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	tap := harness.Record(t, gearmand(t, s))
	startPHPWorker(s, tap.Port)
	gearmanWorker(s, tap.Port, "cat", "cat")
	s.WriteFile("client.php", phpClient)
	for _, command := range []string{
		"php client.php $PORT",
		"echo text | gearman -h 127.0.0.1 -p $PORT -f cat",
		"echo text | gearman -h 127.0.0.1 -p $PORT -f nobody -b -u key",
		"gearman -h 127.0.0.1 -p $PORT -f nobody -b -I -s",
	} {
		if r := s.Run("/bin/sh", "-c", "PORT="+strconv.Itoa(tap.Port)+"; "+command); r.Code != 0 {
			t.Error(r)
		}
	}
	seen := map[string]bool{}
	for _, session := range tap.Sessions() {
		for m, stream := range map[wire.Magic][]byte{wire.Request: session.ToServer.Bytes(), wire.Response: session.FromServer.Bytes()} {
			for _, typ := range understood(t, m, stream) {
				seen[typ.String()+" "+m.String()] = true
			}
			if *update {
				writeSeed(t, m, stream)
			}
		}
	}
	for _, want := range []string{
		"CAN_DO request", "GRAB_JOB_ALL request", "PRE_SLEEP request", "NO_JOB response", "NOOP response", "JOB_ASSIGN_UNIQ response",
		"SUBMIT_JOB request", "SUBMIT_JOB_HIGH request", "SUBMIT_JOB_LOW request", "JOB_CREATED response",
		"SUBMIT_JOB_BG request", "SUBMIT_JOB_HIGH_BG request", "SUBMIT_JOB_LOW_BG request",
		"WORK_DATA request", "WORK_WARNING request", "WORK_STATUS request", "WORK_COMPLETE request", "WORK_FAIL request", "WORK_EXCEPTION request",
		"WORK_DATA response", "WORK_WARNING response", "WORK_STATUS response", "WORK_COMPLETE response", "WORK_FAIL response", "WORK_EXCEPTION response",
		"OPTION_REQ request", "OPTION_RES response", "ECHO_REQ request", "ECHO_RES response",
		"GET_STATUS request", "STATUS_RES response", "GET_STATUS_UNIQUE request", "STATUS_RES_UNIQUE response",
	} {
		if !seen[want] {
			t.Errorf("no %s was recorded", want)
		}
	}
}

// understood reads a recorded stream and returns the types of its packets. The
// last packet may not have come whole: the recording goes on.
func understood(t *testing.T, m wire.Magic, stream []byte) (types []wire.Type) {
	t.Helper()
	r := wire.NewReader(iotest.OneByteReader(bytes.NewReader(stream)), m, 0)
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return types
		}
		if err != nil {
			t.Fatalf("%v in %q", err, stream)
		}
		types = append(types, p.Type)
	}
}

// writeSeed writes a recorded stream as an entry of the fuzz test's corpus. It
// is called by what it has in it, so that the same things are there once.
func writeSeed(t *testing.T, m wire.Magic, stream []byte) {
	t.Helper()
	types := understood(t, m, stream)
	if len(types) == 0 {
		return
	}
	slices.Sort(types)
	name := "recorded-" + m.String()
	for _, typ := range slices.Compact(types) {
		name += fmt.Sprintf("-%d", typ)
	}
	dir := filepath.Join(harness.ModuleRoot(), seeds)
	check(t, os.MkdirAll(dir, 0o755))
	entry := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\nbool(%v)\n", stream, m == wire.Request)
	check(t, os.WriteFile(filepath.Join(dir, name), []byte(entry), 0o644))
}
