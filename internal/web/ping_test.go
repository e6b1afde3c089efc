package web

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"procops/internal/fault"

	"procops/internal/heartbeat"
)

func TestPingURLs(t *testing.T) {
	l := newList("backup", "Nightly", "db.dump", "a.b", "ab", "ONE", "One", "_x")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	byUUID, byKey := "/ping/"+testUUID, "/ping/"+testKey+"/"
	const unknown = "/ping/07c2f548-9850-4b27-af5d-6c9dc157ec02"
	for _, c := range []struct {
		path string
		code int
		body string
		name string
		kind heartbeat.PingKind
		exit int // -1: none
	}{
		{byUUID, 200, "OK", "backup", heartbeat.PingSuccess, -1},
		{byUUID + "/", 200, "OK", "backup", heartbeat.PingSuccess, -1},
		{byUUID + "/start", 200, "OK", "backup", heartbeat.PingStart, -1},
		{byUUID + "/fail", 200, "OK", "backup", heartbeat.PingFail, -1},
		{byUUID + "/log", 200, "OK", "backup", heartbeat.PingLog, -1},
		{byUUID + "/0", 200, "OK", "backup", heartbeat.PingSuccess, 0},
		{byUUID + "/1", 200, "OK", "backup", heartbeat.PingFail, 1},
		{byUUID + "/255", 200, "OK", "backup", heartbeat.PingFail, 255},
		{byUUID + "/007", 200, "OK", "backup", heartbeat.PingFail, 7},
		{byUUID + "?create=1", 200, "OK", "backup", heartbeat.PingSuccess, -1},
		{byKey + "backup", 200, "OK", "backup", heartbeat.PingSuccess, -1},
		{byKey + "backup/start", 200, "OK", "backup", heartbeat.PingStart, -1},
		{byKey + "backup/fail", 200, "OK", "backup", heartbeat.PingFail, -1},
		{byKey + "backup/log", 200, "OK", "backup", heartbeat.PingLog, -1},
		{byKey + "backup/0", 200, "OK", "backup", heartbeat.PingSuccess, 0},
		{byKey + "backup/3", 200, "OK", "backup", heartbeat.PingFail, 3},
		{byKey + "%62ackup", 200, "OK", "backup", heartbeat.PingSuccess, -1},
		{byKey + "nightly", 200, "OK", "Nightly", heartbeat.PingSuccess, -1},
		{byKey + "nightly?create=1", 200, "OK", "Nightly", heartbeat.PingSuccess, -1},
		{byKey + "dbdump", 200, "OK", "db.dump", heartbeat.PingSuccess, -1},
		{byKey + "ab", 200, "OK", "ab", heartbeat.PingSuccess, -1},
		{byKey + "_x", 200, "OK", "_x", heartbeat.PingSuccess, -1},
		{byKey + "new?create=1", 201, "Created", "new", heartbeat.PingSuccess, -1},
		{byKey + "new?create=1", 200, "OK", "new", heartbeat.PingSuccess, -1},
		{byKey + "new2/fail?create=0&create=1", 201, "Created", "new2", heartbeat.PingFail, -1},

		{path: byUUID + "/256", code: 400, body: "invalid url format"},
		{path: byUUID + "/99999999999999999999", code: 400, body: "invalid url format"},
		{path: byKey + "backup/256", code: 400, body: "invalid url format"},
		{path: byKey + "none/256", code: 404, body: "not found"},
		{path: byKey + "BACKUP", code: 400, body: "invalid url format"},
		{path: byKey + "-?create=1", code: 400, body: "invalid url format"},
		{path: byKey + strings.Repeat("x", 65) + "?create=1", code: 400, body: "invalid url format"},
		{path: byKey + "one", code: 409, body: "ambiguous slug"},
		{path: byKey + "one?create=1", code: 409, body: "ambiguous slug"},
		{path: unknown, code: 404, body: "not found"},
		{path: unknown + "/256", code: 404, body: "not found"},
		{path: unknown + "?rid=x", code: 404, body: "not found"},
		{path: byKey + "none", code: 404, body: "not found"},
		{path: byKey + "none?create=0", code: 404, body: "not found"},
		{path: byKey + "none?create=1&create=0", code: 404, body: "not found"},
		{path: byKey + strings.Repeat("x", 65), code: 404, body: "not found"},
		{path: "/ping/rrrrrrrrrrrrrrrrrrrrrr/backup", code: 404, body: "not found"},
		{path: "/ping/rrrrrrrrrrrrrrrrrrrrrr/new3?create=1", code: 404, body: "not found"},
		{path: "/ping/" + strings.ToUpper(testUUID), code: 404, body: "not found"},
		{path: "/ping/" + strings.ReplaceAll(testUUID, "-", ""), code: 404, body: "not found"},
		{path: byUUID + "/start/", code: 404, body: "not found"},
		{path: byUUID + "/-1", code: 404, body: "not found"},
		{path: byUUID + "/nope", code: 404, body: "not found"},
		{path: byUUID + "/success", code: 404, body: "not found"},
		{path: byKey + "backup/", code: 404, body: "not found"},
		{path: byKey + "backup/success", code: 404, body: "not found"},
		{path: byKey + "backup/start/", code: 404, body: "not found"},
		{path: byKey + "db.dump", code: 404, body: "not found"},
		{path: byKey, code: 404, body: "not found"},
		{path: "//ping/" + testUUID, code: 404, body: "not found"},
		{path: "/ping", code: 404, body: "not found"},
		{path: "/", code: 404, body: "not found"},
	} {
		r := s.get(t, c.path)
		if r.code != c.code || r.body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, r.code, r.body, c.code, c.body)
		}
		good := c.code < 300
		if got := r.header.Get("Ping-Body-Limit"); good != (got == "10000") {
			t.Errorf("%s: Ping-Body-Limit %q", c.path, got)
		}
		if got := r.header.Get("Access-Control-Allow-Origin"); good != (got == "*") {
			t.Errorf("%s: Access-Control-Allow-Origin %q", c.path, got)
		}
		if got := r.header.Get("Cache-Control"); !strings.Contains(got, "no-cache") {
			t.Errorf("%s: Cache-Control %q", c.path, got)
		}
		got := l.take()
		if !good {
			if len(got) > 0 {
				t.Errorf("%s: recorded %+v", c.path, got)
			}
			continue
		}
		if len(got) != 1 || got[0].name != c.name || got[0].Kind != c.kind || got[0].HasCode != (c.exit >= 0) || got[0].ExitCode != max(0, c.exit) {
			t.Errorf("%s: recorded %+v", c.path, got)
		}
	}
}

