package memory_test

import (
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/statetest"
	"github.com/durward-pdp/durward/pdp/state/memory"
)

func TestContract(t *testing.T) {
	statetest.Run(t, func(*testing.T) (statetest.Store, func()) {
		s := memory.New(time.Now)
		return s, s.Lose
	})
}
