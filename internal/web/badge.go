package web

import (
	"bytes"
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"

	"procops/internal/heartbeat"
)

const (
	badgePrefix    = "/badge/"
	badgeTagPrefix = "/badge/tag/"
	badgeSuffix    = ".svg"
)

// badge answers with the state of a heartbeat, or of all with a tag, as an image.
func (s *Server) badge(w http.ResponseWriter, r *http.Request) answer {
	label, isTag := strings.CutPrefix(r.URL.Path, badgeTagPrefix)
	if !isTag {
		label = strings.TrimPrefix(label, badgePrefix)
	}
	label = strings.TrimSuffix(label, badgeSuffix)
	var tags []string
	if isTag {
		tags = []string{label}
	}
	all, err := s.all(r.Context(), tags...)
	if err != nil {
		return s.troubled(w, err, "cannot read the heartbeats")
	}
	now := time.Now()
	var (
		statuses []heartbeat.Status
		state    heartbeat.State // of the one
	)
	for _, h := range all {
		if status, _ := h.Status(now); isTag || h.Name == label {
			statuses = append(statuses, status)
			state = h.At(now).State
		}
	}
	// Where an image may come from and what it may load is for the page that shows
	// it to say; opened by itself it must do nothing.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	a := answer{code: http.StatusOK, kind: "image/svg+xml; charset=utf-8"}
	if len(statuses) == 0 {
		a.code, a.body = http.StatusNotFound, drawBadge(label, "not found", "#9f9f9f")
		return a
	}
	text, colour := badgeLook(heartbeat.Worst(statuses...))
	if !isTag && (state == heartbeat.StatePaused || state == heartbeat.StateStarted) {
		text = string(state) // for which there is no status
	}
	a.body = drawBadge(label, text, colour)
	return a
}

// badgeLook returns the text and the colour for a status.
func badgeLook(status heartbeat.Status) (text, colour string) {
	text = stateOf(status)
	switch status {
	case heartbeat.OK:
		return text, "#3a8f12"
	case heartbeat.Warning:
		return text, "#c95a14"
	case heartbeat.Critical:
		return text, "#c8321f"
	default:
		return text, "#6b6b6b"
	}
}

// stateOf returns what a status is called of a heartbeat that reports by ping.
func stateOf(status heartbeat.Status) string {
	switch status {
	case heartbeat.OK:
		return "up"
	case heartbeat.Warning:
		return "late"
	case heartbeat.Critical:
		return "down"
	default:
		return "new"
	}
}

// longestLabel is how many characters of a label are shown.
const longestLabel = 64

// drawBadge draws a label and what there is to say about it.
func drawBadge(label, text, colour string) string {
	label = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd || r == 0xfffe || r == 0xffff {
			return ' ' // XML does not have them
		}
		return r
	}, strings.ToValidUTF8(label, " "))
	if runes := []rune(label); len(runes) > longestLabel {
		label = string(runes[:longestLabel-1]) + "…"
	}
	const margin, height = 6, 20
	left, right := textWidth(label)+2*margin, textWidth(text)+2*margin
	label, text = html.EscapeString(label), html.EscapeString(text)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" role="img" aria-label="%s: %s">`+"\n",
		left+right, height, label, text)
	fmt.Fprintf(&b, "<title>%s: %s</title>\n", label, text)
	fmt.Fprintf(&b, `<clipPath id="c"><rect width="%d" height="%d" rx="3"/></clipPath>`+"\n", left+right, height)
	fmt.Fprintf(&b, `<g clip-path="url(#c)"><rect width="%d" height="%d" fill="#444"/>`, left, height)
	fmt.Fprintf(&b, `<rect x="%d" width="%d" height="%d" fill="%s"/></g>`+"\n", left, right, height, colour)
	b.WriteString(`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">`)
	fmt.Fprintf(&b, `<text x="%d" y="14" textLength="%d">%s</text>`, margin, left-2*margin, label)
	fmt.Fprintf(&b, `<text x="%d" y="14" textLength="%d">%s</text></g></svg>`+"\n", left+margin, right-2*margin, text)
	return b.String()
}

// textWidth estimates the width of a text in pixels; textLength then makes it so,
// whatever the font.
func textWidth(text string) int {
	width := 0
	for _, r := range text {
		switch {
		case strings.ContainsRune("fijlrtI.,:;'|!()[] ", r):
			width += 4
		case strings.ContainsRune("mwMW@%", r):
			width += 11
		case r > 0x2e80: // east Asian scripts and pictures
			width += 13
		default:
			width += 7
		}
	}
	return max(1, width)
}
