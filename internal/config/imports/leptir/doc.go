// Package leptir converts the configuration of the task processor leptir. That is PHP code,
// which only PHP can read; what is converted is what PHP's json_encode makes of it.
package leptir
