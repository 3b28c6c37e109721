package main

import (
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/ftp"
	"github.com/natrouter/natrouter/router/alg/irc"
	"github.com/natrouter/natrouter/router/alg/pptp"
	"github.com/natrouter/natrouter/router/alg/tftp"
)

// helpers are the helpers of this program: a new one is its folder and a line here.
func helpers() []alg.Helper {
	return []alg.Helper{
		pptp.New(),
		ftp.New(),
		tftp.New(),
		irc.New(),
	}
}
