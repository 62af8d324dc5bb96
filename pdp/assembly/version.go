package assembly

import (
	"runtime"
	"runtime/debug"
)

// Version says what is running.
type Version struct {
	// Version is the module's version, Revision the commit with "+changes" where the tree was not clean.
	Version  string `json:"version"`
	Revision string `json:"revision"`
	// Go is the compiler's version, Platform the system and architecture.
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Format is the newest bundle format that is understood.
	Format string `json:"bundle_format"`
}

// BundleFormat is the newest bundle format that this version understands.
const BundleFormat = "1.0"

// ReadVersion returns the version that the Go tool stamped into the binary.
func ReadVersion() Version {
	v := Version{Version: "devel", Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Format: BundleFormat}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if changed {
		v.Revision += "+changes"
	}
	return v
}
