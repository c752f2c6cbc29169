package main

import (
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// commands writes what --help says of every command.
func (p *page) commands(t *testing.T) {
	t.Helper()
	var g grammar
	parser, err := newParser(&g, io.Discard, io.Discard)
	require.NoError(t, err)
	root := parser.Model.Node

	p.line("## Commands")
	p.line("`mvscheduler COMMAND [flags]`; `mvscheduler COMMAND --help` says the same as this chapter. Data go to stdout, everything else to stderr.")
	var overview [][]string
	eachCommand(root, func(n *kong.Node) {
		overview = append(overview, []string{"[`" + commandPath(n) + "`](#" + strings.ReplaceAll(commandPath(n), " ", "-") + ")", prose(n.Help)})
	})
	p.table([]string{"command", "does"}, overview)

	p.line("### Exit codes")
	codes := strings.TrimSuffix(strings.TrimPrefix(exitCodesHelp, "Exit codes: "), ".")
	var rows [][]string
	for _, part := range strings.Split(codes, ", ") {
		number, words, ok := strings.Cut(part, " ")
		require.True(t, ok, exitCodesHelp)
		rows = append(rows, []string{number, words})
	}
	p.table([]string{"code", "means"}, rows)

	p.line("### Flags of every command")
	p.line("Every flag is also an environment variable, which counts for each command that has the flag; the command line wins.")
	p.flags(root)

	eachCommand(root, func(n *kong.Node) {
		p.line("### " + commandPath(n))
		p.line(prose(n.Help))
		usage := "mvscheduler " + commandPath(n)
		var args [][]string
		for _, arg := range n.Positional {
			usage += " " + arg.Summary()
			args = append(args, []string{code(arg.Summary()), code(strings.Join(choicesOf(arg), ", ")), prose(arg.Help)})
		}
		p.line("```\n" + usage + " [flags]\n```")
		p.details(n.Detail)
		if len(args) > 0 {
			p.table([]string{"argument", "one of", "is"}, args)
		}
		p.flags(n)
	})
}

// eachCommand visits every command that does something, in the order of the help.
func eachCommand(node *kong.Node, visit func(*kong.Node)) {
	for _, child := range node.Children {
		switch {
		case child.Hidden:
		case len(child.Children) > 0:
			eachCommand(child, visit)
		default:
			visit(child)
		}
	}
}

// commandPath is "migrate up".
func commandPath(n *kong.Node) string {
	path := n.Name
	for up := n.Parent; up != nil && up.Type != kong.ApplicationNode; up = up.Parent {
		path = up.Name + " " + path
	}
	return path
}

// details writes a text of Help: what is indented is code. The exit codes have a chapter of their own.
func (p *page) details(text string) {
	text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), exitCodesHelp))
	language := ""
	for _, block := range strings.Split(text, "\n\n") {
		lines := strings.Split(strings.Trim(block, "\n"), "\n")
		switch {
		case block == "":
		case strings.HasPrefix(lines[0], "  "):
			for i, l := range lines {
				lines[i] = strings.TrimPrefix(l, "  ")
			}
			p.line("```" + language + "\n" + strings.Join(lines, "\n") + "\n```")
		default:
			language = ""
			if block == "Examples:" {
				language = "sh"
			}
			for i, l := range lines {
				lines[i] = prose(l)
			}
			p.line(strings.Join(lines, "\n"))
		}
	}
}

// flags writes the flags that a node has beside those of every command.
func (p *page) flags(n *kong.Node) {
	var rows [][]string
	for _, f := range n.Flags {
		if f.Hidden || f.Name == "help" && n.Type != kong.ApplicationNode {
			continue
		}
		name := "--" + f.Name
		switch {
		case f.Tag.Negatable != "":
			name = "--[no-]" + f.Name
		case !f.IsBool() && !f.IsCounter():
			name += "=" + f.FormatPlaceHolder()
		}
		spans := code(name)
		if f.Short != 0 {
			spans = code("-"+string(f.Short)) + ", " + spans
		}
		var names []string
		for _, env := range f.Envs {
			names = append(names, code(env))
		}
		rows = append(rows, []string{spans, code(f.Default), prose(f.Help), strings.Join(names, ", ")})
	}
	if len(rows) > 0 {
		p.table([]string{"flag", "default", "means", "variable"}, rows)
	}
}
