package leptir

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"

	"procops/internal/config"
	"procops/internal/config/imports"
	"procops/internal/fault"
)

// Convert converts what PHP's json_encode makes of leptir's configuration. What procops has
// no counterpart for is a note.
func Convert(file string) (imports.Result, error) {
	text, err := config.ReadText(file)
	if err != nil {
		return imports.Result{}, err
	}
	if isPHP(text) {
		return imports.Result{}, fault.New(fault.Usage, "cannot read %q: it is PHP code", file).
			WithHint("let PHP write it as JSON: `php -r 'echo json_encode(require $argv[1]);' %s > leptir.json`", file)
	}
	root, err := read(file, text)
	if err == nil && root.value != nil {
		err = errors.New("it is not an array of PHP")
	}
	if err != nil {
		return imports.Result{}, fault.Wrap(fault.Usage, err, "cannot read %q", file).
			WithHint("leptir's configuration is PHP code; let PHP write it as JSON: `php -r 'echo json_encode(require $argv[1]);' leptir.config.php > leptir.json`")
	}
	c := &converter{}
	if inner := root.get("leptir"); inner.get("brokers") != nil || inner.get("daemon") != nil || inner.get("leptir") != nil {
		c.convert(inner)
	} else {
		c.convert(root)
	}
	root.unused(func(n *node) { c.note(n, "procops has nothing like %q", n.path) })
	return c.draft.Result(), nil
}

type converter struct{ draft imports.Draft }

func (c *converter) note(n *node, format string, args ...any) {
	c.draft.Note(imports.Note{At: n.at, Text: fmt.Sprintf(format, args...)})
}

func (c *converter) convert(root *node) {
	d := &c.draft
	d.Comment("Made from a configuration of leptir. `procops tasks work` works its queues off; producers and consumers in PHP may go on meanwhile.")
	c.loggers(root.get("loggers"))
	d.Gap()
	d.Table("tasks")
	for _, section := range []string{"daemon", "leptir"} { // the key has changed its name
		c.worker(root.get(section, "configuration"))
	}
	c.brokers(root.get("brokers"))
	c.stores(root.get("meta_storage"))
	for _, f := range root.get("error_reporting").items() {
		c.note(f.node, "the class %q is not called; [[tasks.error_report]] reports failures to a command, a webhook or Sentry", f.get("class").text())
	}
	d.Gap()
	d.Comment("leptir finds the class of a task in its document. procops needs to be told what runs it; the parameters are on standard input, as JSON. For each class:")
	d.Comment("[tasks.type.\"App.Task.Example\"]")
	d.Comment("class = 'App\\Task\\Example'")
	d.Comment("command = [\"php\", \"run-task.php\", \"App\\\\Task\\\\Example\"]")
}

// worker converts how leptir works.
func (c *converter) worker(n *node) {
	if n == nil {
		return
	}
	if w := n.get("number_of_workers"); w != nil {
		if count, ok := w.number(); ok && count >= 1 && count <= 10_000 {
			c.draft.Set(int(count), "workers")
		} else {
			c.note(w, "%q is not a number of workers", w.text())
		}
	}
	c.seconds(n.get("task_execution_time"), "time_limit")
	c.seconds(n.get("empty_queue_sleep_time"), "empty_queue_sleep")
	c.seconds(n.get("workers_active_sleep_time"), "busy_sleep")
	if pid := n.get("pid_path"); pid != nil {
		c.note(pid, "the pidfile %q is named at the start: procops tasks start --pid FILE", pid.text())
	}
}

// seconds sets a duration, if there is one.
func (c *converter) seconds(n *node, key string) {
	if n == nil {
		return
	}
	s, ok := n.number()
	if !ok {
		c.note(n, "%q is not a number of seconds", n.text())
		return
	}
	c.draft.Set(strconv.FormatFloat(s, 'f', -1, 64)+"s", key)
}

