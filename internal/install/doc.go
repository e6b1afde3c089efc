// Package install writes what makes a machine run procops as a service: a unit of systemd
// or a script for SysV init. It imports nothing internal but fault.
package install
