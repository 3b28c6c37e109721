// Package ruleset is what all lists of rules have in common when they are checked: a [Problem] says what is wrong with one
// entry of a configuration and what to do about it, and an [Index] finds the rules that an earlier one makes unreachable.
//
// The room that owns a rule checks it (nat its translations, conntrack its policies, alg its assignments, router all the
// rest) and returns [Problems] with the place of each. Whoever has read the configuration from somewhere knows where that
// place is: internal/config turns it into a file and a line. So an embedding program, which has no file, hears the same.
//
// The package is pure: it opens nothing, and imports no other room.
package ruleset
