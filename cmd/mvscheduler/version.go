package main

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// version is set by the release build with -ldflags "-X main.version=v1.2.3"; empty = what Go knows.
var version string

type versionCmd struct{}

func (versionCmd) Help() string {
	return `Examples:

  mvscheduler version
  mvscheduler version -o json

` + exitCodesHelp
}

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // commit; empty when unknown
	Time     string `json:"time"`     // of the commit; empty when unknown
	Go       string `json:"go"`
}

// Run prints the version.
func (versionCmd) Run(a *app) error {
	v := buildVersion()
	if a.Output != "table" {
		return a.emitData(v)
	}
	words := []string{"mvscheduler", v.Version}
	if v.Revision != "" {
		words = append(words, "("+v.Revision+")")
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(append(words, v.Go), " "))
	return err
}

func buildVersion() versionInfo {
	v := versionInfo{Version: version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value[:min(12, len(s.Value))] + v.Revision
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				v.Revision += "+changes"
			}
		}
	}
	return v
}
