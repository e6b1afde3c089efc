package worker

import (
	"errors"
	"os"
	"testing"
	"time"
)

// release writes into a fifo that a job reads, as soon as the job has it open.
func release(t *testing.T, fifo, text string) {
	t.Helper()
	limit := time.Now().Add(deadline)
	for {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		switch {
		case err == nil:
			_, err = f.WriteString(text)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			return
		case !errors.Is(err, os.ErrNotExist) || time.Now().After(limit):
			t.Fatal(err)
		}
	}
}
