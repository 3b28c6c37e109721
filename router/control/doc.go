// Package control is the API of a running router on its control socket, and the client of that API: HTTP and JSON
// over a unix socket. docs/control-api.md describes it for other programs.
//
//	GET /v1/status   one JSON object, a [router.Status]
//	GET /v1/flows    one [router.Flow] a line (application/x-ndjson), filtered by the query
//
// Whoever may connect may ask: the socket's owner and mode are the only access control, so [Listen] makes it for
// its owner alone.
//
// [Listen] makes the socket, [Server] answers on it, [Client] asks. The server knows the router as a [Source]; it never
// changes anything in it. It imports the router, never the reverse.
//
// Limits: no reload, no deletion and no events yet. A list is not a snapshot: a flow that ends while the list is
// made may or may not be in it.
package control