func TestPingMethods(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		r := s.do(t, method, "/ping/"+testUUID, "")
		if r.code != 200 || r.header.Get("Content-Length") != "2" || len(l.take()) != 1 {
			t.Errorf("%s: %+v", method, r)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, "BREW"} {
		if r := s.do(t, method, "/ping/"+testUUID, ""); r.code != 405 || r.header.Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: %+v", method, r)
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/badge/backup.svg"} {
		if r := s.do(t, http.MethodPost, path, "x"); r.code != 405 || r.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %+v", path, r)
		}
	}
	if got := l.take(); len(got) > 0 {
		t.Errorf("recorded %+v", got)
	}
}

func TestPingRun(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	const run = "04603d8b-edf4-4e85-8f61-24bedbcaab59"
	for query, want := range map[string]string{
		"": "", "rid=" + run: run, "rid=" + strings.ToUpper(run): run, "rid=x&rid=" + run: run,
	} {
		r := s.get(t, "/ping/"+testUUID+"/start?"+query)
		if got := l.take(); r.code != 200 || len(got) != 1 || got[0].Run != want {
			t.Errorf("%q: %+v, recorded %+v", query, r, got)
		}
	}
	for _, wrong := range []string{"", "12345", run + "0", strings.ReplaceAll(run, "-", ""), "{" + run + "}", strings.ReplaceAll(run, "-", "_")} {
		for _, path := range []string{"/ping/" + testUUID, "/ping/" + testKey + "/backup", "/ping/" + testKey + "/new?create=1&x="} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			if r := s.get(t, path+sep+"rid="+wrong); r.code != 400 || r.body != "invalid uuid format" {
				t.Errorf("%s, %q: %+v", path, wrong, r)
			}
		}
	}
	if got := l.take(); len(got) > 0 {
		t.Errorf("recorded %+v", got)
	}
}

