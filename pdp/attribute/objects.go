package attribute

import "time"

// subjectObject is the subject as a matcher sees it. Empty members are absent, so that a matcher that reads a
// missing member errs instead of comparing with "".
func subjectObject(f *Facts) (Value, Presence) {
	s := &f.Subject
	object := make(map[string]any, 10)
	putText(object, "key", s.Key)
	putText(object, "id", s.ID)
	putText(object, "issuer", s.Issuer)
	putText(object, "kind", s.Kind)
	putText(object, "tenant", s.Tenant)
	putText(object, "acr", s.ACR)
	putList(object, "roles", s.Roles)
	putList(object, "scopes", s.Scopes)
	putList(object, "amr", s.AMR)
	if !s.AuthTime.IsZero() {
		object["auth_time"] = float64(s.AuthTime.Unix())
	}
	return Of(object), Present
}

func resourceObject(f *Facts) (Value, Presence) {
	object := make(map[string]any, 3)
	putText(object, "type", f.Resource.Type)
	putText(object, "id", f.Resource.ID)
	properties := make(map[string]any, len(f.Resource.Properties))
	for name, value := range f.Resource.Properties {
		properties[name] = value
	}
	object["properties"] = properties
	return Of(object), Present
}

func requestObject(f *Facts) (Value, Presence) {
	object := make(map[string]any, 8)
	putText(object, "method", f.Request.Method)
	putText(object, "host", f.Match.Host)
	putText(object, "path", f.Match.Path)
	putText(object, "protocol", f.Request.Protocol)
	if f.Request.Body.Size >= 0 {
		object["size"] = float64(f.Request.Body.Size)
	}
	object["time"] = float64(f.Now.UnixNano()) / float64(time.Second)
	return Of(object), Present
}

func claimsObject(f *Facts) (Value, Presence) {
	if f.Subject.Claims == nil {
		return Value{}, Missing
	}
	return Of(f.Subject.Claims), Present
}

func putText(object map[string]any, name, value string) {
	if value != "" {
		object[name] = value
	}
}

func putList(object map[string]any, name string, members []string) {
	if len(members) > 0 {
		object[name] = Of(members).Any()
	}
}

// ResourceTemplate describes the resource of a route by attributes, compiled once. It is immutable.
type ResourceTemplate struct {
	// Type is the resource's type as written.
	Type string
	// ID and Properties are the attributes of its id and properties. They must not use the subject.
	ID         Accessor
	Properties map[string]Accessor
}

// Resolve fills f.Resource. Without a template the resource is the route itself: type "route", the template as id,
// the path parameters as properties. It returns the first attribute that is ambiguous; "" when none is.
func (t *ResourceTemplate) Resolve(f *Facts) (ambiguous string) {
	if t == nil {
		f.Resource = Resource{Type: "route", Properties: make(map[string]string, len(f.Match.Params))}
		if f.Match.Route != nil {
			f.Resource.ID = f.Match.Route.Template
		}
		for _, p := range f.Match.Params {
			f.Resource.Properties[p.Name] = p.Value
		}
		return ""
	}
	f.Resource = Resource{Type: t.Type, Properties: make(map[string]string, len(t.Properties))}
	id, p := t.ID.Get(f)
	if p == Ambiguous {
		return t.ID.Name()
	}
	f.Resource.ID, _ = id.Text()
	for name, accessor := range t.Properties {
		value, p := accessor.Get(f)
		if p == Ambiguous {
			return accessor.Name()
		}
		if s, ok := value.Text(); ok && p == Present {
			f.Resource.Properties[name] = s
		}
	}
	return ""
}
