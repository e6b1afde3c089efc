//go:build bench

package bench

import (
	"testing"

	"procops/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