func TestPingBody(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	cfg := testConfig()
	cfg.MaxBody = 100_000
	s := serve(t, l, cfg)
	long := strings.Repeat("0123456789", 9_000)
	for body, want := range map[string]string{
		"hello world":       "hello world",
		"bad \xe9 \x00":     "bad \xe9 \x00",
		long[:bodyKept]:     long[:bodyKept],
		long[:bodyKept+1]:   long[1 : bodyKept+1],
		long[:2*bodyKept]:   long[:bodyKept],
		long + "and an end": long[len(long)-bodyKept+10:] + "and an end",
	} {
		r := s.do(t, http.MethodPost, "/ping/"+testUUID+"/log", body)
		if got := l.take(); r.code != 200 || len(got) != 1 || string(got[0].Body) != want {
			t.Errorf("%d bytes: %+v, recorded %d", len(body), r, len(got))
		}
	}
	if r := s.do(t, http.MethodPost, "/ping/"+testUUID, strings.Repeat("x", 100_001)); r.code != 413 {
		t.Errorf("too long: %+v", r)
	}
	if got := l.take(); len(got) > 0 {
		t.Errorf("recorded %+v", got)
	}
}

// What curl and others do on the wire.
func TestPingWire(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	for name, c := range map[string]struct{ request, head, body string }{
		"HTTP/1.0":           {"GET /ping/" + testUUID + " HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", ""},
		"chunks":             {"POST /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "HTTP/1.1 200 OK", "abcde"},
		"expect":             {"POST /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 100 Continue", "hi"},
		"GET with a body":    {"GET /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK", "hi"},
		"form":               {"POST /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\nrid=x", "HTTP/1.1 200 OK", "rid=x"},
		"semicolon in query": {"GET /ping/" + testUUID + "?a;b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", ""},
	} {
		conn := s.dial(t, c.request)
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), c.head) || !strings.Contains(string(answer), "200 OK") || !strings.HasSuffix(string(answer), "\r\n\r\nOK") {
			t.Errorf("%s: %v, %q", name, err, answer)
		}
		if got := l.take(); len(got) != 1 || string(got[0].Body) != c.body {
			t.Errorf("%s: recorded %+v", name, got)
		}
	}

	// One connection, several requests, and a HEAD without a body between them.
	conn := s.dial(t, strings.Repeat("HEAD /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\n\r\nGET /ping/"+testUUID+"/7 HTTP/1.1\r\nHost: x\r\n\r\n", 2))
	reader := bufio.NewReader(conn)
	for i := range 4 {
		method := []string{http.MethodHead, http.MethodGet}[i%2]
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusOK || len(text) != []int{0, 2}[i%2] {
			t.Errorf("request %d: %v, %d %q", i, err, response.StatusCode, text)
		}
	}

	// Half a body is no ping.
	l.take()
	half := s.dial(t, "POST /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhi")
	if err := half.Close(); err != nil {
		t.Fatal(err)
	}
	huge := s.dial(t, "GET /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n")
	if answer, _ := io.ReadAll(huge); !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("a huge header: %q", answer)
	}
	if got := l.take(); len(got) > 0 {
		t.Errorf("recorded %+v", got)
	}
}

