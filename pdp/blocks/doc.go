// Package blocks holds what operators and issuers have blocked: tokens, sessions, subjects, clients, keys and issuers' older tokens,
// and networks of clients.
//
// A [List] is a replica's copy of a table that all replicas share. Questions are answered from memory, without I/O and without
// allocations; a change is in force on the replica that made it at once, on the others within a second. [List.Synced] says how old
// the copy may be, and whoever asks decides what too old means.
//
// The stages identity and network ask, the assembly keeps the list and lets operators change it. The package knows no request and
// decides nothing.
package blocks
