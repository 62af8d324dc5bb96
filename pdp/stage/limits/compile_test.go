package limits

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/ratelimiter"
)

func compileText(t *testing.T, bundle, service string) (*part, []string) {
	t.Helper()
	b, s := load(t, bundle, service)
	compiled, problems := (&Stage{}).Compile(b, s)
	if (compiled == nil) != (len(problems) > 0) {
		t.Errorf("part %v with %d problems", compiled != nil, len(problems))
	}
	var texts []string
	for _, p := range problems {
		texts = append(texts, p.Position.String()+": "+p.Message)
	}
	p, _ := compiled.(*part)
	return p, texts
}

func TestProblems(t *testing.T) {
	const file = "services/orders/service.yaml:3:"
	sixteen := ""
	for i := range 16 {
		sixteen += fmt.Sprintf("claims.c%d: 1, ", i)
	}
	for _, row := range []struct{ name, limit, routes, want string }{
		{"sound", "{rate: 1/s, by: [client.address]}", "", ""},
		{"a sound limit of everything", "{rate: 1/s, burst: 9, algorithm: gcra, by: [{attr: client.address, missing: skip}], cost: 9, count: denied, at: gate, on_error: deny, shadow: true, missing: share}", "", ""},
		{"no rate", "{by: []}", "", file + "3: invalid limit \"a\": invalid rate: count 0 is not between 1 and 1000000000"},
		{"burst too large", "{rate: 1/366d, burst: 1000, by: []}", "", file + "3: invalid limit \"a\": invalid rate: a burst of 1000 takes longer than 87840h0m0s to come back"},
		{"negative burst", "{rate: 1/s, burst: -1, by: []}", "", file + "3: invalid limit \"a\": invalid rate: burst -1 is not between 1 and 1000000000"},
		{"on_error", "{rate: 1/s, by: [], on_error: open}", "", file + "36: on_error is local_share, allow or deny, not \"open\""},
		{"count", "{rate: 1/s, by: [], count: some}", "", file + "33: count is allowed, denied or all, not \"some\""},
		{"at", "{rate: 1/s, by: [], at: take}", "", file + "30: at is gate or left out, not \"take\""},
		{"algorithm", "{rate: 1/s, by: [], algorithm: bucket}", "", file + "37: algorithm is gcra, fixed_window, sliding_window, sliding_log or quota, not \"bucket\""},
		{"fixed window", "{rate: 5/s, by: [], algorithm: fixed_window, cost: 5}", "", ""},
		{"sliding window", "{rate: 5/s, by: [], algorithm: sliding_window}", "", ""},
		{"sliding log", "{rate: 1000/30d, by: [], algorithm: sliding_log}", "", ""},
		{"sliding log of too many", "{rate: 1001/30d, by: [], algorithm: sliding_log}", "", file + "3: invalid limit \"a\": invalid rate of a sliding log: count 1001 is not between 1 and 1000"},
		{"lease", "{rate: 100/min, lease: 25, by: [client.address]}", "", ""},
		{"lease of a quota", "{rate: 1000/month, algorithm: quota, lease: 25, by: []}", "", ""},
		{"lease at the gate", "{rate: 100/min, lease: 5, by: [client.address], at: gate}", "", ""},
		{"lease too large", "{rate: 100/min, by: [], lease: 26}", "", file + "37: invalid limit \"a\": invalid lease: 26 units are more than a quarter of the 100 that pass at once, and one replica would hold what the others need"},
		{"lease of a small burst", "{rate: 100/min, burst: 10, by: [], lease: 5}", "", file + "48: invalid limit \"a\": invalid lease: 5 units are more than a quarter of the 10 that pass at once, and one replica would hold what the others need"},
		{"lease without end", "{rate: 1000000/s, by: [], lease: 10001}", "", file + "39: invalid limit \"a\": invalid lease: 10001 units are not between 1 and 10000"},
		{"lease of a log", "{rate: 100/min, algorithm: sliding_log, by: [], lease: 5}", "", file + "61: invalid limit \"a\": invalid lease: leases are for gcra, fixed_window, sliding_window and quota; what sliding_log counts cannot be known in advance"},
		{"lease of denials", "{rate: 100/min, count: denied, by: [], lease: 5}", "", file + "52: invalid limit \"a\": invalid lease: a limit that counts denials is charged behind them; there is nothing to take in advance"},
		{"lease of a shadow", "{rate: 100/min, shadow: true, by: [], lease: 5}", "", file + "51: invalid limit \"a\": invalid lease: a shadow shows what would be refused, and units taken in advance would blur it"},
		{"lease of classes", "{lease: 5, by: [], by_class: {of: claims.plan, first_of: [{gold: 1000/min}], otherwise: 100/min}}", "", file + "14: lease and by_class exclude each other: classes share a bucket, and a unit taken in advance is no longer the same part of it in another class"},
		{"cost above what a lease leaves at once", "{rate: 100/min, by: [], lease: 5, cost: 100}", "", file + "46: a cost is from 1 to 88, which is what passes at once: what costs more can never pass"},
		{"a burst without gcra", "{rate: 5/s, burst: 5, by: [], algorithm: fixed_window}", "", file + "25: only gcra has a burst; with fixed_window all units of a window may pass at once"},
		{"quota of a day", "{rate: 5/d, by: [], algorithm: quota}", "", ""},
		{"quota of a week", "{rate: 5/7d, by: [], algorithm: quota}", "", ""},
		{"quota of a month", "{rate: 5000000/month, by: [], algorithm: quota}", "", ""},
		{"quota of a year", "{rate: 5/year, by: [], algorithm: quota}", "", ""},
		{"quota of 30 days", "{rate: 5/30d, by: [], algorithm: quota}", "", file + "13: the rate of a quota is N/d, N/7d (from Monday), N/month or N/year, by the calendar in UTC"},
		{"a month without quota", "{rate: 5/month, by: []}", "", file + "13: windows of a month are for algorithm: quota"},
		{"cost above the count", "{rate: 5/s, by: [], algorithm: sliding_log, cost: 6}", "", file + "56: a cost is from 1 to 5, which is what passes at once: what costs more can never pass"},
		{"distinct", "{rate: 1000000/30d, by: [subject.key], distinct: resource.id}", "routes: [{name: r, path: /r, limits: [a]}]", ""},
		{"distinct, at length", "{rate: 5/h, by: [client.address], distinct: {attr: params.id, missing: skip}, at: gate, count: denied, on_error: deny, shadow: true}", "routes: [{name: r, path: /r, limits: [a]}]", ""},
		{"distinct and an algorithm", "{rate: 5/h, by: [], distinct: resource.id, algorithm: fixed_window}", "", file + "60: distinct counts values in fixed windows: leave algorithm out"},
		{"distinct and a burst", "{rate: 5/h, burst: 5, by: [], distinct: resource.id}", "", file + "25: distinct counts values, all of which may come at once: leave burst out"},
		{"distinct and a cost", "{rate: 5/h, by: [], distinct: resource.id, cost: 1}", "", file + "55: each new value counts as one: leave cost out"},
		{"distinct of a month", "{rate: 5/month, by: [], distinct: resource.id}", "", file + "13: windows of a month are for algorithm: quota"},
		{"distinct with classes", "{by: [], distinct: resource.id, by_class: {of: claims.plan, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "3: by_class is for gcra, whose classes can share a bucket; with distinct write a limit for each, under when"},
		{"distinct of nothing", "{rate: 5/h, by: [], distinct: ''}", "", file + "36: unknown attribute \"\""},
		{"distinct of a list", "{rate: 5/h, by: [], distinct: subject.roles}", "", file + "36: subject.roles has no single value; a limit counts by single values"},
		{"distinct of the subject at the gate", "{rate: 5/h, by: [], at: gate, distinct: claims.org}", "", file + "46: a limit at the gate is taken before the subject is known; claims.org cannot be used there"},
		{"distinct of another word", "{rate: 5/h, by: [], distinct: {attr: resource.id, missing: pass}}", "", file + "26: missing is deny, skip or share, not \"pass\""},
		{"distinct of a parameter that a route lacks", "{rate: 5/h, by: [], distinct: params.id}", "routes: [{name: r, path: /r, limits: [a]}]", file + "36: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}; say missing: skip, or do not use the limit there"},
		{"distinct claims on a public route", "{rate: 5/h, by: [], distinct: claims.org}", "routes: [{name: r, path: /r, access: public, limits: [a]}]", file + "36: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"concurrency", "{concurrency: 1000, expires: 24h, by: [subject.key], without_release: expire, on_error: deny, count: allowed, when: {request.method: POST}}", "", ""},
		{"concurrency without expiry", "{concurrency: 5, by: []}", "", file + "3: concurrency needs expires: for how long a request counts whose end nobody tells, longer than any should take, as in 30s"},
		{"too much concurrency", "{concurrency: 1001, expires: 30s, by: []}", "", file + "3: invalid limit \"a\": invalid limit of concurrency: count 1001 is not between 1 and 1000"},
		{"negative concurrency", "{concurrency: -1, expires: 30s, by: []}", "", file + "3: invalid limit \"a\": invalid limit of concurrency: count -1 is not between 1 and 1000"},
		{"permits that hardly expire", "{concurrency: 5, expires: 25h, by: []}", "", file + "3: invalid limit \"a\": invalid limit of concurrency: expiry 25h0m0s is not between 1µs and 24h0m0s"},
		{"concurrency and a rate", "{concurrency: 5, expires: 30s, rate: 1/s, by: []}", "", file + "43: concurrency stands in the place of rate: write two limits"},
		{"concurrency and classes", "{concurrency: 5, expires: 30s, by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "45: concurrency has no classes: write a limit for each, under when"},
		{"concurrency and values", "{concurrency: 5, expires: 30s, by: [], distinct: resource.id}", "", file + "55: concurrency counts requests, and distinct counts values: write two limits"},
		{"concurrency and an algorithm", "{concurrency: 5, expires: 30s, by: [], algorithm: gcra}", "", file + "56: concurrency has no algorithm: leave it out"},
		{"concurrency and a burst", "{concurrency: 5, expires: 30s, by: [], burst: 3}", "", file + "52: concurrency has no burst: leave it out"},
		{"concurrency and a cost", "{concurrency: 5, expires: 30s, by: [], cost: 1}", "", file + "51: each request holds one permit: leave cost out"},
		{"concurrency at the gate", "{concurrency: 5, expires: 30s, by: [], at: gate}", "", file + "49: a permit is for requests that pass, which the gate does not know: leave at out"},
		{"concurrency of denials", "{concurrency: 5, expires: 30s, by: [], count: all}", "", file + "52: a permit is for requests that pass: leave count out"},
		{"concurrency without another release", "{concurrency: 5, expires: 30s, by: [], without_release: pass}", "", file + "62: without_release is deny or expire, not \"pass\""},
		{"permits that expire at once", "{concurrency: 5, expires: 0s, by: []}", "", file + "3: invalid limit \"a\": invalid limit of concurrency: expiry 0s is not between 1µs and 24h0m0s"},
		{"no expiry of a rate", "{rate: 5/s, expires: 0s, by: []}", "", file + "3: expires and without_release are for limits with concurrency"},
		{"an expiry of a rate", "{rate: 5/s, expires: 30s, by: []}", "", file + "3: expires and without_release are for limits with concurrency"},
		{"without release of a rate", "{rate: 5/s, without_release: deny, by: []}", "", file + "3: expires and without_release are for limits with concurrency"},
		{"missing", "{rate: 1/s, by: [], missing: pass}", "", file + "35: missing is deny, skip or share, not \"pass\""},
		{"missing of an attribute", "{rate: 1/s, by: [{attr: client.address, missing: \"-\"}]}", "", file + "23: missing is deny, skip or share, not \"-\""},
		{"missing of an attribute, empty", "{rate: 1/s, by: [{attr: client.address, missing: \"\"}]}", "", file + "23: missing is deny, skip or share, not \"\""},
		{"unknown attribute", "{rate: 1/s, by: [client.adress]}", "", file + "23: unknown attribute \"client.adress\", did you mean \"client.address\"?"},
		{"a list", "{rate: 1/s, by: [subject.roles]}", "", file + "23: subject.roles has no single value; a limit counts by single values"},
		{"an object", "{rate: 1/s, by: [subject]}", "", file + "23: subject has no single value; a limit counts by single values"},
		{"subject at the gate", "{rate: 1/s, by: [subject.key], at: gate}", "", file + "23: a limit at the gate is taken before the subject is known; subject.key cannot be used there"},
		{"claims at the gate", "{rate: 1/s, by: [], cost: claims.n, at: gate}", "", file + "32: a limit at the gate is taken before the subject is known; claims.n cannot be used there"},
		{"cost of nothing", "{rate: 1/s, by: [], cost: 0}", "", file + "32: a cost is from 1 to 1, which is what passes at once: what costs more can never pass"},
		{"cost above the burst", "{rate: 5/s, burst: 2, by: [], cost: 3}", "", file + "42: a cost is from 1 to 2, which is what passes at once: what costs more can never pass"},
		{"cost of a list", "{rate: 1/s, by: [], cost: subject.scopes}", "", file + "32: subject.scopes has no single value; a limit counts by single values"},
		{"cost of two kinds", "{rate: 1/s, by: [], cost: 1.5}", "", file + "32: a cost is a whole number or the name of an attribute"},
		{"no such limit", "{rate: 1/s, by: []}", "routes: [{name: r, path: /r, limits: [b]}]", "services/orders/service.yaml:4:"},
		{"no such parameter", "{rate: 1/s, by: [params.id]}", "routes: [{name: r, path: /r, limits: [a]}]", file + "23: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}; say missing: skip, or do not use the limit there"},
		{"no such parameter, foreseen", "{rate: 1/s, by: [params.id], missing: skip}", "routes: [{name: r, path: /r, limits: [a]}]", ""},
		{"no such parameter as cost", "{rate: 1/s, by: [], cost: params.id, missing: skip}", "routes: [{name: r, path: /r, limits: [a]}]", file + "32: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}"},
		{"a parameter", "{rate: 1/s, by: [params.id]}", "routes: [{name: r, path: \"/r/{id}\", limits: [a]}]", ""},
		{"subject on a public route", "{rate: 1/s, by: [subject.key]}", "routes: [{name: r, path: /r, access: public, limits: [a]}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject on an optional route", "{rate: 1/s, by: [claims.org]}", "routes: [{name: r, path: /r, identity: optional, limits: [a]}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject in a service without identity", "{rate: 1/s, by: [subject.tenant]}", "identity: {mode: none}\nroutes: [{name: r, path: /r, limits: [a]}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject by default", "{rate: 1/s, by: [subject.tenant]}", "identity: {mode: optional}\ndefaults: {limits: [a]}\nroutes: [{name: r, path: /r}]", file + "23: the route \"r\" can be called without a subject: say what happens then, missing: deny, skip or share"},
		{"subject, required on the route", "{rate: 1/s, by: [subject.tenant]}", "identity: {mode: optional}\nroutes: [{name: r, path: /r, identity: required, limits: [a]}]", ""},
		{"subject, foreseen", "{rate: 1/s, by: [subject.tenant], missing: deny}", "identity: {mode: none}\nroutes: [{name: r, path: /r, limits: [a]}]", ""},
		{"subject of the attribute, foreseen", "{rate: 1/s, by: [{attr: subject.tenant, missing: share}]}", "identity: {mode: none}\nroutes: [{name: r, path: /r, limits: [a]}]", ""},
		{"sound conditions", "{rate: 1/s, by: [], when: {request.method: [POST, PUT], subject.kind: user, subject.roles: {contains: trial, not: [staff, root], present: true}, claims.plan: {not: enterprise}, claims.level: 3, claims.beta: true, claims.groups: {contains: 7}, request.size: {not: 0}, subject.auth_time: {present: true}, client.certificate.subject: {present: false}}}", "routes: [{name: r, path: /r, limits: [a]}]", ""},
		{"no condition", "{rate: 1/s, by: [], when: {}}", "", file + "26: when has no condition: leave it out, and the limit applies always"},
		{"too many conditions", "{rate: 1/s, by: [], when: {" + "claims.a: 1, " + sixteen + "}}", "", file + "26: when has 17 conditions, at most 16 are looked at"},
		{"condition on what cannot exist", "{rate: 1/s, by: [], when: {request.methd: GET}}", "", file + "48: unknown attribute \"request.methd\", did you mean \"request.method\"?"},
		{"condition on an object", "{rate: 1/s, by: [], when: {claims: {present: true}}}", "", file + "33: \"claims\" is a whole object; name one attribute of it"},
		{"condition on the subject at the gate", "{rate: 1/s, by: [], at: gate, when: {subject.kind: user}}", "", file + "57: a limit at the gate is taken before the subject is known; subject.kind cannot be used there"},
		{"condition without a word", "{rate: 1/s, by: [], when: {claims.a: {}}}", "", file + "33: a condition is a value, a list of values, or a mapping with is, not, contains or present"},
		{"condition on an absent value", "{rate: 1/s, by: [], when: {claims.a: {present: false, is: x}}}", "", file + "33: present: false stands alone: what is not there has no value"},
		{"presence of the subject's key", "{rate: 1/s, by: [], when: {subject.key: {present: false}}}", "", file + "33: subject.key is always there; write subject.kind: anonymous for requests without a subject"},
		{"presence of the method", "{rate: 1/s, by: [], when: {request.method: {present: true}}}", "", file + "33: request.method is always there"},
		{"moment", "{rate: 1/s, by: [], when: {request.time: 7}}", "", file + "47: request.time is a moment, which nothing that can be written down equals; it can be present"},
		{"list as a value", "{rate: 1/s, by: [], when: {subject.roles: gold}}", "", file + "48: subject.roles is a list: write {contains: VALUE}, or {not: VALUES} for none of these"},
		{"value as a list", "{rate: 1/s, by: [], when: {request.method: {contains: GET}}}", "", file + "33: request.method is a single value, and contains is for lists"},
		{"contains two", "{rate: 1/s, by: [], when: {subject.roles: {contains: [a, b]}}}", "", file + "33: contains takes one value"},
		{"empty list", "{rate: 1/s, by: [], when: {request.method: []}}", "", file + "33: an empty list of values"},
		{"empty list of nots", "{rate: 1/s, by: [], when: {request.method: {not: []}}}", "", file + "33: an empty list of values"},
		{"too many values", "{rate: 1/s, by: [], when: {params.a: [" + strings.Repeat("x, ", 64) + "x]}}", "", file + "33: 65 values, at most 64 are looked at"},
		{"text against a number", "{rate: 1/s, by: [], when: {params.id: 7}}", "", file + "44: params.id is text, which a number, true or false never equals; put the value in quotes"},
		{"text against true", "{rate: 1/s, by: [], when: {subject.roles: {not: true}}}", "", file + "33: subject.roles is text, which a number, true or false never equals; put the value in quotes"},
		{"number against a text", "{rate: 1/s, by: [], when: {request.size: big}}", "", file + "47: request.size is a number, and nothing else equals it"},
		{"values of two types", "{rate: 1/s, by: [], when: {claims.a: [x, 7]}}", "", file + "33: values of one type are compared: all texts, all numbers, or true and false"},
		{"broken number", "{rate: 1/s, by: [], when: {claims.a: 1.5}}", "", file + "43: a number is a whole number here"},
		{"number that tokens round", "{rate: 1/s, by: [], when: {claims.a: 9007199254740992}}", "", file + "43: a number is at most 9007199254740991 here"},
		{"method that cannot be", "{rate: 1/s, by: [], when: {request.method: post}}", "", file + "49: \"post\" is no method; methods are upper case"},
		{"kind that cannot be", "{rate: 1/s, by: [], when: {subject.kind: {not: human}}}", "", file + "33: subject.kind is user, service, anonymous, not \"human\""},
		{"host that cannot be", "{rate: 1/s, by: [], when: {request.host: A.example.com}}", "", file + "47: \"A.example.com\" is no host; hosts are lower case"},
		{"addresses", "{rate: 1/s, by: [], when: {client.address: [192.0.2.1, \"2001:db8::1\"], client.network: [192.0.2.1, \"2001:db8::/64\"]}}", "", ""},
		{"address that cannot be", "{rate: 1/s, by: [], when: {client.address: \"2001:DB8::1\"}}", "", file + "49: \"2001:DB8::1\" is no address as client.address writes it"},
		{"network that cannot be", "{rate: 1/s, by: [], when: {client.network: 192.0.2.0/24}}", "", file + "49: \"192.0.2.0/24\" is no network as client.network writes it"},
		{"network of another length", "{rate: 1/s, by: [], when: {client.network: \"2001:db8::1\"}}", "", file + "49: \"2001:db8::1\" is no network as client.network writes it"},
		{"empty text", "{rate: 1/s, by: [], when: {request.header.x: \"\"}}", "", file + "51: an empty text; for a value that is missing write {present: false}"},
		{"condition on a parameter that a route lacks", "{rate: 1/s, by: [], when: {params.id: a}}", "routes: [{name: r, path: /r, limits: [a]}]", file + "44: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}; do not use the limit there"},

		{"classes of another window", "{by: [], by_class: {of: subject.roles, first_of: [{gold: 1000/min}, {silver: {rate: 300/min, burst: 300}}, {a.b: 60000/h}], otherwise: 100/min}}", "", file + "119: a bucket of the class \"a.b\" fills in 1h0m0s, and otherwise in 1m0s."},
		{"classes that fill alike", "{by: [], by_class: {of: claims.plan, first_of: [{gold: {rate: 60000/h, burst: 50}}, {silver: {rate: 300/min, burst: 15}}], otherwise: {rate: 100/min, burst: 5}}, cost: 5}", "routes: [{name: r, path: /r, limits: [a]}]", ""},
		{"classes that fill in other parts of a microsecond", "{by: [], by_class: {of: claims.plan, first_of: [{gold: {rate: 7/s, burst: 1}}], otherwise: {rate: 1000000/142857s, burst: 1}}}", "", file + "55: a bucket of the class \"gold\" fills in 142.857ms, and otherwise in 142.857ms."},
		{"cost above a class's burst", "{by: [], by_class: {of: claims.plan, first_of: [{gold: {rate: 1000/min, burst: 50}}], otherwise: {rate: 100/min, burst: 5}}, cost: 6}", "", file + "137: a cost is from 1 to 5, which is what passes at once: what costs more can never pass"},
		{"cost above the first class's burst", "{by: [], by_class: {of: claims.plan, first_of: [{slow: 1/min}], otherwise: 100/min}, cost: 6}", "", file + "97: a cost is from 1 to 1, which is what passes at once: what costs more can never pass"},
		{"classes of windows", "{algorithm: fixed_window, by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "18: by_class is for gcra, whose classes can share a bucket; with fixed_window write a limit for each, under when"},
		{"classes of quotas", "{by: [], by_class: {of: claims.plan, first_of: [{gold: 2/month}], otherwise: 1/s}}", "", file + "61: windows of a month are for algorithm: quota"},
		{"rate and classes", "{rate: 1/s, by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "13: rate and by_class exclude each other: by_class says what the rate is"},
		{"burst of classes", "{burst: 1, by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "14: each class has a burst of its own: {gold: {rate: 1000/min, burst: 50}}"},
		{"class of what cannot exist", "{by: [], by_class: {of: claim.plan, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "30: unknown attribute \"claim.plan\""},
		{"class of an object", "{by: [], by_class: {of: subject, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "30: \"subject\" is a whole object; name one attribute of it"},
		{"class of a number", "{by: [], by_class: {of: request.size, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "30: request.size is no text: a class is told by a text, or by a list that holds it"},
		{"class of the subject at the gate", "{by: [], at: gate, by_class: {of: subject.roles, first_of: [{gold: 2/s}], otherwise: 1/s}}", "", file + "40: a limit at the gate is taken before the subject is known; subject.roles cannot be used there"},
		{"class of a parameter that a route lacks", "{by: [], by_class: {of: params.id, first_of: [{gold: 2/s}], otherwise: 1/s}}", "routes: [{name: r, path: /r, limits: [a]}]", file + "30: on the route \"r\": unknown attribute \"params.id\": the path has no parameter {id}; do not use the limit there"},
		{"no class", "{by: [], by_class: {of: claims.plan, first_of: [], otherwise: 1/s}}", "", file + "15: by_class needs first_of: a list of 1 to 16 classes"},
		{"too many classes", "{by: [], by_class: {of: claims.plan, first_of: [" + strings.Repeat("{gold: 2/s}, ", 17) + "], otherwise: 1/s}}", "", file + "15: by_class needs first_of: a list of 1 to 16 classes"},
		{"no otherwise", "{by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}]}}", "", file + "15: by_class needs otherwise: the rate of everybody else"},
		{"burst of otherwise", "{by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}], otherwise: {rate: 1/s, burst: -1}}}", "", file + "68: invalid limit \"a\": invalid rate: burst -1 is not between 1 and 1000000000"},
		{"two classes at once", "{by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s, silver: 2/s}], otherwise: 1/s}}", "", file + "54: an item of first_of is one class: the first that fits counts, so their order must show"},
		{"a class twice", "{by: [], by_class: {of: claims.plan, first_of: [{gold: 2/s}, {gold: 3/s}], otherwise: 1/s}}", "", file + "74: a second class \"gold\""},
		{"class that cannot be", "{by: [], by_class: {of: request.method, first_of: [{post: 2/s}], otherwise: 1/s}}", "", file + "64: \"post\" is no method; methods are upper case"},
		{"class without a rate", "{by: [], by_class: {of: claims.plan, first_of: [{gold: {burst: 3}}], otherwise: 1/s}}", "", file + "55: a class needs a name and a rate, as in gold: 1000/min"},
		{"burst of a class", "{by: [], by_class: {of: claims.plan, first_of: [{gold: {rate: 2/s, burst: -1}}], otherwise: 1/s}}", "", file + "55: invalid limit \"a\": invalid rate: burst -1 is not between 1 and 1000000000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, got := compileText(t, "", "limit_definitions:\n  a: "+row.limit+"\n"+row.routes+"\n")
			if row.want == "" {
				if len(got) > 0 {
					t.Errorf("%s", got)
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], row.want) {
				t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), row.want)
			}
		})
	}
	t.Run("a name twice", func(t *testing.T) {
		_, got := compileText(t, "limit_definitions: {a: {rate: 1/s, by: []}}\n", "limit_definitions: {a: {rate: 2/s, by: []}}\n")
		if want := `services/orders/service.yaml:2:21: the bundle shares a limit of the name "a"; a name means one limit`; len(got) != 1 || got[0] != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
	t.Run("a name that no header field takes", func(t *testing.T) {
		if _, got := compileText(t, "", "limit_definitions: {é: {rate: 2/s, by: []}}\n"); len(got) != 1 || !strings.Contains(got[0], "printable ASCII") {
			t.Errorf("%s", got)
		}
	})
	t.Run("too many limits", func(t *testing.T) {
		var names []string
		text := "limit_definitions:\n"
		for i := range ratelimiter.MaxCharges + 1 {
			names = append(names, fmt.Sprintf("l%d", i))
			text += "  " + names[i] + ": {rate: 1/s, by: []}\n"
		}
		route := "routes: [{name: r, path: /r, limits: [" + strings.Join(names, ", ") + "]}]\n"
		if _, got := compileText(t, "", text+route); len(got) != 1 || !strings.Contains(got[0], `the route "r" has 33 limits, at most 32`) {
			t.Errorf("%s", got)
		}
		if _, got := compileText(t, "", text+strings.Replace(route, "l0, ", "", 1)); len(got) != 0 {
			t.Errorf("%s", got)
		}
	})
}

// TestOrderAndDefaults: defaults come first, a limit that is named twice applies once, and each point has its own.
func TestOrderAndDefaults(t *testing.T) {
	p, problems := compileText(t, "limit_definitions: {shared: {rate: 9/s, by: []}}\n", `defaults: {limits: [own, shared]}
limit_definitions:
  own: {rate: 1/s, by: [subject.key]}
  gate: {rate: 1/s, by: [], at: gate}
routes:
  - {name: one, path: /1, limits: [gate, shared]}
  - {name: two, path: /2}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	names := func(bindings []*binding) (out []string) {
		for _, b := range bindings {
			out = append(out, b.limit.Definition().Name)
		}
		return out
	}
	for i, want := range [][3][]string{
		{{"own", "shared", "gate"}, {"gate"}, {"own", "shared"}},
		{{"own", "shared"}, nil, {"own", "shared"}},
	} {
		r := p.routes[i]
		if diff := cmp.Diff(want, [3][]string{names(r.all), names(r.gate), names(r.take)}); diff != "" {
			t.Errorf("route %d: -want +got\n%s", i, diff)
		}
	}
}

// TestCountByDefault: what stands in the request itself is counted for denied requests too.
func TestCountByDefault(t *testing.T) {
	for by, want := range map[string]ratelimiter.Counting{
		"": ratelimiter.CountAll, "client.address": ratelimiter.CountAll, "client.network, route.name, request.header.x": ratelimiter.CountAll,
		"request.header.x": ratelimiter.CountAllowed, "route.name, request.query.k": ratelimiter.CountAllowed, "client.address, request.query.k": ratelimiter.CountAll,
		"subject.key": ratelimiter.CountAllowed, "client.address, subject.key": ratelimiter.CountAllowed, "claims.org": ratelimiter.CountAllowed,
		"params.id": ratelimiter.CountAllowed, "action": ratelimiter.CountAllowed, "resource.id": ratelimiter.CountAllowed, "client.address, extensions.x": ratelimiter.CountAllowed,
	} {
		for said, counting := range map[string]ratelimiter.Counting{"": want, ", count: all": ratelimiter.CountAll, ", count: allowed": ratelimiter.CountAllowed, ", count: denied": ratelimiter.CountDenied} {
			p, problems := compileText(t, "", "defaults: {limits: [a]}\nlimit_definitions: {a: {rate: 1/s, by: ["+by+"]"+said+"}}\nroutes: [{name: r, path: \"/{id}\"}]\n")
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := p.routes[0].all[0].limit.Definition().Counting; got != counting {
				t.Errorf("by [%s]%s counts %v, want %v", by, said, got, counting)
			}
		}
	}
}

// TestScope: a shared limit has one counter for all services of a bundle, and nobody else's.
func TestScope(t *testing.T) {
	const limit = "limit_definitions: {a: {rate: 1/s, by: []}}\n"
	const use = "defaults: {limits: [a]}\nroutes: [{name: r, path: /r}, {name: q, path: /q}]\n"
	key := func(bundleName, serviceName, bundle, service string, route int) ratelimiter.Key {
		b, s := load(t, bundle, service)
		b.Name, s.Name = bundleName, serviceName
		compiled, problems := (&Stage{}).Compile(b, s)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		charges, wrong := charge(&attribute.Facts{Request: &request.Request{}}, compiled.(*part).routes[route].all)
		if wrong.is() || len(charges) != 1 {
			t.Fatalf("%+v", wrong)
		}
		return charges[0].Key
	}
	shared := key("acme", "orders", limit, use, 0)
	for name, row := range map[string]struct {
		key  ratelimiter.Key
		same bool
	}{
		"another route":             {key("acme", "orders", limit, use, 1), true},
		"another service":           {key("acme", "users", limit, use, 0), true},
		"another bundle":            {key("other", "orders", limit, use, 0), false},
		"a service's own":           {key("acme", "orders", "", limit+use, 0), false},
		"a service without a name":  {key("acme", "-", "", limit+use, 0), false},
		"another service's own one": {key("acme", "users", "", limit+use, 0), false},
	} {
		if (row.key == shared) != row.same {
			t.Errorf("%s: %q and %q", name, row.key, shared)
		}
	}
	if a, b := key("acme", "orders", "", limit+use, 0), key("acme", "users", "", limit+use, 0); a == b {
		t.Errorf("two services share %q", a)
	}
	if a, b := key("acme", "orders", "", limit+use, 0), key("acme", "orders", "", limit+use, 1); a != b {
		t.Errorf("two routes of a service do not share: %q, %q", a, b)
	}
}
