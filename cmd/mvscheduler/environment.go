package main

import (
	"os"

	"github.com/alecthomas/kong"
)

// envValue is a column of the catalog whose value comes from an environment variable.
type envValue struct{ column, flag, variable string }

// envValues finds the flags for columns that a variable has set, and the command line has not.
func envValues(parsed *kong.Context) []envValue {
	typed := map[*kong.Flag]bool{}
	for _, p := range parsed.Path {
		typed[p.Flag] = true
	}
	var found []envValue
	for _, f := range parsed.Flags() {
		column := f.Tag.Get("column")
		if column == "" || typed[f] {
			continue
		}
		for _, name := range f.Envs {
			if _, set := os.LookupEnv(name); set {
				found = append(found, envValue{column, "--" + f.Name, name})
				break
			}
		}
	}
	return found
}

// sayVariables tells what nobody typed: a variable that was exported for one view holds for all.
func (a *app) sayVariables() {
	for _, v := range a.fromEnv {
		a.say("note: %s from %s; for another value give %s, for none unset the variable", v.column, v.variable, v.flag)
	}
}
