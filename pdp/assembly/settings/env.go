package settings

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

const envPrefix = "DURWARD_"

var errDuration = errors.New("wants a whole number and a unit of ms, s, min, h or d, as in 200ms")

// commandVariables are read by the command line or by development tools, not by this package.
var commandVariables = map[string]bool{
	"DURWARD_CONFIG": true, "DURWARD_BUNDLE": true, "DURWARD_LISTEN": true, "DURWARD_ADMIN": true, "DURWARD_HTTP": true, "DURWARD_REDIS": true,
	"DURWARD_CLIENT_ADDRESS": true, "DURWARD_INSECURE": true, "DURWARD_TOOLS": true, "DURWARD_SUITES": true, "DURWARD_VULNDB": true,
}

// overlay sets the settings that environment variables name: DURWARD_ and the keys of the path in upper case, joined
// with "_" (DURWARD_AUDIT_ON_FULL). Only single values can be set so, not lists. Values never stand in errors.
func overlay(s *Settings, environ []string) (warnings []string, err error) {
	targets := map[string]reflect.Value{}
	collect(reflect.ValueOf(s).Elem(), "DURWARD", targets)
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) || commandVariables[name] {
			continue
		}
		target, ok := targets[name]
		if !ok {
			// An orchestrator sets DURWARD_SERVICE_HOST and the like for a service of that name.
			if !strings.Contains(name, "_PORT") && !strings.Contains(name, "_SERVICE_") {
				warnings = append(warnings, name)
			}
			continue
		}
		if err := set(target, value); err != nil {
			return nil, fmt.Errorf("%w: environment variable %s: %w", ErrInvalid, name, err)
		}
	}
	sort.Strings(warnings)
	return warnings, nil
}

// collect maps variable names to the single values below v.
func collect(v reflect.Value, prefix string, into map[string]reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		name := prefix + "_" + strings.ToUpper(keyOf(t.Field(i)))
		switch field := v.Field(i); field.Kind() {
		case reflect.Struct:
			collect(field, name, into)
		case reflect.String, reflect.Int, reflect.Int64, reflect.Bool:
			into[name] = field
		}
	}
}

// keyOf is the key of a field in durward.yaml.
func keyOf(field reflect.StructField) string {
	key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return key
}

func set(target reflect.Value, value string) error {
	if d, ok := target.Addr().Interface().(*format.Duration); ok {
		if err := d.UnmarshalText([]byte(value)); err != nil {
			return errDuration
		}
		return nil
	}
	switch target.Kind() {
	case reflect.String:
		target.SetString(value)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("wants true or false")
		}
		target.SetBool(b)
	default:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("wants a whole number")
		}
		target.SetInt(n)
	}
	return nil
}
