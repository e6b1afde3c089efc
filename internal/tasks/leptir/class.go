package leptir

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"procops/internal/name"
)

// CheckClass returns an error if PHP has no class of that name.
func CheckClass(class string) error {
	for part := range strings.SplitSeq(class, `\`) {
		if part == "" || '0' <= part[0] && part[0] <= '9' || strings.ContainsFunc(part, foreign) {
			return fmt.Errorf("%q is not the name of a PHP class, such as %q", class, `App\Mail\Send`)
		}
	}
	return nil
}

// foreign reports whether r has no place in the name of a class.
func foreign(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r >= utf8.RuneSelf:
		return false
	}
	return true
}

// Classes says which class stands for which type of task. Where nothing is said, the
// backslashes of a class are the dots of its type: App\Mail\Send is "App.Mail.Send".
type Classes struct {
	classes map[string]string // by type
	types   map[string]string // by class
}

// NewClasses returns the mapping of some types to their classes.
func NewClasses(classes map[string]string) Classes {
	c := Classes{classes: classes, types: make(map[string]string, len(classes))}
	for typ, class := range classes {
		c.types[class] = typ
	}
	return c
}

// Class returns the class that stands for a type.
func (c Classes) Class(typ string) string {
	if class, known := c.classes[typ]; known {
		return class
	}
	return strings.ReplaceAll(typ, ".", `\`)
}

// Type returns the type that a class stands for; false, where it has no valid name.
func (c Classes) Type(class string) (string, bool) {
	if typ, known := c.types[class]; known {
		return typ, true
	}
	typ := strings.ReplaceAll(class, `\`, ".")
	if _, other := c.classes[typ]; other {
		return "", false // that type has another class
	}
	return typ, name.Check(typ) == nil
}
