package window

// Lease charges units in advance, behind a charge that left the Counter: at most want, and at most one part in share of the
// units that are left. It returns how many.
func (r Rate) Lease(c Counter, now, want, share int64) (Counter, int64) {
	c = r.Bound(c, now)
	n := min(want, r.free(c, now)/max(share, 1))
	if n <= 0 {
		return c, 0
	}
	c.Used += n
	return c, n
}
