package attribution

import (
	"errors"
	"fmt"

	pgquery "github.com/sqlc-dev/oliphant"
)

// ErrEffort says that parsing a text could take very long, or that it names very many relations.
var ErrEffort = errors.New("the statement takes too much to be attributed")

// mostEffort bounds what effort says of a text; one as long as may be, with nothing nested, has a quarter of it.
const mostEffort = 1 << 16

// parse is the tree of a text as JSON. It cannot be stopped, so it begins only what will end.
func parse(text string) (string, error) {
	scanned, err := pgquery.Scan(text)
	if err != nil {
		return "", fmt.Errorf("scan a statement: %w", err)
	}
	if effort(scanned.GetTokens()) > mostEffort {
		return "", ErrEffort
	}
	tree, err := pgquery.ParseToJSON(text)
	if err != nil {
		return "", fmt.Errorf("parse a statement: %w", err)
	}
	return tree, nil
}

// effort is how many tokens the parser looks at, at most. PostgreSQL's own looks at each of them once. This one tries what is in
// the parentheses of some functions in their special syntax first, and what is in doubled ones as a query; when that fails it
// begins again, and so twice as often for each of them around it. VALUES can be a name as well, so that one parenthesis before it
// does the same. Those of a call are not tried. At each parenthesis it looks ahead to the last of those that follow at once,
// which is quick.
func effort(tokens []*pgquery.ScanToken) (n int) {
	kinds := make([]pgquery.Token, 0, len(tokens))
	for _, t := range tokens {
		if k := t.GetToken(); k != pgquery.Token_SQL_COMMENT && k != pgquery.Token_C_COMMENT {
			kinds = append(kinds, k)
		}
	}
	times := 1
	var open []int // what each parenthesis that is open multiplies
	for i, k := range kinds {
		n += times
		switch k {
		case '(':
			run := i + 1
			for run < len(kinds) && kinds[run] == '(' {
				run++
			}
			n += times * (run - i) / glances
			factor := 1
			query := run < len(kinds) && begins[kinds[run]] && (run > i+1 || kinds[run] == pgquery.Token_VALUES)
			before := pgquery.Token(0)
			if i > 0 {
				before = kinds[i-1]
			}
			if special[before] || query && !calls[before] {
				factor = 2
			}
			times *= factor
			open = append(open, factor)
		case ')':
			if last := len(open) - 1; last >= 0 {
				times /= open[last]
				open = open[:last]
			}
		}
		if n > mostEffort || times > mostEffort {
			return mostEffort + 1
		}
	}
	return n
}

// glances is how many tokens are looked at ahead in the time in which one is parsed.
const glances = 16

// special are functions with a syntax of their own beside the usual one, calls what else the parentheses of a call follow, begins
// what a query begins with.
var (
	calls   = map[pgquery.Token]bool{pgquery.Token_IDENT: true, pgquery.Token_COALESCE: true}
	special = map[pgquery.Token]bool{pgquery.Token_OVERLAY: true, pgquery.Token_SUBSTRING: true, pgquery.Token_JSON_OBJECT: true}
	begins  = map[pgquery.Token]bool{pgquery.Token_SELECT: true, pgquery.Token_VALUES: true, pgquery.Token_TABLE: true, pgquery.Token_WITH: true, pgquery.Token_WITH_LA: true}
)
