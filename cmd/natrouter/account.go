package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// account is a user to drop to, in numbers.
type account struct {
	name   string
	uid    int
	gid    int
	groups []int // all, the primary one too
}

// lookupAccount finds the user that [process] names, by name or number. It returns nil if there is nothing to drop: no
// user is named, or the process is that user already.
func lookupAccount(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("process.user %q: no such user: create it, or name another", name)
		}
	}
	a := &account{name: u.Username}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("process.user %q: user id %q: %w", name, u.Uid, err)
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("process.user %q: group id %q: %w", name, u.Gid, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("process.user %q: groups: %w", name, err)
	}
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("process.user %q: group id %q: %w", name, id, err)
		}
		a.groups = append(a.groups, gid)
	}
	switch {
	case a.uid == 0:
		return nil, errors.New("process.user is root, which drops nothing: name an ordinary user, or leave it out")
	case os.Geteuid() == a.uid:
		return nil, nil
	case os.Geteuid() != 0:
		return nil, fmt.Errorf("process.user %q: only root can become another user: start as root or as %s, or leave it out", name, a.name)
	}
	return a, nil
}
