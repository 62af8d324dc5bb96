package keys

import "testing"

// Rows of the checklist of what a strict verifier does, by its numbers, that have tests of their own.

func TestUnknownKeysFetchOncePerWindow(t *testing.T) { t.Run("T24", testUnknownKeysFetchOncePerWindow) }
func TestBadAnswers(t *testing.T)                    { t.Run("T24", testBadAnswers) }
func TestDiscovery(t *testing.T)                     { t.Run("T25", testDiscovery) }
func TestLyingIssuer(t *testing.T)                   { t.Run("T25", testLyingIssuer) }
func TestRotation(t *testing.T)                      { t.Run("T26", testRotation) }
func TestClockSetBack(t *testing.T)                  { t.Run("T30", testClockSetBack) }
