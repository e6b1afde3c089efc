package cli

import (
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// statusLine is a line at the bottom of a terminal that tells how far something is. What
// is written through it stands above. Where there is no terminal there is no line.
type statusLine struct {
	mu       sync.Mutex
	out      *os.File
	terminal bool
	text     string // on the terminal now
}

func newStatusLine(out *os.File) *statusLine {
	return &statusLine{out: out, terminal: isTerminal(out)}
}

// show puts a text in the place of the one before; empty takes it off.
func (s *statusLine) show(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal || text == s.text {
		return
	}
	if width, _, err := term.GetSize(int(s.out.Fd())); err == nil {
		text = shortenTo(text, width-1)
	}
	s.text = text
	_, _ = s.out.WriteString("\r" + text + clearLine) // there is nobody to tell of it
}

// Write writes above the line.
func (s *statusLine) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == "" {
		return s.out.Write(p)
	}
	_, err := s.out.WriteString("\r" + clearLine + string(p) + s.text)
	return len(p), err
}

// Terminal reports whether there is a terminal, as logging.New asks.
func (s *statusLine) Terminal() bool { return s.terminal }

// shortenTo cuts a text to so many characters.
func shortenTo(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= max(width, 0) {
		return text
	}
	return string(runes[:max(width, 0)])
}

// barWidth is how many characters a bar has.
const barWidth = 20

// bar draws how much of something is done; percent is 0 to 100.
func bar(percent float64) string {
	full := min(barWidth, max(0, int(percent/100*barWidth)))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "]"
}
