//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func runDemo(*cobra.Command, bool) error {
	return errors.New("demo needs the network namespaces of Linux")
}
