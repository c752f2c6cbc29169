package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) Help() string {
	return `Prints a script that completes commands, flags, their values and the names of views (asked from the database of DATABASE_URL).

Examples:

  source <(mvscheduler completion bash)
  mvscheduler completion zsh > "${fpath[1]}/_mvscheduler"
  mvscheduler completion fish > ~/.config/fish/completions/mvscheduler.fish

` + exitCodesHelp
}

// Run prints the script.
func (c completionCmd) Run(a *app) error {
	write := map[string]func([]place) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := io.WriteString(a.stdout, write(placesOf(a.parser.Model.Node, "")))
	return err
}

// place is a point in the command line, named by the commands typed so far, and what can follow there.
type place struct {
	path     string // "", "status", "migrate up"
	commands []word
	flags    []word
	args     []string // choices of the first argument
	views    bool     // names of views can follow
}

// word is a command or a flag.
type word struct {
	text, help string
	short      string // "-o", or empty
	valued     bool   // takes a value
	choices    []string
}

// placesOf walks the model of the command line, so that completion knows every command and flag there is.
func placesOf(node *kong.Node, path string) []place {
	p := place{path: path}
	var places []place
	for _, child := range node.Children {
		if child.Hidden {
			continue
		}
		p.commands = append(p.commands, word{text: child.Name, help: firstSentence(child.Help)})
		places = append(places, placesOf(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			w := word{text: "--" + f.Name, help: firstSentence(f.Help), valued: !f.IsBool() && !f.IsCounter(), choices: choicesOf(f.Value)}
			if f.Short != 0 {
				w.short = "-" + string(f.Short)
			}
			p.flags = append(p.flags, w)
			if f.Tag.Negatable != "" {
				p.flags = append(p.flags, word{text: "--no-" + f.Name, help: "Not: " + w.help})
			}
		}
	}
	for i, arg := range node.Positional {
		if i == 0 {
			p.args = choicesOf(arg)
			p.views = arg.Tag.Get("complete") == "view"
		}
	}
	return append([]place{p}, places...)
}

func choicesOf(v *kong.Value) []string {
	list := v.Enum
	if list == "" {
		list = v.Tag.Get("choices")
	}
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// firstSentence is short enough for a menu and free of what a shell would interpret.
func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, ". ")
	s = strings.TrimSuffix(s, ".")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("'\"`$\\:[]", r) {
			return -1
		}
		return r
	}, s)
}

func texts(words []word) string {
	var out []string
	for _, w := range words {
		out = append(out, w.text)
	}
	return strings.Join(out, " ")
}

// pathCases are the shell patterns that lead from one place to the next.
func pathCases(places []place) string {
	var b strings.Builder
	for _, p := range places {
		for _, c := range p.commands {
			fmt.Fprintf(&b, "      %q) cmd=%q ;;\n", p.path+":"+c.text, strings.TrimSpace(p.path+" "+c.text))
		}
	}
	return b.String()
}

// valueCases are the shell patterns of flags that take a value, with what completes it.
func valueCases(places []place, complete func(choices []string) string) string {
	var b strings.Builder
	for _, p := range places {
		for _, f := range p.flags {
			if !f.valued {
				continue
			}
			pattern := fmt.Sprintf("%q", p.path+":"+f.text)
			if f.short != "" {
				pattern += fmt.Sprintf("|%q", p.path+":"+f.short)
			}
			fmt.Fprintf(&b, "    %s) %s ;;\n", pattern, complete(f.choices))
		}
	}
	return b.String()
}

const askViews = "mvscheduler list --names 2>/dev/null"
