package redis

import (
	"strings"

	"github.com/durward-pdp/durward/ratelimiter"
)

// slotCount is the number of slots of a cluster.
const slotCount = 16384

// slotOf returns the slot of a key, by Redis Cluster's specification: CRC-16/XMODEM of the hash tag, or of the whole key
// where there is none.
func slotOf(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if length := strings.IndexByte(key[open+1:], '}'); length > 0 {
			key = key[open+1 : open+1+length]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slotCount
}

// sharedTag reports whether two keys surely lie in one slot: keys of a limiter begin with their hash tag.
func sharedTag(a, b ratelimiter.Key) bool {
	end := strings.IndexByte(string(a), '}')
	return end >= 0 && strings.HasPrefix(string(b), string(a[:end+1]))
}
