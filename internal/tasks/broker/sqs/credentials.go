package sqs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// secrets reads the credentials when they are first needed: from the environment, else from
// the file that Amazon's tools share. Roles of instances and containers are not looked for:
// that asks services in the network, on hosts where there may be none.
//
// The file is read again from time to time: tools that get credentials for some hours write
// new ones there.
type secrets struct{ getenv func(string) string }

// Retrieve returns the credentials.
func (s secrets) Retrieve(context.Context) (aws.Credentials, error) {
	found := aws.Credentials{
		AccessKeyID: s.getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: s.getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: s.getenv("AWS_SESSION_TOKEN"), Source: "environment",
	}
	if found.HasKeys() {
		return found, nil
	}
	path := first(s.getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(s.getenv("HOME"), ".aws", "credentials"))
	profile := first(s.getenv("AWS_PROFILE"), "default")
	keys, err := readProfile(path, profile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return aws.Credentials{}, errNoCredentials
	case err != nil:
		return aws.Credentials{}, fmt.Errorf("cannot read the credentials: %w", err)
	}
	found = aws.Credentials{
		AccessKeyID: keys["aws_access_key_id"], SecretAccessKey: keys["aws_secret_access_key"],
		SessionToken: keys["aws_session_token"], Source: path,
		CanExpire: true, Expires: time.Now().Add(fileGood),
	}
	if !found.HasKeys() {
		return aws.Credentials{}, fmt.Errorf("%s has no aws_access_key_id and aws_secret_access_key in the profile %q", path, profile)
	}
	return found, nil
}

// fileGood is how long credentials of the file are used.
const fileGood = time.Minute

var errNoCredentials = errors.New("there are no credentials")

// readProfile reads one section of a credentials file.
func readProfile(path, profile string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys, inside := map[string]string{}, false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			name := strings.TrimSpace(strings.Trim(line, "[]"))
			inside = name == profile
			continue
		}
		key, value, is := strings.Cut(line, "=")
		if inside && is && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			keys[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return keys, nil
}