func TestPingSource(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	for _, c := range []struct{ forwarded, agent, want string }{
		{"", "curl/8.5.0", "127.0.0.1 GET curl/8.5.0"},
		{"10.1.2.3, 10.9.9.9", "x\ty", "10.1.2.3 GET xy"},
		{"10.1.2.3:4711", "x", "10.1.2.3 GET x"},
		{"2001:db8::1", "x", "2001:db8::1 GET x"},
		{"::ffff:1.1.1.1", "x", "::ffff:1.1.1.1 GET x"},
		{"<script>", strings.Repeat("é", 200), "127.0.0.1 GET " + strings.Repeat("é", 100)},
	} {
		r := s.get(t, "/ping/"+testUUID, "X-Forwarded-For", c.forwarded, "User-Agent", c.agent)
		if got := l.take(); r.code != 200 || len(got) != 1 || got[0].Source != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestPeerElsewhereIsNotBelieved(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1:99": "192.0.2.1", "127.0.0.1:99": "10.1.2.3", "@": "10.1.2.3"} {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {"10.1.2.3"}}}
		if got := peerOf(r); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
	if got := peerOf(&http.Request{RemoteAddr: "@"}); got != "unix" {
		t.Errorf("a socket: %s", got)
	}
}

func TestCreatePolicy(t *testing.T) {
	cfg := testConfig()
	cfg.Create = CreateNever
	s := serve(t, newList(), cfg)
	if r := s.get(t, "/ping/"+testKey+"/new?create=1"); r.code != 404 {
		t.Errorf("never: %+v", r)
	}
	cfg = testConfig()
	cfg.CreateLimit = 2
	s = serve(t, newList("a"), cfg)
	for path, code := range map[string]int{"a?create=1": 200, "b?create=1": 201} {
		if r := s.get(t, "/ping/"+testKey+"/"+path); r.code != code {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if r := s.get(t, "/ping/"+testKey+"/c?create=1"); r.code != 404 {
		t.Errorf("the limit: %+v", r)
	}
}

func TestNoPingKey(t *testing.T) {
	cfg := testConfig()
	cfg.PingKey = ""
	s := serve(t, newList("backup"), cfg)
	for _, path := range []string{"/ping/x/backup", "/ping//backup", "/ping/backup", "/ping/" + testKey + "/backup"} {
		if r := s.get(t, path); r.code != 404 {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

// Keys, UUIDs and tokens are in no record of the log, whatever happens.
func TestSecretsAreNotLogged(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	cfg := testConfig()
	cfg.Token = "t0ken-t0ken"
	cfg.MaxBody = 1
	s := serve(t, l, cfg)
	secrets := []string{testKey, testUUID, cfg.Token, "wr0ngk3y", "07c2f548-9850-4b27-af5d-6c9dc157ec02"}
	everywhere := func() {
		for _, secret := range secrets {
			for _, path := range []string{"/ping/" + secret, "/ping/" + secret + "/backup", "/ping/" + secret + "/fail?a;b", "/ping/" + testKey + "/" + secret + "?create=1", "/metrics", "/healthz", "/badge/backup.svg"} {
				s.get(t, path, "Authorization", "Bearer "+secret)
				s.do(t, http.MethodPost, path, secret)
			}
			for _, broken := range []string{"GET /ping/" + secret, "GET /ping/" + secret + " HTTP/9.9\r\n\r\n", "GET /ping/" + secret + " HTTP/1.1\r\nbad header " + secret + "\r\n\r\n"} {
				_ = s.dial(t, broken).Close()
			}
		}
	}
	everywhere()
	l.mu.Lock()
	l.broken = fault.New(fault.Failure, "cannot read with %q and %q", testKey, cfg.Token)
	l.mu.Unlock()
	everywhere()
	log := s.log.text()
	if !strings.Contains(log, "cannot record the ping") {
		t.Errorf("the log has nothing: %s", log)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q: %s", secret, log)
		}
	}
}

func TestPingTrouble(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	for _, c := range []struct {
		err  error
		code int
		body string
	}{
		{errors.New("the disk is full"), 503, "cannot record the ping"},
		{fault.New(fault.Conflict, "too fast"), 429, "too many pings"},
	} {
		l.mu.Lock()
		l.broken = c.err
		l.mu.Unlock()
		for _, path := range []string{"/ping/" + testUUID, "/ping/" + testKey + "/backup", "/ping/" + testKey + "/backup"} {
			if r := s.get(t, path); r.code != c.code || r.body != c.body {
				t.Errorf("%s: %+v", path, r)
			}
		}
	}
	if n := strings.Count(s.log.text(), "the disk is full"); n != 2 { // one to find it, one to record the ping
		t.Errorf("the log has the trouble %d times:\n%s", n, s.log.text())
	}
}
