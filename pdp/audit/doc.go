// Package audit keeps a record of every decision: masked by construction, queued with a bound, written to a sink.
//
// Log encodes an Entry at once into one line of JSON, the Record of proto/durward/v1, and hands it to a goroutine that
// writes in batches to an io.Writer: standard output, or a File. The engine and the assembly import the package. It never
// decides, except that a configuration may say that a decision without a record is a denial; it never writes a
// credential, because nothing that it encodes could hold one; and it never makes files durable (fsync): that is for
// whatever ships them.
package audit
