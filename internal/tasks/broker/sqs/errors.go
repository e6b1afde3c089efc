package sqs

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"procops/internal/fault"
)

// isMissing reports whether the service knows no such queue.
func isMissing(err error) bool {
	_, is := errors.AsType[*types.QueueDoesNotExist](err)
	return is || code(err) == "AWS.SimpleQueueService.NonExistentQueue"
}

// code returns what the service calls an error; empty, where it comes from elsewhere.
func code(err error) string {
	if api, is := errors.AsType[smithy.APIError](err); is {
		return api.ErrorCode()
	}
	return ""
}

// refusals are the words of a service that does not want this client.
func refusals() []string {
	return []string{
		"AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
		"IncompleteSignatureException", "InvalidClientTokenId", "InvalidSecurity", "InvalidSignatureException", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException",
	}
}

// explain says what an error of the library means, and what helps. The library's own
// text names operations, attempts and statuses before it comes to the point.
func (b *box) explain(err error) error {
	api, isAPI := errors.AsType[smithy.APIError](err)
	network, isNetwork := errors.AsType[*url.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, errNoCredentials):
		return fault.Wrap(fault.Usage, errNoCredentials, "queue %q", b.name).
			WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials; roles of instances and containers are not looked for")
	case isMissing(err):
		return fault.New(fault.NotFound, "there is no queue %q", b.name).
			WithHint("create it with `aws sqs create-queue --queue-name %s`, or set create = true in the section of the broker", b.name)
	case isAPI && slices.Contains(refusals(), api.ErrorCode()):
		return fault.New(fault.Failure, "queue %q: the service refuses it: %s: %s", b.name, api.ErrorCode(), api.ErrorMessage()).
			WithHint("look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, and at the rights (docs/guide/tasks.md)")
	case isAPI:
		return fault.New(fault.Failure, "queue %q: %s: %s", b.name, api.ErrorCode(), api.ErrorMessage())
	case isNetwork:
		return fault.Wrap(fault.Unreachable, network.Err, "queue %q: cannot reach %s", b.name, network.URL)
	default:
		return fault.Wrap(fault.Failure, err, "queue %q", b.name)
	}
}
