package bundle

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/route"
)

// inputs are the files that something is made of, and the hash of their paths and contents.
type inputs struct {
	paths []string // sorted
	sum   [sha256.Size]byte
}

// newInputs returns the files below a directory ("" is none) and the others named.
func newInputs(files *format.Files, directory string, others []string) inputs {
	paths := append(filesIn(files, directory), others...)
	slices.Sort(paths)
	in := inputs{paths: slices.Compact(paths)}
	in.sum = sumOf(files, in.paths)
	return in
}

// filesIn returns the paths of the files below a directory.
func filesIn(files *format.Files, directory string) []string {
	if directory == "" {
		return nil
	}
	all, prefix := files.Paths(), directory+"/"
	begin, _ := slices.BinarySearch(all, prefix)
	end := begin
	for end < len(all) && strings.HasPrefix(all[end], prefix) {
		end++
	}
	return slices.Clone(all[begin:end])
}

// built is a service of a good bundle and what it is made of.
type built struct {
	source  format.Service // as decoded; without its file, which belongs to one revision
	inputs  inputs         // beside those that all services share
	refs    []string       // the paths that it refers to; more may lie in its directory, for others
	service *pipeline.Service
}

// under returns the service as a part of another revision, whose routes name that one. The one that it is made from
// goes on as it is: decisions in flight use it.
func (b *built) under(r *route.Service) *built {
	service := *b.service
	service.Route = r
	return &built{source: b.source, inputs: b.inputs, refs: b.refs, service: &service}
}

// stock are the services of the last good revision that a new one can take over: those of which no input changed.
// Nothing can be wrong with such a service by itself, or it would not be there.
type stock struct {
	services map[string]*built // by directory
	main     *format.File      // bundle.yaml as the last revision read it; nil if what all services share is not the same
}

func newStock(files *format.Files, before *compiled) *stock {
	s := &stock{}
	if before == nil || sumOf(files, before.shared.paths) != before.shared.sum {
		return s
	}
	s.main = before.main
	s.services = make(map[string]*built, len(before.services))
	for _, b := range before.services {
		// A file that is new in the directory is an input too.
		if newInputs(files, b.source.Dir, b.inputs.paths).sum == b.inputs.sum {
			s.services[b.source.Dir] = b
		}
	}
	return s
}

// find returns the service of a directory; nil when it has to be made.
func (s *stock) find(directory string) *built { return s.services[directory] }

// view returns the bundle as the compilers of one service see it: with no file and no service but those that decide
// whether it is made anew, so that none of them can depend on another one.
func view(b *format.Bundle, s *format.Service, shared, own *inputs) *format.Bundle {
	seen := *b
	seen.Services = []*format.Service{s}
	seen.Files = b.Files.Only(slices.Concat(shared.paths, own.paths))
	return &seen
}
