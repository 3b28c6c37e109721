//go:build !linux

package main

import "errors"

// dropPrivileges is for Linux: elsewhere there is no no_new_privs, and half of the promise would be none.
func dropPrivileges(*account) error {
	return errors.New("dropping privileges is supported on Linux only: start as the user instead")
}
