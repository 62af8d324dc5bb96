package redis

import (
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/state"
)

// decodeRecord reads "version expires deleted value", as write.lua writes it.
func decodeRecord(id, text string) (state.Record, error) {
	version, rest, _ := strings.Cut(text, " ")
	expires, rest, _ := strings.Cut(rest, " ")
	deleted, value, found := strings.Cut(rest, " ")
	r := state.Record{ID: id}
	var err, err2 error
	r.Version, err = strconv.ParseUint(version, 10, 63)
	micros, err2 := strconv.ParseInt(expires, 10, 64)
	if err != nil || err2 != nil || micros < 0 || !found || deleted != "0" && deleted != "1" {
		return state.Record{}, errReply
	}
	if micros > 0 {
		r.Expires = time.UnixMicro(micros)
	}
	if r.Deleted = deleted == "1"; !r.Deleted {
		r.Value = []byte(value)
	}
	return r, r.Check()
}
