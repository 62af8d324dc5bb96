// Package state is what replicas share beside counters: tables that every replica holds whole (blocked tokens, API keys, sealed
// signing keys), and marks that say that something was used (proofs, logout tokens).
//
// A [Store] keeps tables and marks: package memory for one replica and for tests, package redis for many. A [Table] is one
// replica's copy of a table. It is read without I/O, polls its store, and is woken by it: a change is seen within [Poll], at once
// where the wake-up arrives. When the store has lost everything, as a Redis without persistence does at a restart, replicas write
// back what they still hold.
//
// Whoever imports the package says what bytes mean; stores know no decision. It imports nothing of this module.
package state