// brokers converts the brokers.
func (c *converter) brokers(list *node) {
	names := namer{}
	for _, f := range list.items() {
		kind := f.get("type").text()
		if !slices.Contains([]string{"redis", "mongodb", "sqs"}, kind) {
			c.note(f.node, "there is no broker of type %q", kind)
			continue
		}
		c.draft.Gap()
		c.draft.Table("tasks", "broker", names.next(kind))
		c.draft.Set(kind, "kind")
		c.draft.Set("leptir", "format")
		connection := f.get("connection")
		c.connection(kind, connection, "key", "leptir", "tasks")
		if configuration := f.get("configuration"); configuration != nil {
			if p := configuration.get("priority"); p != nil {
				c.priority(p)
			}
			c.seconds(configuration.get("task_count_caching_time"), "count_cache")
		}
	}
}

func (c *converter) priority(n *node) {
	p, err := strconv.ParseFloat(n.text(), 64)
	if err != nil || p != math.Trunc(p) || math.Abs(p) > math.MaxInt32 {
		c.note(n, "%q is not a priority", n.text())
		return
	}
	c.draft.Set(int(p), "priority")
}

// connection converts where a broker or a meta store is.
func (c *converter) connection(kind string, n *node, key, database, collection string) {
	get := func(name, or string) string { return cmp.Or(n.get(name).text(), or) }
	switch kind {
	case "redis":
		c.draft.Set(redisURL(get("scheme", "tcp"), get("host", "127.0.0.1"), get("port", "6379"), get("database", "0"), n.get("path").text()), "url")
		if k := n.get("key"); k != nil && key == "prefix" {
			c.draft.Set(k.text()+":", key)
		} else if k != nil {
			c.draft.Set(k.text(), key)
		}
	case "mongodb":
		c.draft.Set("mongodb://"+net.JoinHostPort(get("host", "localhost"), get("port", "27017")), "url")
		c.draft.Set(get("database", database), "database")
		c.draft.Set(get("collection", collection), "collection")
		for _, option := range n.get("options").items() {
			if option.used = true; option.key != "connect" {
				c.note(option.node, "the option %q of the driver is not taken over: options belong behind a \"?\" in url", option.key)
			}
		}
	case "sqs":
		c.draft.Set(n.get("sqs_queue").text(), "queue")
		for _, secret := range []string{"sqs_key", "sqs_secret"} {
			if s := n.get(secret); s != nil {
				c.note(s, "%s is not taken over: the credentials are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", secret)
			}
		}
	}
}

func redisURL(scheme, host, port, database, path string) string {
	switch scheme {
	case "unix":
		return "unix://" + path + "?db=" + database
	case "tls", "rediss":
		return "rediss://" + net.JoinHostPort(host, port) + "/" + database
	default:
		return "redis://" + net.JoinHostPort(host, port) + "/" + database
	}
}

// stores converts the meta storages.
func (c *converter) stores(list *node) {
	names := namer{}
	for _, f := range list.items() {
		kind := f.get("type").text()
		if kind != "redis" && kind != "mongodb" {
			c.note(f.node, "there is no meta storage of type %q", kind)
			continue
		}
		c.draft.Gap()
		c.draft.Table("tasks", "meta", names.next(kind))
		c.draft.Set(kind, "kind")
		c.connection(kind, f.get("connection"), "prefix", "leptir", "info")
		if expire := f.get("configuration", "expire_after_seconds"); expire != nil {
			if s, ok := expire.number(); ok && s > 0 {
				c.seconds(expire, "expire_after")
			}
		}
	}
}

// loggers converts the loggers: procops has one log.
func (c *converter) loggers(list *node) {
	var file *node
	for _, f := range list.items() {
		switch typ := f.get("type").text(); {
		case typ == "file" && file == nil && f.get("options", "path").text() != "":
			file = f.get("options", "path")
			c.draft.Gap()
			c.draft.Table("log")
			c.draft.Set(file.text(), "file")
		case typ == "stderr":
			f.get("options") // the default, unless there is a file
		default:
			c.note(f.node, "the logger %q of type %q is left out: there is one log, in a file or on standard error", f.key, typ)
			f.get("options").items()
			f.get("options", "path")
		}
	}
}

// namer gives names: the kind, then with a number.
type namer map[string]int

func (n namer) next(kind string) string {
	n[kind]++
	if n[kind] == 1 {
		return kind
	}
	return kind + "-" + strconv.Itoa(n[kind])
}
