package proc

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/user"
	"strconv"
)

// Umask is a file mode creation mask, 0 to 0o777; it is written in octal.
type Umask int

// UnmarshalText reads an octal mask such as "027".
func (u *Umask) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("invalid umask %q: want an octal number such as \"027\"", text)
	}
	*u = Umask(n)
	return nil
}

// MarshalText writes the mask as UnmarshalText reads it.
func (u Umask) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%03o", int(u)), nil }

// User is whom a program runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
	Name     string   // empty for a number without an entry in the user database
	Home     string   // home directory; "/" where there is no entry
}

// LookupUser finds a user by name or number, and its groups; an empty name is the
// user that procops runs as. The primary group is the given one (name or number),
// or else that of the user; a number that has no entry in the user database needs a
// group. The supplementary groups are the given ones (names or numbers), which may
// be none at all, or if groups is nil those of the user.
func LookupUser(name, group string, groups ...string) (*User, error) {
	own := name == ""
	if own {
		name = strconv.Itoa(os.Getuid())
	}
	found, err := lookupAccount(name)
	if err != nil {
		return nil, err
	}
	switch {
	case group != "":
		if found.GID, err = LookupGroup(group); err != nil {
			return nil, err
		}
	case own:
		found.GID = uint32(os.Getgid())
	case found.Name == "":
		return nil, fmt.Errorf("cannot run as user %q: the number has no entry in the user database, so a group is needed too", name)
	}
	if groups != nil {
		found.Groups = nil
	}
	for _, one := range groups {
		gid, err := LookupGroup(one)
		if err != nil {
			return nil, err
		}
		found.Groups = append(found.Groups, gid)
	}
	if len(found.Groups) == 0 {
		found.Groups = []uint32{found.GID}
	}
	return found, nil
}

func lookupAccount(name string) (*User, error) {
	account, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		uid, bad := parseID(name)
		if bad != nil {
			return nil, fmt.Errorf("cannot run as user %q: there is no such user", name)
		}
		account, err = user.LookupId(name)
		if missing := user.UnknownUserIdError(0); errors.As(err, &missing) {
			return &User{UID: uid, Home: "/"}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up user %q: %w", name, err)
	}
	return fromAccount(account)
}

func fromAccount(account *user.User) (*User, error) {
	uid, err := parseID(account.Uid)
	if err != nil {
		return nil, fmt.Errorf("cannot look up user %q: %w", account.Username, err)
	}
	gid, err := parseID(account.Gid)
	if err != nil {
		return nil, fmt.Errorf("cannot look up user %q: %w", account.Username, err)
	}
	found := &User{UID: uid, GID: gid, Name: account.Username, Home: account.HomeDir}
	groups, err := account.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("cannot look up the groups of user %q: %w", account.Username, err)
	}
	for _, text := range groups {
		id, err := parseID(text)
		if err != nil {
			return nil, fmt.Errorf("cannot look up the groups of user %q: %w", account.Username, err)
		}
		found.Groups = append(found.Groups, id)
	}
	return found, nil
}

// LookupGroup returns the number of a group that is given by name or number.
func LookupGroup(name string) (uint32, error) {
	group, err := user.LookupGroup(name)
	if unknown := user.UnknownGroupError(""); errors.As(err, &unknown) {
		gid, bad := parseID(name)
		if bad != nil {
			return 0, fmt.Errorf("cannot run with group %q: there is no such group", name)
		}
		return gid, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look up group %q: %w", name, err)
	}
	return parseID(group.Gid)
}

// parseID reads a user or group number. The highest one means "leave as it is"
// to the kernel, so it is no number of anybody.
func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == math.MaxUint32 {
		return 0, fmt.Errorf("invalid id %q", text)
	}
	return uint32(n), nil
}

// change returns the user, or nil if procops runs as just this user: then there is
// nothing to change, which would need privileges.
func (u *User) change() *User {
	if u == nil || int(u.UID) != os.Getuid() || int(u.UID) != os.Geteuid() || int(u.GID) != os.Getgid() || int(u.GID) != os.Getegid() {
		return u
	}
	now, err := os.Getgroups()
	if err != nil {
		return u
	}
	member := map[int]bool{os.Getgid(): true}
	for _, g := range now {
		member[g] = true
	}
	wanted := map[int]bool{int(u.GID): true}
	for _, g := range u.Groups {
		wanted[int(g)] = true
	}
	if !maps.Equal(member, wanted) {
		return u
	}
	return nil
}

// Env returns the variables that say who one is: HOME, USER and LOGNAME.
func (u *User) Env() []string {
	env := []string{"HOME=" + u.Home}
	if u.Name != "" {
		env = append(env, "USER="+u.Name, "LOGNAME="+u.Name)
	}
	return env
}
