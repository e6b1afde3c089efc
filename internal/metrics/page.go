package metrics

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ContentType is the type of a page.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// The types of metrics.
const (
	Gauge     = "gauge"
	Counter   = "counter"
	histogram = "histogram"
)

// Page is a text in the Prometheus format. Its zero value is empty.
type Page struct {
	text strings.Builder
	name string // of the family
}

// String returns the text.
func (p *Page) String() string { return p.text.String() }

// Family begins the samples of a metric of a type. help must have no line breaks.
func (p *Page) Family(name, kind, help string) {
	p.name = name
	p.text.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// Single writes a metric that has one sample.
func (p *Page) Single(name, kind, help string, value float64) {
	p.Family(name, kind, help)
	p.Sample(value)
}

// Sample writes a value of the family; labels are names and values in turn.
func (p *Page) Sample(value float64, labels ...string) { p.sample("", value, labels) }

func (p *Page) sample(suffix string, value float64, labels []string) {
	p.text.WriteString(p.name + suffix)
	for i := 0; i < len(labels); i += 2 {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		p.text.WriteByte(separator)
		p.text.WriteString(labels[i] + `="` + escapeLabel(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		p.text.WriteByte('}')
	}
	p.text.WriteString(" " + number(value) + "\n")
}

func number(value float64) string {
	if math.IsInf(value, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// escapeLabel writes the value of a label as the format wants it.
func escapeLabel(value string) string {
	return labelEscapes.Replace(strings.ToValidUTF8(value, "\ufffd"))
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Histogram counts spans of time by their length: the first bucket has those of less than a
// millisecond, each further one those of less than twice as much, the last one the rest. Its
// zero value is empty. It is not for use by several goroutines at once.
type Histogram struct {
	counts [20]uint64
	sum    time.Duration
}

// Add counts a span.
func (h *Histogram) Add(took time.Duration) {
	took = max(0, took)
	h.counts[min(bits.Len64(uint64(took/time.Millisecond)), len(h.counts)-1)]++
	h.sum += took
}

// Histograms begins the samples of a metric that is a histogram of seconds.
func (p *Page) Histograms(name, help string) { p.Family(name, histogram, help) }

// Histogram writes a histogram of the family.
func (p *Page) Histogram(h *Histogram, labels ...string) {
	var count uint64
	for i, n := range h.counts {
		count += n
		bound := math.Inf(1)
		if i < len(h.counts)-1 {
			bound = float64(uint64(1)<<i) / 1000
		}
		p.sample("_bucket", float64(count), append(slices.Clip(labels), "le", number(bound)))
	}
	p.sample("_sum", h.sum.Seconds(), labels)
	p.sample("_count", float64(count), labels)
}
