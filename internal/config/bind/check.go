package bind

import (
	"reflect"
	"slices"

	"procops/internal/config/source"
)

// Checker is a section that finds what is wrong with itself beyond single
// values, such as references to what is not there. It calls report with the
// path of the value to blame, relative to itself; an index in a list is written
// in decimal. It looks after all that is below it.
type Checker interface {
	Check(report func(err error, path ...string))
}

// Check calls Check on each Checker in the struct that section points to,
// which was filled from the file that root describes.
func Check(section any, root *source.Node, report func(*source.Error)) {
	check(reflect.ValueOf(section), nil, func(err error, path []string) {
		report(source.Errorf(root.Near(path...), "%s: %w", root.Label(path...), err))
	})
}

func check(section reflect.Value, path []string, report func(err error, path []string)) {
	if c, ok := reflect.TypeAssert[Checker](section); ok {
		c.Check(func(err error, below ...string) {
			report(err, append(slices.Clip(path), below...))
		})
		return
	}
	v := section.Elem()
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range Fields(v.Type()) {
		if f.Type.Kind() == reflect.Struct || reflect.PointerTo(f.Type).Implements(reflect.TypeFor[Checker]()) {
			check(v.FieldByIndex(f.Index).Addr(), append(slices.Clip(path), f.Name), report)
		}
	}
}
