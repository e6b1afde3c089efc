// Package config turns procops.toml into typed sections, and says of everything
// that is wrong with it in which file, line and column it stands.
//
// Load reads the file and those it includes (files.go, include.go, merge.go),
// fills in variables of the environment (expand.go), binds the tree to the
// structs of the sections (package bind), and lets each section check itself.
package config
