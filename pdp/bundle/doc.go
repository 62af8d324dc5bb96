// Package bundle reads policy bundles from directories, checks them as a whole, compiles them with the compilers of
// the stages, and publishes the result as one snapshot that replaces the one before atomically. A revision compiles
// only the services whose files changed; the others it takes over from the revision before.
//
// The assembly imports it to run a server, the command and the tools to validate bundles. It knows no stage: whoever
// assembles a server hands the compilers in. It never publishes a bundle that it did not understand whole: what this
// version does not enforce is refused, and the last good revision serves on.
//
// In a bundle's directory README.md, LICENSE and every name that begins with a dot are left alone, so that a bundle
// can live in a Git work tree or in a volume that is swapped by symbolic links. Any other file must be one that the
// format knows and something in the bundle refers to. Replace a directory by swapping a symbolic link, or by renaming,
// if several files change together: only then can no reader see half of the change.
package bundle

import (
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/pipeline"
)

// Compiler turns a service's part of a bundle into what one stage needs at run time.
type Compiler interface {
	// Name is the stage's name, under which it finds its part in pipeline.Service.
	Name() string
	// Compile returns the stage's part for a service, or what is wrong with it. The bundle is whole and its
	// references are checked. It holds the files that bundle.yaml, the service's directory and the service's references
	// name, and no others: while those stay the same the part is taken over by later revisions, with another
	// pipeline.Service around it. b.File is the same pointer for as long as bundle.yaml and the files that it names stay
	// the same, so that what is the same for all services can be kept by it. Compile must not keep the bundle's maps and
	// slices if it changes them.
	Compile(b *format.Bundle, s *format.Service) (part any, problems format.Problems)
}

// DomainCompiler turns the files of a domain, of ratelimits/, into what the stage needs that takes its limits.
type DomainCompiler interface {
	// Name is the stage's name, under which it finds its part in pipeline.Service.
	Name() string
	// CompileDomain returns the stage's part for a domain of a bundle, or what is wrong with it. A domain has one file or
	// several, with one source each, which name the same domain and have the same compat.
	CompileDomain(bundle string, files []*format.File, sources []*ratelimits.File) (part any, problems format.Problems)
}

// Options say how bundles are loaded.
type Options struct {
	// Compilers are the stages' compilers; each sees every service.
	Compilers []Compiler
	// Domains compiles the files of ratelimits/. Without it they are refused.
	Domains DomainCompiler
	// ClientAddress is set when the operator chose how the client's address is found. Without it a bundle that uses
	// client.address or client.network is refused.
	ClientAddress bool
	// Observe is set when the operator lets bundles turn policy denials into alarms for a while (observe).
	Observe bool
	// Clock returns the time at which a revision becomes active.
	Clock func() time.Time
}

// Directory is a bundle's place in the file system.
type Directory struct {
	// Path is the directory, or a symbolic link to it. Owner says who answers for it, in reports.
	Path, Owner string
	// Observe permits this bundle what Options.Observe permits all.
	Observe bool
}

// Status says how one directory's bundle stands.
type Status struct {
	Directory
	// Active is the revision that serves; its Name is "" while none does.
	Active pipeline.BundleInfo
	// Err says why the files as they are do not serve; nil when they do. Problems are in it where it is about the
	// content of files.
	Err error
	// Report is what the parts that were compiled for the active revision have to say about themselves.
	Report []string
}
