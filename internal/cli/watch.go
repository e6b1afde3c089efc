package cli

import (
	"bytes"
	"context"
	"slices"
	"time"
)

// watchInterval is the time between two pictures of --watch.
const watchInterval = time.Second

// clearScreen moves the cursor home and clears all below it; clearLine clears
// what an earlier picture has left of a line.
const (
	clearScreen = "\x1b[H\x1b[J"
	clearLine   = "\x1b[K"
)

// watch shows a picture again and again until a signal ends it or there is none any
// more.
func watch(ctx context.Context, io IO, picture func(context.Context) ([]byte, error)) error {
	ctx, done := io.untilSignal(ctx)
	defer done()
	again := time.NewTicker(watchInterval)
	defer again.Stop()
	terminal := isTerminal(io.Stdout)
	for {
		text, err := picture(ctx)
		if err != nil {
			return err
		}
		if terminal {
			text = slices.Concat([]byte(clearScreen), bytes.ReplaceAll(text, []byte("\n"), []byte(clearLine+"\n")))
		}
		if _, err := io.Stdout.Write(text); err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
