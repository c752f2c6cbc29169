package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// helped is what the program answers to arguments that need no database.
func helped(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	parser, err := newParser(&grammar{}, &out, &out)
	require.NoError(t, err)
	defer func() {
		if exit := recover(); exit != nil {
			require.Equal(t, helpExit(0), exit)
			stdout = out.String()
		}
	}()
	_, err = parser.Parse(args)
	return out.String(), err
}

func TestHelpSaysWhatAFlagIsWhenItIsNotGiven(t *testing.T) {
	t.Parallel()
	for command, said := range map[string][]string{
		"serve": {`Default:\s+127.0.0.1:8787\s+\(\$MVSCHEDULER_LISTEN\)`, `Default:\s+8 \(`, `Default:\s+1m`}, "demo": {`Default:\s+200ms`}, "simulate": {`Default:\s+70d`, `Default:\s+UTC, which is right`},
	} {
		help, err := helped(t, command, "--help")
		require.NoError(t, err)
		for _, text := range said {
			require.Regexp(t, text, help)
		}
	}
}

func TestWhoTypesReportIsToldWhereItIs(t *testing.T) {
	t.Parallel()
	_, err := helped(t, "report")
	var wrong *kong.ParseError
	require.True(t, errors.As(err, &wrong))
	require.Equal(t, "mvscheduler recommend report", helpFor(err))
}
