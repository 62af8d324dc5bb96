package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// Revision returns the identity of a bundle's content: the SHA-256 of its sorted paths, each with the SHA-256 of the
// file's content, of which the first 16 hexadecimal digits are shown.
func Revision(contents map[string][]byte) string {
	return revisionOf(format.NewFiles(contents))
}

func revisionOf(files *format.Files) string {
	sum := sumOf(files, files.Paths())
	return hex.EncodeToString(sum[:])[:16]
}

// sumOf returns the hash of the files with the given paths, which are sorted: of which of them there are, and what is
// in them.
func sumOf(files *format.Files, paths []string) (sum [sha256.Size]byte) {
	hash := sha256.New()
	var length [8]byte
	for _, p := range paths {
		file, ok := files.Get("", p)
		if !ok {
			continue
		}
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		content := file.Sum()
		hash.Write(length[:])
		hash.Write([]byte(p))
		hash.Write(content[:])
	}
	hash.Sum(sum[:0])
	return sum
}
