package main

import "github.com/mvscheduler/mvscheduler/internal/words"

// What the commands share with the pages.
const nothing = words.Nothing

type fireTime = words.FireTime

var (
	span, spanOf, exactSpan  = words.Span, words.SpanOf, words.ExactSpan
	ago, plural              = words.Ago, words.Plural
	bytesOf, countOf, textOf = words.BytesOf, words.CountOf, words.TextOf
	scheduleWords, nextStep  = words.Schedule, words.NextStep
	earlier                  = words.Earlier
	specOf, fireTimes        = words.Spec, words.FireTimes
	pausesOf                 = words.Pauses
	mark, shellQuote         = words.Mark, words.ShellQuote
	sanitize, sanitizeLines  = words.Line, words.Lines
	plain                    = words.Plain
)
