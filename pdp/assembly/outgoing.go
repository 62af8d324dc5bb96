package assembly

import (
	"crypto/tls"
	"fmt"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/egress"
)

// newEgress opens the way out to the hosts that the settings name.
func newEgress(configured []settings.Egress) (*egress.Client, error) {
	hosts := make([]egress.Host, len(configured))
	for i := range configured {
		e := &configured[i]
		hosts[i] = egress.Host{Name: e.Host, Bundles: e.Bundles, Private: e.Private}
		var err error
		if e.CA != "" {
			if hosts[i].Roots, err = readPool(e.CA); err != nil {
				return nil, fmt.Errorf("%w: egress[%d].ca: %w", settings.ErrInvalid, i, err)
			}
		}
		if e.Certificate != "" {
			pair, err := tls.LoadX509KeyPair(e.Certificate, e.Key)
			if err != nil {
				return nil, fmt.Errorf("%w: egress[%d].certificate: %w", settings.ErrInvalid, i, err)
			}
			hosts[i].Certificate = &pair
		}
	}
	client, err := egress.New(hosts)
	if err != nil {
		return nil, fmt.Errorf("%w: egress: %w", settings.ErrInvalid, err)
	}
	return client, nil
}
