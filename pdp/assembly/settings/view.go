package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// MarshalJSON writes the settings with the keys of durward.yaml in their order, lengths of time as text and secrets
// masked. Where no secret is set the result can be read again as durward.yaml.
func (s Settings) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	if err := view(&out, reflect.ValueOf(s)); err != nil {
		return nil, fmt.Errorf("showing settings: %w", err)
	}
	return out.Bytes(), nil
}

func view(out *bytes.Buffer, v reflect.Value) error {
	switch value := v.Interface().(type) {
	case format.Duration:
		return scalar(out, lengthOf(time.Duration(value)))
	case Secret:
		return scalar(out, value.String())
	}
	switch v.Kind() {
	case reflect.Pointer:
		return view(out, v.Elem())
	case reflect.Struct:
		return viewStruct(out, v)
	case reflect.Slice:
		out.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := view(out, v.Index(i)); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	}
	return scalar(out, v.Interface())
}

// viewStruct leaves out what is not there at all: a TLS that is not set.
func viewStruct(out *bytes.Buffer, v reflect.Value) error {
	out.WriteByte('{')
	separator := ""
	for i := range v.NumField() {
		key, field := keyOf(v.Type().Field(i)), v.Field(i)
		if field.Kind() == reflect.Pointer && field.IsNil() {
			continue
		}
		out.WriteString(separator)
		separator = ","
		if err := scalar(out, key); err != nil {
			return err
		}
		out.WriteByte(':')
		if err := view(out, field); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

func scalar(out *bytes.Buffer, value any) error {
	data, err := json.Marshal(value)
	out.Write(data)
	return err
}

// lengthOf writes a length of time as durward.yaml does, in the largest unit that shows it as a whole number.
func lengthOf(d time.Duration) string {
	for _, unit := range []struct {
		name   string
		length time.Duration
	}{{"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}} {
		if d%unit.length == 0 && (d != 0 || unit.length == time.Second) {
			return fmt.Sprintf("%d%s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}
