package mongodb

import (
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// Explain returns the part of an error that matters, in the words that help: the library tells of its
// topology.
func Explain(err error) error {
	if denied, ok := errors.AsType[*auth.Error](err); ok {
		return fmt.Errorf("the server refuses the login: %s", firstLine(innermost(denied)))
	}
	if nobody, ok := errors.AsType[topology.ServerSelectionError](err); ok {
		return unreachable(nobody)
	}
	if broken, ok := errors.AsType[topology.ConnectionError](err); ok {
		address, _, _ := strings.Cut(broken.ConnectionID, "[")
		if address == "" {
			return innermost(broken)
		}
		return fmt.Errorf("%s: %w", address, innermost(broken))
	}
	if answer, ok := errors.AsType[mongo.CommandError](err); ok && answer.Message != "" {
		return errors.New(firstLine(errors.New(answer.Message)))
	}
	return err
}

// unreachable says of each server why it cannot be used.
func unreachable(err topology.ServerSelectionError) error {
	var list []string
	for _, server := range err.Desc.Servers {
		why := "it is not the primary of its replica set"
		switch denied, ok := errors.AsType[*auth.Error](server.LastError); {
		case ok:
			return Explain(denied)
		case server.LastError != nil:
			why = innermost(server.LastError).Error()
		case server.Kind == description.Unknown:
			why = "it does not answer"
		}
		list = append(list, fmt.Sprintf("%s: %s", server.Addr, why))
	}
	if len(list) == 0 {
		return errors.New("no server is known")
	}
	return fmt.Errorf("no server can be reached: %s", strings.Join(list, "; "))
}

// innermost returns the error that caused the others.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}
