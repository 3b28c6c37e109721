// Package netlab makes small networks of kernel namespaces and moves real traffic through them: `natrouter demo` and
// the integration tests are written with it, so what a user is shown is what is tested.
//
// [Enter] runs the program again in namespaces of its own, where it may do what it likes and leaves nothing behind.
// There a [Namespace] is a network namespace held by descriptor: sockets and processes are made in it on a locked
// thread and stay there, whichever goroutine uses them later. [Scenes] are the kinds of traffic that a NAT router
// must carry, each checked at both ends, and a [Capture] shows what crossed a link.
//
// Limits: Linux only. Namespaces are not nested, and no scene knows which router carries it.
package netlab
