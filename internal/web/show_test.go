package web

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"procops/internal/heartbeat"
)

func TestMetrics(t *testing.T) {
	l := newList("backup", "broken", "never")
	l.uuids[testUUID] = "backup"
	l.tags["backup"] = []string{"a\"b", `c\d`, "e\nf", "\xff"}
	s := serve(t, l, testConfig())
	for _, path := range []string{testUUID, testUUID + "/start", testUUID + "/256", testKey + "/broken/1", testKey + "/none", testKey + "/new?create=1"} {
		s.get(t, "/ping/"+path)
	}
	r := s.get(t, "/metrics")
	if r.code != 200 || r.header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("%d %v", r.code, r.header)
	}
	for _, want := range []string{
		`procops_heartbeats{status="ok"} 2`,
		`procops_heartbeats{status="critical"} 1`,
		`procops_heartbeats{status="unknown"} 1`,
		`procops_heartbeat_info{name="backup",tags="a\"b,c\\d,e\nf,` + "\ufffd" + `",description=""} 1`,
		`procops_heartbeat_status{name="backup"} 0`,
		`procops_heartbeat_status{name="broken"} 2`,
		`procops_heartbeat_status{name="never"} 3`,
		`procops_heartbeat_state{name="broken",state="down"} 1`,
		`procops_heartbeat_state{name="broken",state="up"} 0`,
		`procops_heartbeat_beats_total{name="backup"} 7`,
		`procops_heartbeat_warning_seconds{name="never"} 5400`,
		`procops_pings_total{kind="success",result="ok"} 1`,
		`procops_pings_total{kind="success",result="created"} 1`,
		`procops_pings_total{kind="success",result="unknown"} 1`,
		`procops_pings_total{kind="start",result="ok"} 1`,
		`procops_pings_total{kind="fail",result="ok"} 1`,
		`procops_pings_total{kind="fail",result="invalid"} 1`,
		`procops_pings_total{kind="log",result="failed"} 0`,
		`procops_http_requests_total{route="ping",code="200"} 3`,
		`procops_http_requests_total{route="ping",code="404"} 1`,
		`procops_http_connections 1`,
		`procops_http_connections_max 64`,
	} {
		if !strings.Contains(r.body, "\n"+want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(r.body, `lag_seconds{name="never"}`) {
		t.Error("a heartbeat that never beat has a lag")
	}
	checkExposition(t, r.body)
	for _, secret := range []string{testUUID, testKey} {
		if strings.Contains(r.body, secret) {
			t.Errorf("the metrics have the secret %q", secret)
		}
	}
}

// checkExposition checks that each sample follows the head of its family, and
// each line is one of the format.
func checkExposition(t *testing.T, text string) {
	t.Helper()
	sample := regexp.MustCompile(`^([a-z_]+)(\{([a-z]+="([^"\\]|\\[\\"n])*"(,|\}))+)? -?[0-9.]+$`)
	family, seen := "", map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(help, " ")
			if seen[family] {
				t.Errorf("the family %s is there twice", family)
			}
			seen[family] = true
			continue
		}
		if strings.HasPrefix(line, "# TYPE "+family+" ") {
			continue
		}
		if m := sample.FindStringSubmatch(line); len(m) < 2 || m[1] != family {
			t.Errorf("in the family %s: %q", family, line)
		}
	}
}

