package main

import "fmt"

// Exit codes; scripts rely on them.
const (
	exitOK        = 0
	exitFailure   = 1
	exitUsage     = 2 // wrong command line
	exitNotFound  = 3 // no such view or run
	exitPending   = 4 // changes are pending: plan, import --dry-run
	exitUnhealthy = 5 // status --check, doctor, health or migrate status found something
	exitConflict  = 6 // locked, already there, or changed meanwhile
)

const exitCodesHelp = `Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 changes pending, 5 unhealthy, 6 locked or conflict.`

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error // nil = everything was said already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef is a wrong command line that only the command itself could notice.
func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}
