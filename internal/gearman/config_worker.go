package gearman

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"procops/internal/fault"
	"procops/internal/launch"
	"procops/internal/name"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
)

// Function is a section [worker.function.NAME].
type Function struct {
	launch.Settings

	Command     proc.Command  `toml:"command" required:"true" doc:"what does a job: a list of program and arguments, or a string for /bin/sh -c"`
	Mode        runner.Mode   `toml:"mode" enum:"command,coprocess" default:"command" doc:"command: each job is a fresh process; coprocess: long-lived processes do one job after the other and speak JSON lines"`
	Coprocess   runner.Config `toml:"coprocess" doc:"how the co-processes are kept"`
	Concurrency int           `toml:"concurrency" min:"0" max:"10000" default:"0" doc:"how many jobs of this function a worker does at once; 0: as many as concurrency of [worker] says, in the mode coprocess as many as there may be co-processes"`
	Timeout     unit.Duration `toml:"timeout" min:"0" default:"0" doc:"a job that takes longer is stopped and fails; 0: no limit"`
	Stream      bool          `toml:"stream" default:"false" doc:"pass the result on to the client while it comes, in pieces, instead of as a whole at the end"`
	MaxResult   unit.Size     `toml:"max_result" min:"1" default:"64M" doc:"the largest result, which is kept in memory until it is sent; a job with a larger one fails; with stream there is no limit"`
	Serialize   Serialization `toml:"serialize" enum:"none,php" default:"none" doc:"none: workloads and results are bytes; php: clients serialize them as PHP does, scalars and arrays, which the command gets and gives as JSON"`
	Retries     int           `toml:"retries" min:"0" max:"1000" default:"3" doc:"how often a job is tried again that asks for it with exit code 75; then it fails"`
	RetryDelay  unit.Duration `toml:"retry_delay" min:"0" default:"1s" doc:"time until a job is tried again"`
	Stop        launch.Stop   `toml:"stop" doc:"how to stop a job"`
}

// Serialization says what workloads and results are.
type Serialization string

// The serializations.
const (
	SerializeNone Serialization = "none" // any bytes
	SerializePHP  Serialization = "php"  // what serialize() of PHP makes of scalars and arrays
)

// Program is what does a job.
func (f *Function) Program() launch.Program {
	return launch.Program{Command: f.Command, Settings: f.Settings}
}

// Parallel returns how many jobs of the function a worker does at once that does so many
// altogether.
func (f *Function) Parallel(worker int) int {
	n := worker
	if f.Mode == runner.ModeCoprocess {
		n = min(n, max(1, f.Coprocess.Size))
	}
	if f.Concurrency > 0 {
		n = min(n, f.Concurrency)
	}
	return n
}

func (f *Function) check(report func(err error, path ...string)) {
	f.Coprocess.Check(func(err error, path ...string) { report(err, append([]string{"coprocess"}, path...)...) })
	if f.Stream && f.Serialize == SerializePHP {
		report(errors.New("a result that is serialized is sent as a whole: leave one of the two out"), "stream")
	}
}

// checkFunctions reports what is wrong with the functions.
func (c Config) checkFunctions(report func(err error, path ...string)) {
	for _, function := range c.FunctionNames() {
		at := func(err error, path ...string) { report(err, append([]string{"function", function}, path...)...) }
		if err := checkFunctionName(function); err != nil {
			at(err)
		}
		f := c.Functions[function]
		f.check(at)
	}
}

// maxFunction is the length of the longest name of a function, which gearmand has as well.
const maxFunction = 512

func checkFunctionName(function string) error {
	if function == "" || len(function) > maxFunction || !printable(function) || strings.ContainsAny(function, " \t") {
		return fmt.Errorf("invalid name of a function %q: want up to %d printable characters and no spaces", function, maxFunction)
	}
	return nil
}

// FunctionNames returns the names of the functions, sorted.
func (c Config) FunctionNames() []string { return slices.Sorted(maps.Keys(c.Functions)) }

// ErrNoFunction says that a worker has nothing to do.
var ErrNoFunction = errors.New("the configuration has no function")

// Only returns the config with some of its functions alone, or all if none is named. The
// error is a fault.NotFound, or a fault.Usage if there is none at all.
func (c Config) Only(names ...string) (Config, error) {
	if len(c.Functions) == 0 {
		return c, fault.Wrap(fault.Usage, ErrNoFunction, "there is nothing to work for").
			WithHint("add a section such as [worker.function.reverse] with command = [\"rev\"]")
	}
	if len(names) == 0 {
		return c, nil
	}
	some := make(map[string]Function, len(names))
	for _, n := range names {
		f, known := c.Functions[n]
		if !known {
			return c, fault.New(fault.NotFound, "there is no function %q in the configuration%s", n, name.DidYouMean(n, c.FunctionNames())).
				WithHint("add a section [worker.function.%q]", n)
		}
		some[n] = f
	}
	c.Functions = some
	return c, nil
}
