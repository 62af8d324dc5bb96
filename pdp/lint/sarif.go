package lint

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"strings"
)

// The part of SARIF 2.1.0 (OASIS, 2020) that a report needs.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool     `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID                   string             `json:"id"`
	ShortDescription     sarifText          `json:"shortDescription"`
	HelpURI              string             `json:"helpUri"`
	DefaultConfiguration sarifConfiguration `json:"defaultConfiguration"`
}

type sarifConfiguration struct {
	Level Severity `json:"level"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID           string             `json:"ruleId"`
	RuleIndex        int                `json:"ruleIndex"`
	Level            Severity           `json:"level"`
	Message          sarifText          `json:"message"`
	Locations        []sarifLocation    `json:"locations"`
	Fingerprints     sarifFingerprints  `json:"partialFingerprints"`
	RelatedLocations []sarifLocation    `json:"relatedLocations,omitempty"`
	Suppressions     []sarifSuppression `json:"suppressions,omitempty"`
}

// sarifFingerprints tell the same finding in two reports, also where its line has moved.
type sarifFingerprints struct {
	Line string `json:"durwardLine/v1"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

type sarifLocation struct {
	PhysicalLocation sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	ArtifactLocation sarifArtifact `json:"artifactLocation"`
	Region           *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
}

func newSARIF(r *Report, o Output) sarifLog {
	driver := sarifDriver{Name: "durward", Version: o.Version, InformationURI: "https://github.com/durward-pdp/durward", Rules: []sarifRule{}}
	index := map[string]int{}
	for _, c := range codes {
		index[c.name] = len(driver.Rules)
		driver.Rules = append(driver.Rules, sarifRule{ID: c.name, ShortDescription: sarifText{c.title}, HelpURI: helpOf(c.name),
			DefaultConfiguration: sarifConfiguration{c.severity}})
	}
	run := sarifRun{Tool: sarifTool{driver}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	result := func(f *Finding) sarifResult {
		text := f.Message
		if f.Hint != "" {
			text += " (" + f.Hint + ")"
		}
		out := sarifResult{RuleID: f.Code, RuleIndex: index[f.Code], Level: f.Severity, Message: sarifText{text},
			Locations: []sarifLocation{locate(o.Root, f.File, f.Line, f.Column)}, Fingerprints: sarifFingerprints{fingerprint(f)}}
		if f.Related.File != "" {
			out.RelatedLocations = []sarifLocation{locate(o.Root, f.Related.File, f.Related.Line, 0)}
		}
		if f.Exception != nil {
			out.Suppressions = []sarifSuppression{{Kind: "inSource", Justification: f.Exception.Reason}}
		}
		return out
	}
	for i := range r.Findings {
		run.Results = append(run.Results, result(&r.Findings[i]))
	}
	for i := range r.Excepted {
		run.Results = append(run.Results, result(&r.Excepted[i]))
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

// fingerprint is of the code, the file and the line's text, without what stands in other lines.
func fingerprint(f *Finding) string {
	excerpt, _, _ := strings.Cut(f.Excerpt, "\n")
	_, text, found := strings.Cut(excerpt, " | ")
	if !found {
		text = f.Message
	}
	sum := sha256.Sum256([]byte(f.Code + "\x00" + f.File + "\x00" + strings.TrimSpace(text)))
	return hex.EncodeToString(sum[:16])
}

func locate(root, file string, line, column int) sarifLocation {
	address := url.URL{Path: path.Join(root, cmp.Or(file, "bundle.yaml"))}
	l := sarifLocation{sarifPhysical{ArtifactLocation: sarifArtifact{address.String()}}} // not taken for one with a scheme
	if line > 0 {
		l.PhysicalLocation.Region = &sarifRegion{StartLine: line, StartColumn: column}
	}
	return l
}
