// Package ini reads INI files as Python's RawConfigParser does when it is set up
// as supervisord sets it up: "=" or ":" after a key, comments after ";" or "#"
// that stand alone or follow a blank, values that go on in deeper indented
// lines, keys without regard to case, sections that come twice are one, and of
// keys that come twice the last one holds.
// https://docs.python.org/3/library/configparser.html#supported-ini-file-structure
package ini
