package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// Revision returns the identity of a bundle's content: the SHA-256 of its sorted paths and contents, of which the
// first 16 hexadecimal digits are shown.
func Revision(contents map[string][]byte) string {
	hash := sha256.New()
	var length [8]byte
	write := func(data []byte) {
		binary.BigEndian.PutUint64(length[:], uint64(len(data)))
		hash.Write(length[:])
		hash.Write(data)
	}
	for _, path := range slices.Sorted(maps.Keys(contents)) {
		write([]byte(path))
		write(contents[path])
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}
