package settings

import (
	"errors"
	"fmt"
	"os"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// maxFile bounds the settings file, in bytes.
const maxFile = 1 << 20

// ErrInvalid is wrapped by every error that Load returns.
var ErrInvalid = errors.New("invalid settings")

// Overrides are the shorthands of the command line; an empty member overrides nothing.
type Overrides struct {
	// Bundles replace the bundles.
	Bundles []string
	// Listen is the address of the first listener, ClientAddress its rule, Insecure its permission.
	Listen, ClientAddress string
	Insecure              bool
	// Admin and HTTP are those listeners' addresses, Redis the URL.
	Admin, HTTP, Redis string
}

// Load reads the settings: defaults, then the file (none for ""), then environ ("NAME=value" entries), then the
// overrides. warnings name environment variables that look like settings and are none.
func Load(path string, environ []string, o Overrides) (s Settings, warnings []string, err error) {
	s = Defaults()
	var file *format.File
	if path != "" {
		if file, err = decodeFile(path, &s); err != nil {
			return s, nil, err
		}
	}
	if warnings, err = overlay(&s, environ); err != nil {
		return s, nil, err
	}
	o.apply(&s)
	for i := range s.Listeners {
		fillListener(&s.Listeners[i])
	}
	if problems := s.check(file); len(problems) > 0 {
		return s, warnings, fmt.Errorf("%w:\n%w", ErrInvalid, problems)
	}
	return s, warnings, nil
}

func decodeFile(path string, s *Settings) (*format.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrInvalid, path, maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	file := &format.File{Path: path, Data: data}
	if problems := format.Decode(file, s); len(problems) > 0 {
		return nil, fmt.Errorf("%w:\n%w", ErrInvalid, problems)
	}
	return file, nil
}

func (o Overrides) apply(s *Settings) {
	if len(o.Bundles) > 0 {
		s.Bundles = nil
		for _, dir := range o.Bundles {
			s.Bundles = append(s.Bundles, Bundle{Dir: dir})
		}
	}
	if len(s.Listeners) == 0 {
		s.Listeners = []Listener{DefaultListener()}
	}
	first := &s.Listeners[0]
	if o.Listen != "" {
		first.Address = o.Listen
	}
	if o.ClientAddress != "" {
		first.ClientAddress = o.ClientAddress
	}
	if o.Insecure {
		first.Insecure, s.Admin.Insecure = true, true
		s.HTTP.Insecure = s.HTTP.Address != "" || o.HTTP != ""
	}
	if o.Admin != "" {
		s.Admin.Address = o.Admin
	}
	if o.HTTP != "" {
		s.HTTP.Address = o.HTTP
	}
	if o.Redis != "" {
		s.Redis = Redis{Mode: "single", URL: Secret(o.Redis), CA: s.Redis.CA, Certificate: s.Redis.Certificate, Key: s.Redis.Key,
			Timeout: s.Redis.Timeout, Replicas: s.Redis.Replicas}
	}
}

func fillListener(l *Listener) {
	if len(l.Protocols) == 0 {
		l.Protocols = []string{"ext_authz"}
	}
	if l.Select == "" {
		l.Select = "host"
	}
}
