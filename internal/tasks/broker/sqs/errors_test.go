package sqs

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
	"procops/internal/fault"
	"procops/internal/tasks/broker"
)

// TestErrors: each says what is wrong and what helps, without the library's preamble.
func TestErrors(t *testing.T) {
	t.Parallel()
	typed := startServer(t, harness.SQSTypedServer)
	refusing := func(code string) string {
		return startProxy(t, typed, func(w http.ResponseWriter, _ string, _ []byte) bool {
			return refuse(w, http.StatusForbidden, code, "go away")
		}).URL
	}
	nobody := "http://" + harness.Loopback(harness.FreePort(t))
	for name, c := range map[string]struct {
		options Options
		kind    fault.Kind
		says    string
		hint    string
	}{
		"no queue":       {Options{Endpoint: typed, Queue: "none"}, fault.NotFound, `there is no queue "none"`, "create = true"},
		"nobody there":   {Options{Endpoint: nobody}, fault.Unreachable, "cannot reach " + nobody + "/: dial tcp ", ""},
		"wrong key":      {Options{Endpoint: refusing("InvalidClientTokenId")}, fault.Failure, "the service refuses it: InvalidClientTokenId: go away", "AWS_ACCESS_KEY_ID"},
		"no right":       {Options{Endpoint: refusing("AccessDeniedException")}, fault.Failure, "the service refuses it: AccessDeniedException: go away", "rights"},
		"other":          {Options{Endpoint: refusing("KmsDisabled")}, fault.Failure, "KmsDisabled: go away", ""},
		"no credentials": {Options{Endpoint: typed, Getenv: func(string) string { return "" }}, fault.Usage, "there are no credentials", "~/.aws/credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.options.Getenv == nil {
				c.options.Getenv = keys
			}
			b, err := New(c.options)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			err = b.Push(t.Context(), []broker.Message{message("x")})
			if err == nil || !strings.HasPrefix(err.Error(), "cannot queue tasks: queue ") && !strings.HasPrefix(err.Error(), "cannot queue tasks: there is no queue") ||
				!strings.Contains(err.Error(), c.says) || !fault.Is(err, c.kind) || !strings.Contains(strings.Join(fault.Hints(err), "\n"), c.hint) {
				t.Errorf("%v, hints %q", err, fault.Hints(err))
			}
			if _, err := b.Claim(t.Context(), broker.Ask{Types: []string{"a"}, Max: 1, Lease: time.Second}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("claim: %v", err)
			}
			if _, err := b.Await(t.Context(), []string{"a"}, 30*time.Second); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("await: %v", err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    Options
		env  map[string]string
		want Options // Queue, Dead, Region and Endpoint
		says string
	}{
		"name and region":  {o: Options{Queue: "q", Region: "r"}, want: Options{Queue: "q", Dead: "q-dead", Region: "r"}},
		"environment":      {env: map[string]string{"AWS_DEFAULT_REGION": "r"}, want: Options{Queue: "procops", Dead: "procops-dead", Region: "r"}},
		"URL":              {o: Options{Queue: "https://sqs.eu-west-1.amazonaws.com/1/q"}, want: Options{Queue: "https://sqs.eu-west-1.amazonaws.com/1/q", Dead: "https://sqs.eu-west-1.amazonaws.com/1/q-dead", Region: "eu-west-1"}},
		"old URL":          {o: Options{Queue: "https://eu-west-1.queue.amazonaws.com/1/q", Dead: "d"}, want: Options{Queue: "https://eu-west-1.queue.amazonaws.com/1/q", Dead: "d", Region: "eu-west-1"}},
		"endpoint alone":   {env: map[string]string{"AWS_ENDPOINT_URL": "http://x"}, want: Options{Queue: "procops", Dead: "procops-dead", Region: "us-east-1", Endpoint: "http://x"}},
		"nowhere":          {says: "in which region"},
		"FIFO":             {o: Options{Queue: "q.fifo", Region: "r"}, says: "FIFO"},
		"FIFO URL":         {o: Options{Queue: "https://sqs.eu-west-1.amazonaws.com/1/q.fifo"}, says: "FIFO"},
		"bad name":         {o: Options{Queue: "my queue", Region: "r"}, says: `invalid name of a queue "my queue"`},
		"long name":        {o: Options{Queue: strings.Repeat("q", 80), Region: "r"}, says: "invalid name"}, // with "-dead"
		"bad endpoint":     {o: Options{Endpoint: "localhost:4100"}, says: "invalid endpoint"},
		"URL without host": {o: Options{Queue: "https:///q", Region: "r"}, says: "invalid URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.o.Getenv = func(name string) string { return c.env[name] }
			got, err := c.o.complete()
			switch {
			case c.says != "":
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("it says %v", err)
				}
			case err != nil || got.Queue != c.want.Queue || got.Dead != c.want.Dead || got.Region != c.want.Region || got.Endpoint != c.want.Endpoint:
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".aws"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ".aws", "credentials")
	if err := os.WriteFile(file, []byte(`# of all
[default]
aws_access_key_id = D
aws_secret_access_key=d=d

[ work ]
; comment = x
AWS_ACCESS_KEY_ID = W
aws_secret_access_key = w
aws_session_token = t
[half]
aws_access_key_id = H
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
		says string
	}{
		"environment": {env: map[string]string{"AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "e", "AWS_SESSION_TOKEN": "s", "HOME": dir}, want: "E e s"},
		"default":     {env: map[string]string{"HOME": dir}, want: "D d=d "},
		"profile":     {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "work"}, want: "W w t"},
		"half":        {env: map[string]string{"HOME": dir, "AWS_PROFILE": "half"}, says: `in the profile "half"`},
		"no file":     {env: map[string]string{"HOME": t.TempDir()}, says: "there are no credentials"},
		"unreadable":  {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": dir}, says: "cannot read the credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := secrets{getenv: func(name string) string { return c.env[name] }}.Retrieve(t.Context())
			switch {
			case c.says != "":
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("it says %v", err)
				}
			case err != nil || got.CanExpire != (got.Source != "environment") || got.AccessKeyID+" "+got.SecretAccessKey+" "+got.SessionToken != c.want:
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