func TestBadges(t *testing.T) {
	l := newList("good", "bad", "never")
	l.tags["good"], l.tags["bad"], l.tags["never"] = []string{"all", "fine"}, []string{"all", `<&"'>`}, []string{"all"}
	s := serve(t, l, testConfig())
	s.get(t, "/ping/"+testKey+"/good")
	s.get(t, "/ping/"+testKey+"/bad/fail")
	for path, want := range map[string]struct {
		code        int
		label, text string
	}{
		"good.svg":                        {200, "good", "up"},
		"bad.svg":                         {200, "bad", "down"},
		"never.svg":                       {200, "never", "new"},
		"none.svg":                        {404, "none", "not found"},
		"tag/fine.svg":                    {200, "fine", "up"},
		"tag/all.svg":                     {200, "all", "down"},
		"tag/none.svg":                    {404, "none", "not found"},
		"tag/%3C%26%22%27%3E.svg":         {200, `<&"'>`, "down"},
		"%3Cscript%3E%00%FF%0A.svg":       {404, "<script>   ", "not found"},
		strings.Repeat("x", 100) + ".svg": {404, strings.Repeat("x", 63) + "…", "not found"},
	} {
		r := s.get(t, "/badge/"+path)
		var svg struct {
			Title string   `xml:"title"`
			Texts []string `xml:"g>text"`
		}
		err := xml.Unmarshal([]byte(r.body), &svg)
		if err != nil || r.code != want.code || svg.Title != want.label+": "+want.text ||
			len(svg.Texts) != 2 || svg.Texts[0] != want.label || svg.Texts[1] != want.text {
			t.Errorf("%s: %d, %v, %+v", path, r.code, err, svg)
		}
		if r.header.Get("Content-Type") != "image/svg+xml; charset=utf-8" || !strings.Contains(r.header.Get("Cache-Control"), "no-cache") {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	if r := s.get(t, "/badge/good.png"); r.code != 404 {
		t.Errorf("another format: %+v", r)
	}
	for status, want := range map[heartbeat.Status]string{heartbeat.Warning: "late"} {
		if text, _ := badgeLook(status); text != want {
			t.Errorf("%s: %s", status, text)
		}
	}
}

func TestToken(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	cfg := testConfig()
	cfg.Token = "t0ken"
	closed := serve(t, l, cfg)
	cfg.PublicBadges = true
	open := serve(t, l, cfg)
	for _, path := range []string{"/metrics", "/badge/backup.svg"} {
		for _, given := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic bWU6d3Jvbmc=", "t0ken"} {
			r := closed.get(t, path, "Authorization", given)
			if r.code != http.StatusUnauthorized || len(r.header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("%s with %q: %+v", path, given, r)
			}
		}
		for _, given := range []string{"Bearer t0ken", "bearer  t0ken", "Basic bWU6dDBrZW4="} {
			if r := closed.get(t, path, "Authorization", given); r.code != 200 {
				t.Errorf("%s with %q: %+v", path, given, r)
			}
		}
	}
	if r := open.get(t, "/badge/backup.svg"); r.code != 200 {
		t.Errorf("a public badge: %+v", r)
	}
	if r := open.get(t, "/metrics"); r.code != 401 {
		t.Errorf("metrics beside public badges: %+v", r)
	}
	for _, path := range []string{"/healthz", "/ping/" + testUUID} {
		if r := closed.get(t, path); r.code != 200 {
			t.Errorf("%s needs no token: %+v", path, r)
		}
	}
}

func TestHealth(t *testing.T) {
	l := newList()
	s := serve(t, l, testConfig())
	if r := s.get(t, "/healthz"); r.code != 200 || r.body != "ok\n" {
		t.Errorf("%+v", r)
	}
	if r := s.do(t, http.MethodHead, "/healthz", ""); r.code != 200 {
		t.Errorf("HEAD: %+v", r)
	}
	l.mu.Lock()
	l.broken = io.ErrUnexpectedEOF
	l.mu.Unlock()
	for _, path := range []string{"/healthz", "/metrics", "/badge/x.svg"} {
		if r := s.get(t, path); r.code != 503 || strings.Contains(r.body, "EOF") {
			t.Errorf("%s without a state: %+v", path, r)
		}
	}
	l.mu.Lock()
	l.broken = errors.New("the disk is full")
	l.mu.Unlock()
	if s.get(t, "/healthz"); !strings.Contains(s.log.text(), "the disk is full") {
		t.Errorf("the log does not say why: %s", s.log.text())
	}
}
