// Package lab is what the integration tests have in common: natrouter as its users run it, between network namespaces,
// with real clients and servers. Only tests import it; each package of tests calls [Main].
//
// The whole run is in namespaces of its own, so it touches nothing of the machine and leaves nothing behind. What it
// needs and does not find (a program, a privilege) skips a test by name; with CI=true that is a failure.
package lab
