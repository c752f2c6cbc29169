package main

import (
	"fmt"
	"strings"
)

func bashCompletion(places []place) string {
	var b strings.Builder
	b.WriteString(`# bash completion for mvscheduler
_mvscheduler() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" cmd="" words="" i
  if [[ "$cur" == "=" ]]; then cur=""; fi
  if [[ "$prev" == "=" ]]; then prev="${COMP_WORDS[COMP_CWORD-2]}"; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$cmd:${COMP_WORDS[i]}" in
`)
	b.WriteString(pathCases(places))
	b.WriteString("    esac\n  done\n  case \"$cmd:$prev\" in\n")
	b.WriteString(valueCases(places, func(choices []string) string {
		if len(choices) == 0 {
			return `COMPREPLY=($(compgen -f -- "$cur")); return`
		}
		return fmt.Sprintf(`COMPREPLY=($(compgen -W %q -- "$cur")); return`, strings.Join(choices, " "))
	}))
	b.WriteString("  esac\n  case \"$cmd\" in\n")
	for _, p := range places {
		follows := texts(p.commands)
		if len(p.args) > 0 {
			follows = strings.Join(p.args, " ")
		}
		if p.views {
			follows = "$(" + askViews + ")"
		}
		fmt.Fprintf(&b, "    %q)\n      if [[ \"$cur\" == -* ]]; then words=%q; else words=\"%s\"; fi ;;\n", p.path, texts(p.flags), follows)
	}
	b.WriteString(`  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _mvscheduler mvscheduler
`)
	return b.String()
}

func zshCompletion(places []place) string {
	var b strings.Builder
	b.WriteString(`#compdef mvscheduler
# zsh completion for mvscheduler
_mvscheduler() {
  local cmd="" i
  local -a flags follows
  for ((i = 2; i < CURRENT; i++)); do
    case "$cmd:${words[i]}" in
`)
	b.WriteString(pathCases(places))
	b.WriteString("    esac\n  done\n  case \"$cmd:${words[CURRENT-1]}\" in\n")
	b.WriteString(valueCases(places, func(choices []string) string {
		if len(choices) == 0 {
			return "_files; return"
		}
		return "compadd -- " + strings.Join(choices, " ") + "; return"
	}))
	b.WriteString("  esac\n  case \"$cmd\" in\n")
	described := func(words []word) string {
		var out []string
		for _, w := range words {
			out = append(out, "'"+w.text+":"+w.help+"'")
		}
		return strings.Join(out, " ")
	}
	for _, p := range places {
		follows := described(p.commands)
		if len(p.args) > 0 {
			follows = strings.Join(p.args, " ")
		}
		if p.views {
			follows = `${(f)"$(` + askViews + `)"}`
		}
		fmt.Fprintf(&b, "    %q)\n      flags=(%s)\n      follows=(%s) ;;\n", p.path, described(p.flags), follows)
	}
	b.WriteString(`  esac
  if [[ "$PREFIX" == -* ]]; then
    _describe flag flags
  else
    _describe argument follows
  fi
}
if [[ "$funcstack[1]" == "_mvscheduler" ]]; then
  _mvscheduler "$@"
else
  compdef _mvscheduler mvscheduler
fi
`)
	return b.String()
}

func fishCompletion(places []place) string {
	var b strings.Builder
	b.WriteString(`# fish completion for mvscheduler
function __mvscheduler_at
    set -l cmd ""
    for word in (commandline -opc)[2..-1]
        switch "$cmd:$word"
`)
	for _, p := range places {
		for _, c := range p.commands {
			fmt.Fprintf(&b, "            case %q\n                set cmd %q\n", p.path+":"+c.text, strings.TrimSpace(p.path+" "+c.text))
		}
	}
	b.WriteString("        end\n    end\n    test \"$cmd\" = \"$argv[1]\"\nend\ncomplete -c mvscheduler -f\n")
	for _, p := range places {
		at := fmt.Sprintf("complete -c mvscheduler -n \"__mvscheduler_at '%s'\"", p.path)
		for _, c := range p.commands {
			fmt.Fprintf(&b, "%s -a %s -d '%s'\n", at, c.text, c.help)
		}
		if len(p.args) > 0 {
			fmt.Fprintf(&b, "%s -a '%s'\n", at, strings.Join(p.args, " "))
		}
		if p.views {
			fmt.Fprintf(&b, "%s -a '(%s)'\n", at, askViews)
		}
		for _, f := range p.flags {
			line := at + " -l " + strings.TrimPrefix(f.text, "--")
			if f.short != "" {
				line += " -s " + strings.TrimPrefix(f.short, "-")
			}
			switch {
			case len(f.choices) > 0:
				line += " -x -a '" + strings.Join(f.choices, " ") + "'"
			case f.valued:
				line += " -r -F"
			}
			fmt.Fprintf(&b, "%s -d '%s'\n", line, f.help)
		}
	}
	return b.String()
}
